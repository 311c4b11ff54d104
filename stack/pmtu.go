package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// leastPMTU is the least path MTU, in bytes, that an ICMP error can bring an IPv4
// connection to (net.ipv4.route.min_pmtu). A path that is narrower gets packets that
// routers may fragment.
const leastPMTU = 552

// heeds decides about an ICMP error for a connection, or one that is being opened: it
// must quote a number in flight (tcp_v4_err, tcp_v6_err; RFC 5927, section 4.1), and
// "packet too big" has a floor. b is the packet, which is changed where a smaller value
// counts as the floor; false means that nobody hears of it.
func (g *guard) heeds(e *icmpError, b []byte) bool {
	if !g.inFlight(e.seq) {
		g.s.count(func(c *ConnCounters) { c.OutOfWindowIcmps++ })
		return false
	}
	switch {
	case !e.tooBig():
	case e.id.RemoteAddress.Len() == header.IPv6AddressSize:
		return e.mtu >= header.IPv6MinimumMTU // __ip6_rt_update_pmtu
	case e.mtu < leastPMTU:
		setMTU(b, leastPMTU)
		g.mu.Lock()
		g.fragmentable = true
		g.mu.Unlock()
	}
	return true
}

// tooBig reports whether the error is about the path's MTU.
func (e *icmpError) tooBig() bool {
	if e.id.RemoteAddress.Len() == header.IPv6AddressSize {
		return e.kind == uint8(header.ICMPv6PacketTooBig)
	}
	return e.kind == uint8(header.ICMPv4DstUnreachable) && e.code == uint8(header.ICMPv4FragmentationNeeded)
}

// setMTU changes what an ICMPv4 "fragmentation needed" says; b is a whole packet.
func setMTU(b []byte, mtu uint16) {
	h := header.IPv4(b)
	m := header.ICMPv4(b[h.HeaderLength():h.TotalLength()])
	m.SetMTU(mtu)
	m.SetChecksum(0)
	m.SetChecksum(^checksum.Checksum(m, 0))
}

// fragment lets routers fragment a packet (ip_dont_fragment, a locked MTU), for which
// it needs an identification (RFC 6864).
func (s *Stack) fragment(pkt *gstack.PacketBuffer) {
	if pkt.NetworkProtocolNumber != header.IPv4ProtocolNumber {
		return
	}
	h := header.IPv4(pkt.NetworkHeader().Slice())
	h.SetFlagsFragmentOffset(h.Flags()&^header.IPv4FlagDontFragment, 0)
	h.SetID(uint16(s.ident.Add(1)))
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
}
