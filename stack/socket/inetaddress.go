//go:build linux

package socket

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// sizeofInet4 and sizeofInet6 are the shortest addresses that the kernel takes
// for the families (SIN6_LEN_RFC2133).
const (
	sizeofInet4 = 16
	sizeofInet6 = 24
)

// addressSize is how many bytes of address the call would hand to the kernel.
func addressSize(addr unix.Sockaddr) int {
	switch a := addr.(type) {
	case nil:
		return 0
	case *unix.SockaddrInet6:
		return unix.SizeofSockaddrInet6
	case *unix.SockaddrUnix:
		return 2 + len(a.Name) + 1
	}
	return sizeofInet4
}

// inetAddress reads an address for a socket of AF_INET or AF_INET6; an IPv4-mapped
// one comes as IPv4. EINVAL for one that is too short, EAFNOSUPPORT for one of
// another family.
func inetAddress(domain int, addr unix.Sockaddr) (netip.AddrPort, error) {
	least := sizeofInet4
	if domain == unix.AF_INET6 {
		least = sizeofInet6
	}
	if addressSize(addr) < least {
		return netip.AddrPort{}, unix.EINVAL
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	case *unix.SockaddrInet6:
		if domain == unix.AF_INET6 {
			return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)), nil
		}
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// bindAddress is inetAddress for bind: the zero Addr stands for all addresses of
// the family. An AF_INET socket takes AF_UNSPEC with no address for that, too
// (__inet_bind, "compatibility games").
func bindAddress(domain int, addr unix.Sockaddr) (netip.AddrPort, error) {
	if _, ok := addr.(SockaddrUnspec); ok && domain == unix.AF_INET {
		return netip.AddrPort{}, nil
	}
	to, err := inetAddress(domain, addr)
	if a := to.Addr(); a.IsUnspecified() && (a.Is6() || domain == unix.AF_INET) {
		to = netip.AddrPortFrom(netip.Addr{}, to.Port())
	}
	return to, err
}

// datagramAddress is inetAddress for connect and send of a datagram socket, where
// one of AF_INET6 takes addresses of AF_INET, too.
func datagramAddress(domain int, addr unix.Sockaddr) (netip.AddrPort, error) {
	if _, ok := addr.(*unix.SockaddrInet4); ok {
		domain = unix.AF_INET
	}
	return inetAddress(domain, addr)
}

// needsScope reports whether an address says nothing without an interface, and
// names none (__ipv6_addr_needs_scope_id).
func needsScope(addr unix.Sockaddr) bool {
	a, ok := addr.(*unix.SockaddrInet6)
	if !ok || a.ZoneId != 0 {
		return false
	}
	to := netip.AddrFrom16(a.Addr)
	return to.IsLinkLocalUnicast() || to.IsLinkLocalMulticast() || to.IsInterfaceLocalMulticast()
}

// sockaddrOf is an address as a socket of a family shows it; the zero Addr is the
// unspecified one.
func sockaddrOf(domain int, a netip.AddrPort) unix.Sockaddr {
	if domain == unix.AF_INET {
		to := &unix.SockaddrInet4{Port: int(a.Port())}
		if a.Addr().IsValid() {
			to.Addr = a.Addr().As4()
		}
		return to
	}
	to := &unix.SockaddrInet6{Port: int(a.Port())}
	if a.Addr().IsValid() {
		to.Addr = a.Addr().As16()
	}
	return to
}

// loopback returns what the unspecified address leads to: 127.0.0.1 or ::1 if the
// stack has it, or else its first address.
func (ns *Namespace) loopback(v4 bool) netip.Addr {
	a := netip.IPv6Loopback()
	if v4 {
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if ns.owns(a) {
		return a
	}
	return ns.primary(a)
}

// primary returns the stack's first address of the family of a, or a itself if it
// has none.
func (ns *Namespace) primary(a netip.Addr) netip.Addr {
	main, err := ns.stack.Netstack().GetMainNICAddress(ns.nic(), networkProtocol(a))
	if err != nil || main.Address.BitLen() == 0 {
		return a
	}
	return fromAddress(main.Address)
}

// owns reports whether an address is the stack's.
func (ns *Namespace) owns(a netip.Addr) bool {
	return ns.stack.Netstack().CheckLocalAddress(0, networkProtocol(a), toAddress(a)) != 0
}

// broadcast reports whether an address is that of a network's broadcast.
func (ns *Namespace) broadcast(a netip.Addr) bool {
	return a.Is4() && (toAddress(a) == header.IPv4Broadcast ||
		ns.stack.Netstack().IsSubnetBroadcast(0, header.IPv4ProtocolNumber, toAddress(a)))
}

// nic returns the stack's one interface.
func (ns *Namespace) nic() tcpip.NICID {
	for nic := range ns.stack.Netstack().NICInfo() {
		return nic
	}
	return 0
}

// toAddress is an address as netstack has it.
func toAddress(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

// demuxAddress is toAddress, with netstack's zero Address for all addresses.
func demuxAddress(a netip.Addr) tcpip.Address {
	if !a.IsValid() || a.IsUnspecified() {
		return tcpip.Address{}
	}
	return toAddress(a)
}

func fromAddress(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

func networkProtocol(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}
