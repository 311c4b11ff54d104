package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// reset sends a RST that netstack does not send, or would send with other numbers.
func (s *Stack) reset(id gstack.TransportEndpointID, seg segmentOut) {
	seg.flags |= header.TCPFlagRst
	s.count(func(c *ConnCounters) { c.OutRsts++ })
	s.send(id, seg)
}

// activeReset is the RST of a connection that ends by itself (tcp_send_active_reset).
// The guard's lock is held.
func (g *guard) activeReset(b []byte) segmentOut {
	seg := segmentOut{
		flags:  header.TCPFlagRst | header.TCPFlagAck,
		seq:    uint32(g.nxt),
		ack:    uint32(g.told),
		window: int(g.told.Size(g.edge) >> g.receiveScale),
	}
	if g.stamps {
		seg.options = timestampOption(b, g.ep.TSOffset.TSVal(g.s.clock.NowMonotonic()), g.recent)
	}
	return seg
}

// heard says that keepalive probes are not what ends the connection.
func (g *guard) heard() {
	g.mu.Lock()
	g.keepalives = 0
	g.mu.Unlock()
}

// silenced sends a RST if a connection has ended because its peer did not answer
// keepalive probes (tcp_keepalive_timer). netstack says no more than that it ended.
func (e *Endpoint) silenced() {
	count, err := e.ep.GetSockOptInt(tcpip.KeepaliveCountOption)
	if err != nil {
		return
	}
	g := guardOf(e.ep)
	var b [12]byte
	g.mu.Lock()
	ended := g.keepalives >= count && g.una == g.nxt && g.stalled == moving
	g.keepalives = 0
	seg := g.activeReset(b[:])
	g.mu.Unlock()
	if ended {
		e.s.reset(g.id, seg)
	}
}
