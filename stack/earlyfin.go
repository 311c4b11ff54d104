package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// An earlyFIN is a FIN without data that has overtaken data. netstack keeps one only if
// it comes with data; the peer would have to repeat it.
type earlyFIN struct {
	held bool
	seq  seqnum.Value
}

// finishes gives netstack the FIN that came early, once all before it is there.
func (g *guard) finishes() {
	switch g.ep.EndpointState() {
	case tcp.StateEstablished, tcp.StateFinWait1, tcp.StateFinWait2:
	default:
		return
	}
	var buf [12]byte
	g.mu.Lock()
	seg := segmentOut{flags: header.TCPFlagAck | header.TCPFlagFin, seq: uint32(g.fin.seq), ack: uint32(g.una), window: int(g.lastWindow)}
	if g.stamps {
		seg.options = timestampOption(buf[:], g.recent, 0)
	}
	g.mu.Unlock()
	g.s.gate.inject(g.ep, g.id, seg, 0)
}
