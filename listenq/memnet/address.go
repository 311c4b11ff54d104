package memnet

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The range of ports that are picked, as Linux has it
// (net.ipv4.ip_local_port_range).
const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
)

// mostNames bounds the names of a network; each has an address in 198.18.0.0/16.
const mostNames = 1<<16 - 2

var (
	localhost4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	localhost6 = netip.IPv6Loopback()
	// Clients have these unless they connect over loopback (RFC 5737, RFC 3849).
	client4 = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	client6 = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
)

// resolve turns "host:port" into an address. An empty host is given back as the
// zero Addr.
func (n *Network) resolve(network, address string) (netip.AddrPort, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	// Not net.LookupPort: it may wait on a channel of its own that no bubble
	// knows.
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, &net.AddrError{Err: "port is not a number from 0 to 65535", Addr: address}
	}
	addr, err := n.lookup(network, host)
	return netip.AddrPortFrom(addr, uint16(port)), err
}

func (n *Network) lookup(network, host string) (netip.Addr, error) {
	if host == "" {
		return netip.Addr{}, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap().WithZone("")
		if network == "tcp4" && !addr.Is4() || network == "tcp6" && addr.Is4() {
			return addr, &net.AddrError{Err: "no suitable address found", Addr: host}
		}
		return addr, nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" {
		if network == "tcp6" {
			return localhost6, nil
		}
		return localhost4, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	number, known := n.names[name]
	if !known {
		if len(n.names) == mostNames {
			return netip.Addr{}, &net.DNSError{Err: "the network has as many names as it can", Name: host}
		}
		number = len(n.names) + 1
		n.names[name] = number
	}
	high, low := byte(number>>8), byte(number)
	if network == "tcp6" { // 2001:2::/48, RFC 5180
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x00, 0x02, 14: high, 15: low}), nil
	}
	return netip.AddrFrom4([4]byte{198, 18, high, low}), nil
}

// source returns the address that a client connects from.
func source(remote netip.Addr) netip.Addr {
	switch {
	case remote.IsLoopback():
		return remote
	case remote.Is4():
		return client4
	}
	return client6
}

// pick tries the ports of the range, beginning after the one picked last.
func (n *Network) pick(free func(port uint16) bool) (uint16, bool) {
	for range lastEphemeral - firstEphemeral + 1 {
		n.lastPort++
		if n.lastPort > lastEphemeral {
			n.lastPort = firstEphemeral
		}
		if free(n.lastPort) {
			return n.lastPort, true
		}
	}
	return 0, false
}
