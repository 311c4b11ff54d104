package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
)

// RepeatSYNACK has netstack's side send a SYN-ACK, as its own timer does when a
// handshake is not finished after a second.
func RepeatSYNACK(s *Stack, local, remote netip.AddrPort) {
	write(s, segmentOut{flags: header.TCPFlagSyn | header.TCPFlagAck}, local, remote)
}

// RefuseSegment has netstack's side send a RST, as it does for segments that were
// still queued to an endpoint when that ended.
func RefuseSegment(s *Stack, local, remote netip.AddrPort) {
	write(s, segmentOut{flags: header.TCPFlagRst}, local, remote)
}

func write(s *Stack, seg segmentOut, local, remote netip.AddrPort) {
	pkt := seg.packet(toAddress(local.Addr()), toAddress(remote.Addr()), local.Port(), remote.Port())
	defer pkt.DecRef()
	var one gstack.PacketBufferList
	one.PushBack(pkt)
	s.link.WritePackets(one)
}

// An ICMPError is what the stack reads in an ICMP error.
type ICMPError struct {
	Flow       listenq.Flow
	Seq, MTU   uint32
	Type, Code uint8
}

// ReadICMP says what the stack reads in an IP packet, and whose it is: "other",
// "ours" or "refused".
func ReadICMP(s *Stack, b []byte) (ICMPError, string) {
	protocol := header.IPv4ProtocolNumber
	if b[0]>>4 == header.IPv6Version {
		protocol = header.IPv6ProtocolNumber
	}
	e, fate := s.link.parseICMP(protocol, b)
	whose := []string{"other", "ours", "refused"}[fate]
	if fate != icmpAboutUs {
		return ICMPError{}, whose
	}
	return ICMPError{flowOf(e.id), e.seq, e.mtu, e.kind, e.code}, whose
}
