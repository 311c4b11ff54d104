package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// leaves takes note of a segment that netstack sends, and sees to it that its window
// is one that can be kept. The endpoint is locked.
func (g *guard) leaves(pkt *gstack.PacketBuffer) {
	h, ok := headerOf(pkt)
	if !ok {
		return
	}
	flags := h.Flags()
	g.mu.Lock()
	defer g.mu.Unlock()
	seq := seqnum.Value(h.SequenceNumber())
	end := seq.Add(sequenceLength(flags, pkt.Data().Size()))
	if !g.begun {
		g.begun = true
		g.una, g.nxt = seq, end
	} else if g.nxt.LessThan(end) {
		g.nxt = end
	}
	g.remember(pkt)
	if flags&(header.TCPFlagAck|header.TCPFlagSyn|header.TCPFlagRst) != header.TCPFlagAck {
		return
	}
	if !g.scaled {
		g.receiveScale, g.sendScale, g.scaled = scalesOf(g.ep)
	}
	if !g.stamps {
		if _, ecr, ok := timestampOf(h); ok {
			g.stamps, g.recent, g.recentAt = true, ecr, g.s.now()
		}
	}
	g.told = seqnum.Value(h.AckNumber())
	if window := g.promise(int(h.WindowSize())); window != int(h.WindowSize()) {
		// A checksum that the link completes covers no window yet (CHECKSUM_PARTIAL).
		if gso := &pkt.GSOOptions; gso.Type == gstack.GSONone || !gso.NeedsCsum {
			h.SetChecksum(^checksum.Combine(checksum.Combine(^h.Checksum(), ^h.WindowSize()), uint16(window)))
		}
		h.SetWindowSize(uint16(window))
	}
}

// remember keeps the fields of the IP header that are the socket's to choose.
func (g *guard) remember(pkt *gstack.PacketBuffer) {
	b := pkt.NetworkHeader().Slice()
	switch pkt.NetworkProtocolNumber {
	case header.IPv4ProtocolNumber:
		g.ttl = header.IPv4(b).TTL()
		g.tos, _ = header.IPv4(b).TOS()
	case header.IPv6ProtocolNumber:
		g.ttl = header.IPv6(b).HopLimit()
		g.tos, _ = header.IPv6(b).TOS()
	}
}

// promise returns the window to tell in place of netstack's, in units of the scale,
// and takes note of both. The lock is held.
//
// netstack rounds its window down to the scale's unit, so that the right edge told
// moves to the left as data arrives, and then takes nothing beyond it, although it
// was told. A window must not shrink (RFC 9293, section 3.8.6; RFC 7323, section
// 2.4), so the edge that was told stays, rounded up where it must be, as Linux does
// (tcp_select_window); what arrives between the two edges is taken care of by the
// gate. And netstack's window is half of the free memory, of which small segments
// take more than double their payload: the edge moves on only by what such segments
// leave room for (Linux scaling_ratio).
func (g *guard) promise(window int) int {
	unit := seqnum.Size(1) << g.receiveScale
	g.accepts = g.told.Add(seqnum.Size(window) << g.receiveScale)
	if fits := g.fits(); fits < window {
		window = fits
	}
	edge := g.told.Add(seqnum.Size(window) << g.receiveScale)
	if edge.LessThan(g.edge) {
		left := g.told.Size(g.edge)
		if rounded := int((left + unit - 1) >> g.receiveScale); rounded <= 0xffff {
			window = rounded
		}
		edge = g.told.Add(seqnum.Size(window) << g.receiveScale)
	}
	g.edge = edge
	return window
}

// fits returns how large a window the free memory of the receive buffer has room for,
// in units of the scale, if segments go on as they came. The lock is held.
func (g *guard) fits() int {
	const most = 0xffff
	payload := int(g.payload)
	if payload == 0 || payload >= tcp.SegOverheadSize {
		return most
	}
	free := int(g.ep.SocketOptions().GetReceiveBufferSize()) - receiveMemory(g.ep)
	if free <= 0 {
		return 0
	}

	return min(free*payload/(payload+segmentCost)>>g.receiveScale, most)
}

// segmentCost is what netstack charges a receive buffer for a segment beyond its
// payload, in bytes, headers that stay in the packet included.
const segmentCost = tcp.SegOverheadSize + header.TCPMinimumSize

// full reports whether netstack would drop a segment with payload for want of memory
// (segmentQueue.enqueue).
func full(ep *tcp.Endpoint) bool {
	return receiveMemory(ep) > int(ep.SocketOptions().GetReceiveBufferSize())
}

// shut returns the answer to data that there is no memory for: an ACK that closes the
// window at once, the one case in which Linux moves its edge to the left
// (tcp_data_queue, ICSK_ACK_NOMEM). The lock is held.
func (g *guard) shut(b []byte) segmentOut {
	g.edge = g.told
	seg := segmentOut{
		flags: header.TCPFlagAck,
		seq:   uint32(g.nxt),
		ack:   uint32(g.told),
	}
	if g.stamps {
		seg.options = timestampOption(b, g.ep.TSOffset.TSVal(g.s.clock.NowMonotonic()), g.recent)
	}
	return seg
}

var _ tcpip.PacketOwner = (*guard)(nil)
