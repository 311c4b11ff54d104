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
	if flags&header.TCPFlagRst == 0 { // its number may be what a stranger has acknowledged
		g.sends(pkt, flags, seqnum.Value(h.SequenceNumber()), sequenceLength(flags, pkt.Data().Size()))
	}
	if flags&header.TCPFlagFin != 0 {
		g.abandoned.finished = true
	}
	g.remember(pkt)
	if g.opening != nil {
		g.opens(h)
	}
	if g.fragmentable {
		g.s.fragment(pkt)
	}
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
	if told := seqnum.Value(h.AckNumber()); g.told != told {
		g.told = told
		if g.finAcked {
			g.s.later.do(g.overtaken)
		}
		if g.fin.held && g.fin.seq == told {
			g.fin.held = false
			g.s.later.do(g.finishes)
		}
	}
	if !g.opened {
		g.opened, g.edge, g.farthest = true, g.told, g.told
	}
	if window := g.promise(int(h.WindowSize())); window != int(h.WindowSize()) {
		// A checksum that the link completes covers no window yet (CHECKSUM_PARTIAL).
		if gso := &pkt.GSOOptions; gso.Type == gstack.GSONone || !gso.NeedsCsum {
			h.SetChecksum(^checksum.Combine(checksum.Combine(^h.Checksum(), ^h.WindowSize()), uint16(window)))
		}
		h.SetWindowSize(uint16(window))
	}
}

// sends counts a segment among those in flight, or repeated, or a keepalive probe. The
// lock is held.
func (g *guard) sends(pkt *gstack.PacketBuffer, flags header.TCPFlags, seq seqnum.Value, length seqnum.Size) {
	end := seq.Add(length)
	switch {
	case !g.begun:
		g.begun, g.id = true, idOfOutgoing(pkt)
		g.una, g.nxt = seq, end
	case g.nxt.LessThan(end):
		g.nxt = end
		g.s.stalls.watch(g)
	case length > 0 && flags&header.TCPFlagSyn == 0:
		g.repeats()
	case flags == header.TCPFlagAck && end == g.nxt-1:
		g.keepalives++
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

// promise returns the window to tell in place of netstack's, in units of the scale.
// The lock is held, and the endpoint locked.
//
// netstack rounds its window down to the scale's unit, so that the right edge told
// moves to the left as data arrives, and then takes nothing beyond it, although it
// was told, nor what such a segment acknowledges. A window must not shrink (RFC 9293,
// section 3.8.6; RFC 7323, section 2.4): the edge that was told stays, rounded up to a
// unit as Linux does (tcp_select_window), and netstack is told so. And netstack's window
// is half of the free memory, of which small segments take more than double their
// payload: the edge moves on only by what they leave room for (Linux scaling_ratio).
// Where that is short, the edge is rounded down, by less than a unit of what was told
// before, and what arrives up to that is taken all the same.
func (g *guard) promise(window int) int {
	unit := seqnum.Size(1) << g.receiveScale
	room := g.room()
	window = min(window, room)
	if left := g.told.Size(g.edge); g.told.Add(seqnum.Size(window) << g.receiveScale).LessThan(g.edge) {
		window = int((left + unit - 1) >> g.receiveScale)
		if window > room && (g.payload >= uint32(unit) || g.free() < g.bufferSize()/4) {
			window = int(left >> g.receiveScale)
		}
		window = min(window, mostWindow)
	}
	if edge := g.told.Add(seqnum.Size(window) << g.receiveScale); g.edge.LessThan(edge) {
		g.edge = edge
	}
	if g.farthest.LessThan(g.edge) {
		g.farthest = g.edge
	}
	if g.scaled {
		accept(g.ep, (g.told.Size(g.edge)+unit-1)&^(unit-1))
	}
	return window
}

// mostWindow is the largest value of the window field.
const mostWindow = 0xffff

// room returns how large a window the free memory of the receive buffer has room for,
// in units of the scale, if segments go on as they came. The lock is held.
func (g *guard) room() int {
	free := g.free()
	half := free / 2 // wndFromSpace
	if payload := int(g.payload); payload > 0 && payload < segmentCost {
		half = free * payload / (payload + segmentCost)
	}
	return min(half>>g.receiveScale, mostWindow)
}

func (g *guard) bufferSize() int { return int(g.ep.SocketOptions().GetReceiveBufferSize()) }

// free returns how much memory a receive buffer has left, in bytes.
func (g *guard) free() int { return max(g.bufferSize()-receiveMemory(g.ep), 0) }

// segmentCost is what netstack charges a receive buffer for a segment beyond its
// payload, in bytes, headers that stay in the packet included.
const segmentCost = tcp.SegOverheadSize + header.TCPMinimumSize

// reopen has the peer told of a window that was nearly shut and that a read has
// opened, where netstack, which counts on larger segments, sees no need to
// (tcp_cleanup_rbuf).
func (g *guard) reopen() {
	g.mu.Lock()
	told, room := int(g.told.Size(g.edge)), g.room()<<g.receiveScale
	small := min(g.s.link.mtu()-header.IPv4MinimumSize-header.TCPMinimumSize, g.bufferSize()/4)
	due := g.begun && g.edge != g.reopened && told < small && room >= small
	if due {
		g.reopened = g.edge
	}
	answer := segmentOut{flags: header.TCPFlagAck, seq: uint32(g.told - 1), ack: uint32(g.una)}
	g.mu.Unlock()
	if due {
		g.s.gate.inject(g.ep, g.id, answer, 1)
	}
}

// SetReceiveBuffer sets the size of an endpoint's receive buffer, in bytes. Where what
// has arrived needs more it gets that for now: netstack gives nothing back that it holds
// out of order, as Linux does (tcp_prune_queue), and would have no room for the segment
// that is missing before it.
func SetReceiveBuffer(ep *tcp.Endpoint, size int64) {
	so := ep.SocketOptions()
	so.SetReceiveBufferSize(max(size, min(so.GetReceiveBufferSize(), 2*int64(receiveMemory(ep)))), true)
}

// full reports whether netstack would drop a segment with payload for want of memory
// (segmentQueue.enqueue).
func (g *guard) full() bool { return receiveMemory(g.ep) > g.bufferSize() }

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
