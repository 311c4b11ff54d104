package tun

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Offload says whether a device uses segmentation and checksum offload.
type Offload int

const (
	// OffloadAuto uses offload if the kernel grants it, and a plain device
	// otherwise. [Link.Offload] tells which it became.
	OffloadAuto Offload = iota
	// OffloadOn makes [Open] fail if the kernel refuses offload.
	OffloadOn
	// OffloadOff opens a plain device: one packet of at most the MTU, with
	// full checksums, per system call.
	OffloadOff
)

// String returns "auto", "on" or "off".
func (o Offload) String() string {
	switch o {
	case OffloadAuto:
		return "auto"
	case OffloadOn:
		return "on"
	case OffloadOff:
		return "off"
	}
	return fmt.Sprintf("Offload(%d)", int(o))
}

// Config describes a device for [Open]. The zero value is a device with a
// name of the kernel's choice, MTU 1500, offload if possible, and no
// address.
type Config struct {
	// Name of the network device: 1 to 15 bytes, no '/', ':' or white
	// space. One "%d" stands for the lowest number that is free. Empty
	// means "tun%d". A name that is in use is an error, also if the device
	// is a persistent TUN that nobody holds.
	Name string

	// MTU in bytes of IP packet: 68 (RFC 791) to 65520, at least 1280 if
	// HostAddresses has an IPv6 address (RFC 8200 5). 0 means 1500. It
	// applies to both directions; with offload it sets the segment size on
	// the wire beyond, not what crosses the device at once.
	MTU int

	// TxQueueLen is how many packets the kernel keeps for the Link to read,
	// 1 to 1,000,000. What comes when it is full is lost before any listener
	// can count it. 0 means 4096: at 100,000 SYN/s that bridges 40 ms in
	// which the reader does not run, where the kernel's own default of 500
	// bridges 5 ms.
	TxQueueLen int

	// Offload selects the kind of device. The zero value is OffloadAuto.
	Offload Offload

	// HostAddresses are the addresses of the kernel's side. The prefix of
	// each becomes a route to the device, so the stack behind it should
	// have its address in there. An address that any device of the
	// namespace already has is an error. IPv6 addresses are usable at
	// once: no duplicate address detection.
	HostAddresses []netip.Prefix
}

const (
	defaultMTU = 1500
	minMTU     = 68   // RFC 791 3.2, and MIN_MTU of drivers/net/tun.c
	minMTUIPv6 = 1280 // RFC 8200 5
	// maxMTU with a virtio header fits 64 KiB and is divisible by 8. The
	// kernel would take 65535.
	maxMTU = 65520

	defaultTxQueueLen = 4096
	// maxTxQueueLen bounds the ring of pointers that the kernel allocates
	// (8 bytes each) before it is asked for.
	maxTxQueueLen = 1_000_000

	// maxNameLen is IFNAMSIZ without the final NUL byte.
	maxNameLen = 15
)

// withDefaults returns a copy of c with zero values replaced, or says what
// is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = "tun%d"
	}
	if err := checkName(c.Name); err != nil {
		return c, err
	}
	if c.MTU == 0 {
		c.MTU = defaultMTU
	}
	if c.MTU < minMTU || c.MTU > maxMTU {
		return c, fmt.Errorf("tun: MTU %d is out of range: use %d to %d", c.MTU, minMTU, maxMTU)
	}
	if c.TxQueueLen == 0 {
		c.TxQueueLen = defaultTxQueueLen
	}
	if c.TxQueueLen < 1 || c.TxQueueLen > maxTxQueueLen {
		return c, fmt.Errorf("tun: transmit queue length %d is out of range: use 1 to %d", c.TxQueueLen, maxTxQueueLen)
	}
	if c.Offload < OffloadAuto || c.Offload > OffloadOff {
		return c, fmt.Errorf("tun: unknown offload mode %d: use OffloadAuto, OffloadOn or OffloadOff", int(c.Offload))
	}
	seen := make(map[netip.Addr]bool)
	for _, p := range c.HostAddresses {
		a := p.Addr()
		switch {
		case !p.IsValid():
			return c, fmt.Errorf("tun: host address %v is not valid: use an address with prefix length, like 192.0.2.1/24", p)
		case a.Is4In6(), a.IsUnspecified(), a.IsMulticast():
			return c, fmt.Errorf("tun: host address %v cannot be assigned: use a unicast IPv4 or IPv6 address", p)
		case a.Is6() && c.MTU < minMTUIPv6:
			return c, fmt.Errorf("tun: MTU %d is too small for IPv6 host address %v: use at least %d", c.MTU, p, minMTUIPv6)
		case seen[a]:
			return c, fmt.Errorf("tun: host address %v is given twice: remove one", a)
		}
		seen[a] = true
	}
	return c, nil
}

// checkName applies the rules of dev_valid_name and __dev_alloc_name in
// net/core/dev.c. For most violations the kernel says only EINVAL, and a
// name that is too long would be cut silently on its way there.
func checkName(name string) error {
	var why string
	switch {
	case len(name) > maxNameLen:
		why = fmt.Sprintf("has %d bytes: use at most %d", len(name), maxNameLen)
	case name == "." || name == "..":
		why = "is a path: use another"
	case slices.ContainsFunc([]byte(name), badNameByte):
		why = "has a '/', ':', NUL or white space: remove it"
	case strings.Contains(name, "%") && (strings.Count(name, "%") > 1 || !strings.Contains(name, "%d")):
		why = "has a '%' that is not a single %d: remove it"
	default:
		return nil
	}
	return fmt.Errorf("tun: device name %q %s", name, why)
}

// badNameByte has the kernel's idea of white space (lib/ctype.c), in which
// 0xa0 is one, also within a UTF-8 sequence.
func badNameByte(b byte) bool {
	switch b {
	case '/', ':', 0, ' ', '\t', '\n', '\v', '\f', '\r', 0xa0:
		return true
	}
	return false
}
