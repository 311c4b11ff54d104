package stack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// An icmpError is what an ICMP error says about a TCP segment of the stack's.
type icmpError struct {
	// id is the flow of the segment that the error quotes, with the stack's side
	// local, and seq that segment's sequence number.
	id  gstack.TransportEndpointID
	seq uint32
	// kind and code are type and code of RFC 792, or of RFC 4443 if the addresses
	// of id are IPv6.
	kind, code uint8
	// mtu is what "too big" names (IPv4 3/4, IPv6 2), 0 otherwise.
	mtu uint32
}

// An icmpFate says whose an ICMP packet is.
type icmpFate uint8

const (
	icmpOther   icmpFate = iota // netstack's: no error, or not about TCP
	icmpAboutUs                 // an error about a segment of the stack's
	icmpRefused                 // an error that nobody may believe
)

// quotedTransport is how much of a TCP header every ICMP error quotes, in bytes:
// the ports and the sequence number (RFC 792).
const quotedTransport = 8

// icmp takes an ICMP error about TCP, unless a connection of netstack's is to hear
// of it. Netstack would tell its listening endpoints, for want of a connection,
// and believe whatever the error quotes.
func (s *Stack) icmp(protocol tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) (taken bool) {
	b, ok := pkt.Data().PullUp(pkt.Data().Size())
	if !ok {
		return false
	}
	e, fate := s.link.parseICMP(protocol, b)
	switch fate {
	case icmpOther:
		return false
	case icmpRefused:
		s.drop(func(d *Drops) { d.ICMP++ })
		return true
	}
	if s.icmpForRequest(&e) {
		return true
	}
	ep, ok := s.g.FindTransportEndpoint(protocol, header.TCPProtocolNumber, e.id, nicID).(*tcp.Endpoint)
	// What is being grafted is established for its client, so that no error can
	// end it (tcp_v4_err); netstack still connects.
	if !ok || ep.EndpointState() == tcp.StateListen || s.grafts.has(e.id) {
		return true
	}
	g := guardOf(ep)
	if g == nil {
		return false
	}
	if !g.heeds(&e, b) {
		return true
	}
	if errno := e.errno(); errno != 0 {
		g.suffers(errno)
	}
	return !e.tooBig() // what netstack is to know is the path's MTU
}

// carriesICMP reports whether a packet may hold an ICMP message. It is asked for
// every packet, so it looks at one byte; IPv6 packets with extension headers need
// the second look of parseICMP.
func carriesICMP(protocol tcpip.NetworkProtocolNumber, fixed []byte) bool {
	switch {
	case fixed == nil:
		return false
	case protocol == header.IPv4ProtocolNumber:
		return header.IPv4(fixed).Protocol() == uint8(header.ICMPv4ProtocolNumber)
	case protocol == header.IPv6ProtocolNumber:
		next := header.IPv6(fixed).NextHeader()
		return next == uint8(header.ICMPv6ProtocolNumber) || isExtension(next)
	}
	return false
}

// parseICMP looks at a whole IP packet. It refuses errors that are damaged, were
// not sent to one of the stack's addresses, or come in fragments, which nobody has
// a reason for: an error is no larger than what every link takes (RFC 1812, section
// 4.3.2.3; RFC 4443, section 2.4).
func (l *link) parseICMP(protocol tcpip.NetworkProtocolNumber, b []byte) (icmpError, icmpFate) {
	if protocol == header.IPv4ProtocolNumber {
		return l.parseICMPv4(b)
	}
	return l.parseICMPv6(b)
}

func (l *link) parseICMPv4(b []byte) (e icmpError, fate icmpFate) {
	h := header.IPv4(b)
	if len(b) < header.IPv4MinimumSize {
		return e, icmpOther
	}
	start, end := int(h.HeaderLength()), int(h.TotalLength())
	if start < header.IPv4MinimumSize || end < start+header.ICMPv4MinimumSize || len(b) < end || h.FragmentOffset() != 0 {
		return e, icmpOther
	}
	m := header.ICMPv4(b[start:end])
	switch m.Type() {
	case header.ICMPv4DstUnreachable, header.ICMPv4SrcQuench, header.ICMPv4Redirect,
		header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
	default:
		return e, icmpOther
	}
	if h.More() {
		return e, icmpRefused
	}
	if m.Type() == header.ICMPv4DstUnreachable && m.Code() > header.ICMPv4PrecedenceCutInEffect ||
		m.Type() == header.ICMPv4TimeExceeded && m.Code() == header.ICMPv4ReassemblyTimeout {
		return e, icmpOther // of no concern to TCP (icmp_unreach); netstack ignores them
	}
	e.kind, e.code = uint8(m.Type()), uint8(m.Code())
	if m.Type() == header.ICMPv4DstUnreachable && m.Code() == header.ICMPv4FragmentationNeeded {
		e.mtu = uint32(m.MTU())
	}
	fate = l.parseQuote4(m[header.ICMPv4MinimumSize:], &e)
	if fate == icmpAboutUs && (!l.isOwn(h.DestinationAddress()) ||
		checksum.Checksum(b[:start], 0) != 0xffff || checksum.Checksum(m, 0) != 0xffff) {
		fate = icmpRefused
	}
	return e, fate
}

