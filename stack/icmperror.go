package stack

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// reportProblem tells the sender of a packet what is wrong with its headers (RFC
// 4443, section 3.4), where that is allowed: not if the packet was for many, or is
// from nobody, or is such a report itself (section 2.4; icmp6_send).
func (l *link) reportProblem(packet []byte, fault *headerFault) {
	h := header.IPv6(packet)
	src, dst := h.SourceAddress(), h.DestinationAddress()
	if !l.isOwn(dst) || l.isOwn(src) || src == header.IPv6Any || header.IsV6MulticastAddress(src) || isReport(packet) {
		return
	}
	quote := packet[:min(len(packet), header.IPv6MinimumMTU-header.IPv6MinimumSize-header.ICMPv6MinimumSize)]
	view := buffer.NewViewSize(header.IPv6MinimumSize + header.ICMPv6MinimumSize + len(quote))
	b := view.AsSlice()
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength:     uint16(header.ICMPv6MinimumSize + len(quote)),
		TransportProtocol: header.ICMPv6ProtocolNumber,
		HopLimit:          hopLimit,
		SrcAddr:           dst,
		DstAddr:           src,
	})
	m := header.ICMPv6(b[header.IPv6MinimumSize:])
	m.SetType(header.ICMPv6ParamProblem)
	m.SetCode(fault.code)
	m.SetTypeSpecific(uint32(fault.pointer))
	copy(m[header.ICMPv6MinimumSize:], quote)
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: dst, Dst: src}))

	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	defer pkt.DecRef()
	pkt.NetworkProtocolNumber = header.IPv6ProtocolNumber
	pkt.TransportProtocolNumber = header.ICMPv6ProtocolNumber
	pkt.NetworkHeader().Consume(header.IPv6MinimumSize)
	pkt.TransportHeader().Consume(header.ICMPv6MinimumSize)
	var one gstack.PacketBufferList
	one.PushBack(pkt)
	if _, err := l.WritePackets(one); err != nil {
		l.s.logger.Debug("parameter problem not sent", "to", src, "cause", err)
	}
}

// isReport reports whether an IPv6 packet carries an ICMPv6 error, or may do so
// (is_ineligible).
func isReport(packet []byte) bool {
	const information = 128
	protocol, at, ok := upperLayer(packet)
	return ok && tcpip.TransportProtocolNumber(protocol) == header.ICMPv6ProtocolNumber &&
		(at >= len(packet) || packet[at] < information)
}
