package listenq

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sysctls are the settings that govern a listen queue, under their kernel names.
// Linux documents them in Documentation/networking/ip-sysctl.rst and
// Documentation/admin-guide/sysctl/net.rst. Copy the value returned by
// DefaultSysctls and change it; the zero value switches everything off.
type Sysctls struct {
	// Somaxconn is the largest limit that listen accepts
	// (net.core.somaxconn, 0 to 2147483647).
	Somaxconn int
	// MaxSYNBacklog is tcp_max_syn_backlog, 0 to 2147483647 requests. It is not
	// the size of the SYN queue: without cookies its last quarter is kept for
	// known addresses, and with cookies it has no effect.
	MaxSYNBacklog int
	// Syncookies is tcp_syncookies: 0 never, 1 when the SYN queue is full, 2
	// always.
	Syncookies int
	// SYNACKRetries is tcp_synack_retries, 0 to 255 retransmissions; other values
	// count as the nearest of these.
	SYNACKRetries int
	// AbortOnOverflow is tcp_abort_on_overflow: a final ACK that finds the
	// accept queue full gets RST.
	AbortOnOverflow bool
	// InvalidRatelimit is tcp_invalid_ratelimit: the least time between two
	// answers to unexpected segments for one request, 0 to 2147483647 whole
	// milliseconds.
	InvalidRatelimit time.Duration
	// Timestamps, SACK and WindowScaling say whether the options that a client
	// offers are taken (tcp_timestamps, tcp_sack, tcp_window_scaling).
	Timestamps, SACK, WindowScaling bool
}

// DefaultSysctls returns the values of a Linux 6.18 host. The kernel derives
// tcp_max_syn_backlog from the size of its memory, at least 128; 2048 is what a
// host with 16 GB or more gets.
func DefaultSysctls() Sysctls {
	return Sysctls{
		Somaxconn:        4096,
		MaxSYNBacklog:    2048,
		Syncookies:       1,
		SYNACKRetries:    5,
		InvalidRatelimit: 500 * time.Millisecond,
		Timestamps:       true,
		SACK:             true,
		WindowScaling:    true,
	}
}

// sysctl is one setting: its kernel name, its range and how to reach it.
type sysctl struct {
	name string
	max  int
	get  func(*Sysctls) int
	set  func(*Sysctls, int)
}

var sysctls = []sysctl{
	intSysctl("net.core.somaxconn", math.MaxInt32, func(s *Sysctls) *int { return &s.Somaxconn }),
	boolSysctl("net.ipv4.tcp_abort_on_overflow", func(s *Sysctls) *bool { return &s.AbortOnOverflow }),
	{
		name: "net.ipv4.tcp_invalid_ratelimit",
		max:  math.MaxInt32,
		get:  func(s *Sysctls) int { return int(s.InvalidRatelimit.Milliseconds()) },
		set:  func(s *Sysctls, v int) { s.InvalidRatelimit = time.Duration(v) * time.Millisecond },
	},
	intSysctl("net.ipv4.tcp_max_syn_backlog", math.MaxInt32, func(s *Sysctls) *int { return &s.MaxSYNBacklog }),
	boolSysctl("net.ipv4.tcp_sack", func(s *Sysctls) *bool { return &s.SACK }),
	intSysctl("net.ipv4.tcp_synack_retries", math.MaxUint8, func(s *Sysctls) *int { return &s.SYNACKRetries }),
	intSysctl("net.ipv4.tcp_syncookies", 2, func(s *Sysctls) *int { return &s.Syncookies }),
	boolSysctl("net.ipv4.tcp_timestamps", func(s *Sysctls) *bool { return &s.Timestamps }),
	boolSysctl("net.ipv4.tcp_window_scaling", func(s *Sysctls) *bool { return &s.WindowScaling }),
}

func intSysctl(name string, max int, field func(*Sysctls) *int) sysctl {
	return sysctl{
		name: name,
		max:  max,
		get:  func(s *Sysctls) int { return *field(s) },
		set:  func(s *Sysctls, v int) { *field(s) = v },
	}
}

func boolSysctl(name string, field func(*Sysctls) *bool) sysctl {
	return sysctl{
		name: name,
		max:  1,
		get: func(s *Sysctls) int {
			if *field(s) {
				return 1
			}
			return 0
		},
		set: func(s *Sysctls, v int) { *field(s) = v != 0 },
	}
}

// SysctlNames returns the names that Get and Set know, sorted.
func SysctlNames() []string {
	names := make([]string, len(sysctls))
	for i, s := range sysctls {
		names[i] = s.name
	}
	return names
}

// find accepts slashes for dots, as sysctl(8) does.
func findSysctl(name string) (sysctl, error) {
	dotted := strings.ReplaceAll(name, "/", ".")
	i := slices.IndexFunc(sysctls, func(s sysctl) bool { return s.name == dotted })
	if i < 0 {
		return sysctl{}, fmt.Errorf("unknown sysctl %q: use one of %s", name, strings.Join(SysctlNames(), ", "))
	}
	return sysctls[i], nil
}

// Get returns the setting as text. The error for an unknown name lists the known
// ones.
func (s *Sysctls) Get(name string) (string, error) {
	entry, err := findSysctl(name)
	if err != nil {
		return "", err
	}
	return strconv.Itoa(entry.get(s)), nil
}

// Set changes one setting. A value that is no number or outside the setting's
// range is an error that names the range, and changes nothing.
func (s *Sysctls) Set(name, value string) error {
	entry, err := findSysctl(name)
	if err != nil {
		return err
	}
	v, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || v < 0 || v > entry.max {
		return fmt.Errorf("sysctl %s = %q: use a whole number from 0 to %d", entry.name, value, entry.max)
	}
	entry.set(s, v)
	return nil
}
