package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// overtaken tells netstack once more, and in order, that the peer has our FIN.
//
// An ACK that has overtaken the peer's own FIN, or data before that, lies beyond
// RCV.NXT. netstack takes its number, and repeats our FIN no more, but stays in
// FIN-WAIT-1; when the FIN arrives, which says what was acknowledged before, it goes to
// CLOSING and waits for ever for what it has. Linux looks at the number alone
// (tcp_rcv_state_process).
func (g *guard) overtaken() {
	switch g.ep.EndpointState() {
	case tcp.StateFinWait1, tcp.StateClosing:
	default:
		return
	}
	var buf [12]byte
	g.mu.Lock()
	seg := segmentOut{flags: header.TCPFlagAck, seq: uint32(g.told), ack: uint32(g.una), window: int(g.lastWindow)}
	if g.stamps {
		seg.options = timestampOption(buf[:], g.recent, 0)
	}
	g.mu.Unlock()
	g.s.gate.inject(g.ep, g.id, seg, 0)
}
