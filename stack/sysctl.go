package stack

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// sysctl names a setting of the stack itself, beside those of its listen queues
// (listenq.Sysctls).
type sysctl int

const (
	tcpFinTimeout sysctl = iota
	tcpMaxTWBuckets
	tcpRFC1337
	tcpTWReuse
	tcpMaxOrphans
	tcpOrphanRetries
	tcpRetries2
	icmpEchoIgnoreBroadcasts
	icmpRatelimit
	icmp6Ratelimit
	icmpMsgsPerSec
	icmpMsgsBurst
	sysctlCount
)

// A sysctlRule is the kernel's name of a setting, its range, its default (Linux
// 6.18), and what follows a change, if anything; it is read wherever it counts.
type sysctlRule struct {
	name        string
	least, most int
	value       int
	apply       func(g *gstack.Stack, v int)
}

var sysctlRules = [sysctlCount]sysctlRule{
	tcpFinTimeout: {
		name: "net.ipv4.tcp_fin_timeout", most: 1<<31/1000 - 1, value: 60, // seconds; proc_dointvec_jiffies
		apply: func(g *gstack.Stack, v int) {
			o := tcpip.TCPLingerTimeoutOption(time.Duration(v) * time.Second)
			g.SetTransportProtocolOption(tcp.ProtocolNumber, &o)
		},
	},
	// The kernel's default is half of its hash table of connections, which grows
	// with memory up to 2^19 places: 131072 from 16 GB on (tcp_init).
	tcpMaxTWBuckets: {name: "net.ipv4.tcp_max_tw_buckets", most: 1<<31 - 1, value: 131072},
	tcpRFC1337:      {name: "net.ipv4.tcp_rfc1337", most: 255, value: 0}, // proc_dou8vec_minmax
	tcpTWReuse:      {name: "net.ipv4.tcp_tw_reuse", most: 2, value: 2},
	// As tcp_max_tw_buckets: half of the places.
	tcpMaxOrphans:    {name: "net.ipv4.tcp_max_orphans", most: 1<<31 - 1, value: 131072},
	tcpOrphanRetries: {name: "net.ipv4.tcp_orphan_retries", most: 255, value: 0},
	tcpRetries2: {
		name: "net.ipv4.tcp_retries2", most: 255, value: 15,
		apply: func(g *gstack.Stack, v int) {
			// What ends a connection is its lifetime; netstack's count is for
			// segments that cannot even be sent.
			o := tcpip.TCPMaxRetriesOption(2*v + 8)
			g.SetTransportProtocolOption(tcp.ProtocolNumber, &o)
		},
	},

	icmpEchoIgnoreBroadcasts: {name: "net.ipv4.icmp_echo_ignore_broadcasts", most: 1, value: 1},
	icmpRatelimit:            {name: "net.ipv4.icmp_ratelimit", most: 1<<31 - 1, value: 1000}, // milliseconds
	icmp6Ratelimit:           {name: "net.ipv6.icmp.ratelimit", most: 1<<31 - 1, value: 100},  // milliseconds
	icmpMsgsPerSec:           {name: "net.ipv4.icmp_msgs_per_sec", most: 1<<31 - 1, value: 1000},
	icmpMsgsBurst:            {name: "net.ipv4.icmp_msgs_burst", most: 1<<31 - 1, value: 50},
}

// SysctlNames returns the names that Stack.Sysctl and Stack.SetSysctl know, sorted.
func SysctlNames() []string {
	names := listenq.SysctlNames()
	for _, r := range sysctlRules {
		names = append(names, r.name)
	}
	slices.Sort(names)
	return names
}

// findSysctl accepts slashes for dots, as sysctl(8) does.
func findSysctl(name string) (sysctl, bool) {
	dotted := strings.ReplaceAll(name, "/", ".")
	i := slices.IndexFunc(sysctlRules[:], func(r sysctlRule) bool { return r.name == dotted })
	return sysctl(i), i >= 0
}

// sysctl returns a setting of the stack itself.
func (s *Stack) sysctl(id sysctl) int { return int(s.sysctls[id].Load()) }

// initSysctls gives every setting its default.
func (s *Stack) initSysctls() {
	for id := range sysctlCount {
		s.storeSysctl(id, sysctlRules[id].value)
	}
}

func (s *Stack) storeSysctl(id sysctl, v int) {
	s.sysctls[id].Store(int64(v))
	if apply := sysctlRules[id].apply; apply != nil {
		apply(s.g, v)
	}
}

// Sysctl returns a setting under its kernel name; see SysctlNames.
func (s *Stack) Sysctl(name string) (string, error) {
	if id, ok := findSysctl(name); ok {
		return strconv.Itoa(s.sysctl(id)), nil
	}
	if err := KnowsSysctl(name); err != nil {
		return "", err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	sysctls := s.settings.of(s.profile)
	return sysctls.Get(name)
}

// SetSysctl changes a setting of this stack, and of its listeners, present and
// future. As in the kernel, a new net.core.somaxconn counts from the next listen on.
// A value that is no number or outside the setting's range is an error that names the
// range, and changes nothing.
func (s *Stack) SetSysctl(name, value string) error {
	if id, ok := findSysctl(name); ok {
		v, err := sysctlRules[id].parse(value)
		if err != nil {
			return err
		}
		s.storeSysctl(id, v)
		return nil
	}
	if err := KnowsSysctl(name); err != nil {
		return err
	}
	s.mu.Lock()
	err := s.settings.set(name, value)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.limitAnswers()
	for _, l := range s.Listeners() {
		s.mu.RLock()
		sysctls := s.settings.of(l.q.Profile())
		s.mu.RUnlock()
		l.setSysctls(sysctls)
	}
	return nil
}

// limitAnswers hands tcp_invalid_ratelimit on to those who answer segments of
// connections.
func (s *Stack) limitAnswers() {
	s.mu.RLock()
	limit := s.settings.of(s.profile).InvalidRatelimit
	s.mu.RUnlock()
	s.invalidRatelimit.Store(int64(limit))
	s.g.SetOption(gstack.TCPInvalidRateLimitOption(limit))
}

// CheckSysctl returns the error that Stack.SetSysctl would.
func CheckSysctl(name, value string) error {
	if id, ok := findSysctl(name); ok {
		_, err := sysctlRules[id].parse(value)
		return err
	}
	if err := KnowsSysctl(name); err != nil {
		return err
	}
	var scratch listenq.Sysctls
	return scratch.Set(name, value)
}

// parse reads a value.
func (r *sysctlRule) parse(value string) (int, error) {
	v, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || v < r.least || v > r.most {
		return 0, fmt.Errorf("sysctl %s = %q: use a whole number from %d to %d", r.name, value, r.least, r.most)
	}
	return v, nil
}

// KnowsSysctl returns the error of a name that neither a stack nor its listen queues
// know, which lists those that they do.
func KnowsSysctl(name string) error {
	if slices.Contains(SysctlNames(), strings.ReplaceAll(name, "/", ".")) {
		return nil
	}
	return fmt.Errorf("unknown sysctl %q: use one of %s", name, strings.Join(SysctlNames(), ", "))
}
