package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// RepeatSYNACK has netstack's side send a SYN-ACK, as its own timer does when a
// handshake is not finished after a second.
func RepeatSYNACK(s *Stack, local, remote netip.AddrPort) {
	seg := segmentOut{flags: header.TCPFlagSyn | header.TCPFlagAck}
	pkt := seg.packet(toAddress(local.Addr()), toAddress(remote.Addr()), local.Port(), remote.Port())
	defer pkt.DecRef()
	var one gstack.PacketBufferList
	one.PushBack(pkt)
	s.link.WritePackets(one)
}