// parseQuote4 reads the packet that an error quotes.
func (l *link) parseQuote4(q []byte, e *icmpError) icmpFate {
	h := header.IPv4(q)
	if len(q) < header.IPv4MinimumSize || h.Protocol() != uint8(header.TCPProtocolNumber) {
		return icmpOther
	}
	start := int(h.HeaderLength())
	if q[0]>>4 != header.IPv4Version || start < header.IPv4MinimumSize || h.FragmentOffset() != 0 {
		return icmpRefused
	}
	return l.quoted(h.SourceAddress(), h.DestinationAddress(), q, start, e)
}

func (l *link) parseICMPv6(b []byte) (e icmpError, fate icmpFate) {
	h := header.IPv6(b)
	if len(b) < header.IPv6MinimumSize {
		return e, icmpOther
	}
	end := header.IPv6MinimumSize + int(h.PayloadLength())
	if len(b) < end {
		return e, icmpOther
	}
	x := skipExtensions(h.NextHeader(), b[:end])
	if x.protocol != uint8(header.ICMPv6ProtocolNumber) && !isExtension(x.protocol) || x.offset != 0 {
		return e, icmpOther
	}
	if end < x.start+header.ICMPv6MinimumSize {
		if x.more {
			return e, icmpRefused // what follows may be anything (RFC 7112)
		}
		return e, icmpOther
	}
	m := header.ICMPv6(b[x.start:end])
	if !m.Type().IsErrorType() {
		return e, icmpOther
	}
	if x.more {
		return e, icmpRefused
	}
	e.kind, e.code = uint8(m.Type()), uint8(m.Code())
	if m.Type() == header.ICMPv6PacketTooBig {
		e.mtu = m.MTU()
	}
	fate = l.parseQuote6(m[header.ICMPv6ErrorHeaderSize:], &e)
	src, dst := h.SourceAddress(), h.DestinationAddress()
	if fate == icmpAboutUs && (!l.isOwn(dst) ||
		checksum.Checksum(m, header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, src, dst, uint16(len(m)))) != 0xffff) {
		fate = icmpRefused
	}
	return e, fate
}

// parseQuote6 reads the packet that an error quotes.
func (l *link) parseQuote6(q []byte, e *icmpError) icmpFate {
	h := header.IPv6(q)
	if len(q) < header.IPv6MinimumSize {
		return icmpOther
	}
	x := skipExtensions(h.NextHeader(), q)
	if x.protocol != uint8(header.TCPProtocolNumber) {
		return icmpOther
	}
	if q[0]>>4 != header.IPv6Version || x.offset != 0 {
		return icmpRefused
	}
	return l.quoted(h.SourceAddress(), h.DestinationAddress(), q, x.start, e)
}

// quoted reads the first bytes of a quoted TCP header, from start on.
func (l *link) quoted(src, dst tcpip.Address, q []byte, start int, e *icmpError) icmpFate {
	if len(q) < start+quotedTransport || !l.isOwn(src) {
		return icmpRefused
	}
	t := header.TCP(q[start:])
	e.id = gstack.TransportEndpointID{
		LocalAddress:  src,
		LocalPort:     t.SourcePort(),
		RemoteAddress: dst,
		RemotePort:    t.DestinationPort(),
	}
	e.seq = binary.BigEndian.Uint32(t[4:])
	return icmpAboutUs
}

// extensions is what lies behind the extension headers of an IPv6 packet.
type extensions struct {
	protocol uint8 // that of an extension header if the packet ends within it
	start    int   // of the protocol's header
	// offset and more are those of a fragment header; 0 and false mean that the
	// packet is whole.
	offset int
	more   bool
}

// skipExtensions walks over the extension headers of the IPv6 packet b, which holds
// the fixed header at least; next is the first one's type.
func skipExtensions(next uint8, b []byte) extensions {
	x := extensions{protocol: next, start: header.IPv6MinimumSize}
	for isExtension(x.protocol) && x.offset == 0 && len(b) >= x.start+header.IPv6FragmentHeaderSize {
		h := b[x.start:]
		size := (int(h[1]) + 1) * 8
		if x.protocol == header.IPv6FragmentHeader {
			f := header.IPv6Fragment(h)
			x.offset, x.more = int(f.FragmentOffset()), f.More()
			size = header.IPv6FragmentHeaderSize
		}
		x.protocol = h[0]
		x.start += size
	}
	return x
}

func isExtension(protocol uint8) bool {
	switch header.IPv6ExtensionHeaderIdentifier(protocol) {
	case header.IPv6HopByHopOptionsExtHdrIdentifier, header.IPv6RoutingExtHdrIdentifier,
		header.IPv6FragmentExtHdrIdentifier, header.IPv6DestinationOptionsExtHdrIdentifier:
		return true
	}
	return false
}
