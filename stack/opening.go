package stack

import (
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// An opening is what a guard knows of a connection that the stack opens, until it is
// open. The guard's lock guards it.
type opening struct {
	syns    int    // how many were sent
	options []byte // of the first
	window  int
}

// opens takes note of a segment that an endpoint sends before its connection is open,
// and of the first afterwards. Both are locked.
func (g *guard) opens(h header.TCP) {
	o := g.opening
	switch f := h.Flags(); {
	case f&header.TCPFlagSyn != 0:
		if o.syns == 0 {
			o.options, o.window = slices.Clone(h[header.TCPMinimumSize:h.DataOffset()]), int(h.WindowSize())
		}
		o.syns++
	case f&header.TCPFlagRst == 0 && opened(g.ep):
		if _, _, stamped := timestampOf(h); !stamped {
			distrustLocked(g.ep, o.syns > 1, o.syns > 2)
		}
		if g.acked == 0 { // the SYN
			g.una++
		}
		g.opening = nil
	}
}

// refutes deals with a segment that acknowledges something else than the SYN, as from
// a connection that the peer still has: it gets a RST, and the first time the SYN
// follows at once (tcp_rcv_synsent_state_process). netstack would repeat it twenty
// times within a second.
func (g *gate) refutes(ep *tcp.Endpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) bool {
	r := guardOf(ep)
	h, ok := headerOf(pkt)
	if r == nil || !ok || h.Flags()&header.TCPFlagAck == 0 || !intact(h, id, pkt) {
		return false
	}
	r.mu.Lock()
	o := r.opening
	if o == nil || o.syns == 0 || h.AckNumber() == uint32(r.nxt) {
		r.mu.Unlock()
		return false
	}
	again := o.syns == 1
	if again {
		o.syns++
	}
	syn := segmentOut{flags: header.TCPFlagSyn, seq: uint32(r.una), window: o.window, options: o.options}
	r.mu.Unlock()

	if h.Flags()&header.TCPFlagRst == 0 {
		g.s.count(func(c *ConnCounters) { c.OutRsts++ })
		g.s.send(id, segmentOut{flags: header.TCPFlagRst, seq: h.AckNumber()})
	}
	if again {
		g.s.count(func(c *ConnCounters) { c.RetransSegs++ })
		g.s.send(id, syn)
	}
	return true
}

// meets deals with the SYN-ACK of a peer that has connected at the same time: what it
// acknowledges counts (tcp_validate_incoming), where netstack looks only at its
// number, which is old.
func (g *gate) meets(ep *tcp.Endpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) {
	r := guardOf(ep)
	h, ok := headerOf(pkt)
	if r == nil || !ok || h.Flags() != header.TCPFlagSyn|header.TCPFlagAck || !intact(h, id, pkt) {
		return
	}
	r.mu.Lock()
	right := r.opening != nil && h.AckNumber() == uint32(r.nxt)
	r.mu.Unlock()
	if !right {
		return
	}
	o := header.ParseSynOptions(h[header.TCPMinimumSize:h.DataOffset()], true)
	ack := segmentOut{
		flags:  header.TCPFlagAck,
		seq:    h.SequenceNumber() + 1,
		ack:    h.AckNumber(),
		window: int(h.WindowSize()) >> max(o.WS, 0), // that of a SYN is not scaled
	}
	if o.TS {
		var b [12]byte
		ack.options = timestampOption(b[:], o.TSVal, o.TSEcr)
	}
	g.inject(ep, id, ack, 0)
}
