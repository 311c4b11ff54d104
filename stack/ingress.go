package stack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// refuses reports whether a packet from outside is one that Linux drops and
// netstack would take; fixed is its fixedHeader. An ordinary packet pays for a few
// comparisons.
func (l *link) refuses(protocol tcpip.NetworkProtocolNumber, fixed []byte, pkt *gstack.PacketBuffer) bool {
	switch {
	case fixed == nil:
		return false
	case protocol == header.IPv4ProtocolNumber:
		return l.refuses4(header.IPv4(fixed), pkt)
	case protocol == header.IPv6ProtocolNumber:
		return l.refuses6(header.IPv6(fixed), pkt)
	}
	return false
}

func (l *link) refuses4(h header.IPv4, pkt *gstack.PacketBuffer) bool {
	src, dst := binary.BigEndian.Uint32(h[12:]), binary.BigEndian.Uint32(h[16:])
	if l.martian4(src, dst) {
		l.s.drop(func(d *Drops) { d.Martians++ })
		return true
	}
	if size := int(h.HeaderLength()); size > header.IPv4MinimumSize {
		b, ok := pkt.Data().PullUp(size)
		if !ok {
			return false
		}
		h = header.IPv4(b) // the packet may have moved
		if sourceRouted(b) {
			l.s.drop(func(d *Drops) { d.SourceRoutes++ })
			return true
		}
	}
	if h.Protocol() == uint8(header.ICMPv4ProtocolNumber) && l.echoToMany(h, dst, pkt) {
		l.s.drop(func(d *Drops) { d.BroadcastEchoes++ })
		return true
	}
	return false
}

// broadcast4 is 255.255.255.255.
const broadcast4 = 1<<32 - 1

// martian4 reports whether addresses cannot be those of a packet on a wire: a
// loopback address (RFC 1122, section 3.2.1.3), one of the stack's own as the source,
// or none as the source, unless everybody is asked (ip_route_input_slow,
// fib_validate_source).
func (l *link) martian4(src, dst uint32) bool {
	const loopback = 127
	if src>>24 == loopback || dst>>24 == loopback || src == 0 && dst != broadcast4 {
		return true
	}
	for _, own := range l.own4 {
		if src == own {
			return true
		}
	}
	return false
}

// sourceRouted reports whether an IPv4 header with options says by which hosts the
// packet wants to come, which accept_source_route forbids (ip_rcv_options).
func sourceRouted(b []byte) bool {
	const looseSourceRoute, strictSourceRoute = 131, 137
	routes := 0
	for o := b[header.IPv4MinimumSize:]; len(o) > 0 && header.IPv4OptionType(o[0]) != header.IPv4OptionListEndType; {
		if header.IPv4OptionType(o[0]) == header.IPv4OptionNOPType {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return false // netstack reports it
		}
		if o[0] == looseSourceRoute || o[0] == strictSourceRoute {
			if o[1] < 3 {
				return false
			}
			routes++
		}
		o = o[o[1]:]
	}
	return routes == 1 // netstack reports a second one
}

// echoToMany reports whether a packet is an echo request, or the first fragment of
// one, to a broadcast or multicast address, and such are ignored (icmp_rcv).
func (l *link) echoToMany(h header.IPv4, dst uint32, pkt *gstack.PacketBuffer) bool {
	if h.FragmentOffset() != 0 || !l.many4(dst) || l.s.sysctl(icmpEchoIgnoreBroadcasts) == 0 {
		return false
	}
	at := int(h.HeaderLength())
	b, ok := pkt.Data().PullUp(at + 1)
	return ok && header.ICMPv4Type(b[at]) == header.ICMPv4Echo
}

// many4 reports whether an address is for more than one host.
func (l *link) many4(dst uint32) bool {
	const multicast = 0xe
	if dst>>28 == multicast || dst == broadcast4 {
		return true
	}
	for _, b := range l.broadcasts {
		if a := b.As4(); dst == binary.BigEndian.Uint32(a[:]) {
			return true
		}
	}
	return false
}

func (l *link) refuses6(h header.IPv6, pkt *gstack.PacketBuffer) bool {
	// RFC 4291, section 2.5.3.
	if h.SourceAddress() == header.IPv6Loopback || h.DestinationAddress() == header.IPv6Loopback {
		l.s.drop(func(d *Drops) { d.Martians++ })
		return true
	}
	switch tcpip.TransportProtocolNumber(h.NextHeader()) {
	case header.TCPProtocolNumber, header.UDPProtocolNumber, header.ICMPv6ProtocolNumber:
		return false
	}
	b, ok := pkt.Data().PullUp(pkt.Data().Size())
	if !ok {
		return false
	}
	fault := checkExtensions(b)
	if fault == nil {
		return false
	}
	l.s.drop(func(d *Drops) { d.ExtensionHeaders++ })
	if fault.report {
		l.reportProblem(b, fault)
	}
	return true
}
