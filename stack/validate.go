package stack

import (
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A judgement is what the gate does with a segment of a connection.
type judgement int

const (
	// pass leaves the segment to netstack.
	pass judgement = iota
	// discard forgets it.
	discard
	// acknowledge forgets it and has netstack answer with an ACK.
	acknowledge
	// lift gives netstack what the segment acknowledges in a segment of its own, and
	// then the segment if there is more in it.
	lift
	// finish gives netstack only the FIN of a segment, and what it acknowledges.
	finish
	// refuse is lift for a segment whose data there is no memory for: that is forgotten,
	// and the peer told to stop.
	refuse
	// overtook is an ACK of everything, our FIN included, that has overtaken something:
	// netstack has it, and once more in order.
	overtook
	// stop is refuse for a segment beyond the window, which acknowledges nothing.
	stop
)

const (
	// pawsIdle is how long a connection must be silent for its last timestamp to
	// prove nothing any more (RFC 7323, section 5.5; TCP_PAWS_24DAYS).
	pawsIdle = 24 * 24 * time.Hour
	// pawsReplay is how much older than the last the timestamp of a repeated ACK may
	// be, in the peer's ticks: 1.2 times the least RTO where a tick is a millisecond
	// (tcp_tsval_replay).
	pawsReplay = 240
)

// valid reports whether a segment for a connection is netstack's; see validate.
func (g *gate) valid(ep *tcp.Endpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) bool {
	r := guardOf(ep)
	return r == nil || g.validate(r, id, pkt)
}

// validate judges a segment for a connection as tcp_validate_incoming and tcp_ack do
// (Linux 6.18), as far as netstack does not by itself, and carries the judgement out;
// true means that the segment is netstack's.
func (g *gate) validate(r *guard, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) bool {
	h, ok := headerOf(pkt)
	if !ok {
		return true // netstack counts it
	}
	const unjudged = header.TCPFlagSyn | header.TCPFlagRst
	if h.Flags()&unjudged != 0 || h.Flags()&header.TCPFlagAck == 0 {
		if h.Flags()&header.TCPFlagRst != 0 {
			r.heard()
		}
		return true
	}
	if !intact(h, id, pkt) {
		return true
	}
	payload := pkt.Data().Size()
	var answer, last segmentOut
	var buf, lastBuf [12]byte
	r.mu.Lock()
	una := r.una
	j := r.judge(h, payload)
	relieve := j != discard && j != acknowledge && r.hears(r.una != una, h.WindowSize() == 0)
	switch j {
	case acknowledge: // what netstack has already, which it answers
		answer = segmentOut{flags: header.TCPFlagAck, seq: uint32(r.told - 1), ack: uint32(r.una)}
	case lift, finish, refuse, overtook:
		answer = segmentOut{flags: header.TCPFlagAck, seq: uint32(r.told), ack: h.AckNumber(), window: int(h.WindowSize())}
		if val, ecr, ok := timestampOf(h); ok {
			answer.options = timestampOption(buf[:], val, ecr)
		}
		if j == finish {
			answer.flags |= header.TCPFlagFin
			answer.seq = h.SequenceNumber() + uint32(payload)
		}
	}
	if j == refuse || j == stop {
		last = r.shut(lastBuf[:])
	}
	r.mu.Unlock()

	if relieve && !g.s.later.do(r.relieve) {
		g.s.drop(func(d *Drops) { d.LaterOverflow++ })
	}
	switch j {
	case pass:
		return true
	case acknowledge:
		g.inject(r.ep, id, answer, 1)
	case overtook:
		g.inject(r.ep, id, answer, 0)
		return true
	case finish:
		g.inject(r.ep, id, answer, 0)
	case lift:
		g.inject(r.ep, id, answer, 0)
		return sequenceLength(h.Flags(), payload) > 0
	case refuse:
		g.inject(r.ep, id, answer, 0)
		g.s.count(func(c *ConnCounters) { c.TCPRcvQDrop++ })
		g.s.send(id, last)
	case stop:
		g.s.count(func(c *ConnCounters) { c.BeyondWindow++ })
		g.s.send(id, last)
	}
	return false
}

// intact reports whether the checksum of a segment is right.
func intact(h header.TCP, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) bool {
	if !pkt.RXChecksumValidated {
		pkt.RXChecksumValidated = h.IsChecksumValid(id.RemoteAddress, id.LocalAddress, pkt.Data().Checksum(), uint16(pkt.Data().Size()))
	}
	return pkt.RXChecksumValidated
}

// judge decides about a segment that has ACK and neither SYN nor RST, and takes note
// of what it says if it passes. The lock is held.
func (g *guard) judge(h header.TCP, payload int) judgement {
	seq, ack := seqnum.Value(h.SequenceNumber()), seqnum.Value(h.AckNumber())
	length := sequenceLength(h.Flags(), payload)
	window := uint32(h.WindowSize()) << g.sendScale

	stamp, stamped := uint32(0), false
	if g.stamps {
		stamp, _, stamped = timestampOf(h)
	}
	if stamped && int32(g.recent-stamp) > 1 && g.recent != 0 && g.s.now()-g.recentAt <= pawsIdle {
		if j := g.old(seq, ack, length, window, stamp); j != pass {
			return j
		}
	}
	switch old, beyond := seq.Add(length).LessThan(g.told), g.edge.LessThan(seq); { // tcp_sequence
	case payload > 0 && beyond && g.full():
		return stop
	case length > 0 && (old || beyond):
		return pass // netstack answers it
	case old || g.farthest.LessThan(seq):
		return g.limited(func(c *ConnCounters) { c.TCPACKSkippedSeq++ }, nil)
	}
	if g.nxt.LessThan(ack) || ack.LessThan(g.una.Add(-seqnum.Size(min(uint64(g.window), g.acked)))) { // tcp_ack
		return g.limited(func(c *ConnCounters) { c.TCPACKSkippedChallenge++ }, func(c *ConnCounters) { c.TCPChallengeACK++ })
	}

	if payload > 0 {
		g.payload += uint32((payload - int(g.payload)) / 8)
		if g.payload == 0 {
			g.payload = uint32(payload)
		}
	}
	if g.una.LessThan(ack) {
		g.acked += uint64(g.una.Size(ack))
		g.una = ack
	}
	g.window = max(g.window, window)
	g.lastWindow = h.WindowSize()
	if stamped && int32(stamp-g.recent) > 0 && seq.LessThanEq(g.told) { // tcp_replace_ts_recent
		g.recent, g.recentAt = stamp, g.s.now()
	}

	switch {
	case payload > 0 && g.full():
		return refuse
	case payload > 0 && seq.Add(seqnum.Size(payload)).LessThanEq(g.told):
		// Repeated data, which netstack answers without a look at what came with it.
		if h.Flags()&header.TCPFlagFin != 0 {
			return finish
		}
		return lift
	case length > 0 && g.edge == g.told, // a probe of a window that is shut
		g.edge.LessThan(seq): // an ACK from before it was shut
		return lift
	case length == 1 && payload == 0 && g.told.LessThan(seq):
		g.fin = earlyFIN{true, seq}
	case length == 0 && g.told.LessThan(seq) && ack == g.nxt && g.ep.EndpointState() == tcp.StateFinWait1:
		g.finAcked = true
		return overtook
	}
	return pass
}

// old decides about a segment whose timestamp is older than the last one, which is
// from another life of the connection, or forged (RFC 7323, section 5.3;
// tcp_disordered_ack_check). A duplicate ACK that was overtaken is neither. The lock is
// held.
func (g *guard) old(seq, ack seqnum.Value, length seqnum.Size, window, stamp uint32) judgement {
	if length == 0 {
		switch {
		case seq.LessThan(g.told):
			g.s.count(func(c *ConnCounters) { c.PAWSOldAck++ })
			return discard
		case seq == g.told && ack == g.una && window <= g.window && window != 0 && int32(g.recent-stamp) <= pawsReplay:
			return pass
		}
	}
	g.s.count(func(c *ConnCounters) { c.PAWSEstab++ })
	if length > 0 {
		return acknowledge // no part of a loop (tcp_oow_rate_limited)
	}
	return g.limited(func(c *ConnCounters) { c.TCPACKSkippedPAWS++ }, nil)
}

// limited answers a segment unless one was answered within tcp_invalid_ratelimit (RFC
// 5961, section 7; __tcp_oow_rate_limited), and counts what it does. The lock is held.
func (g *guard) limited(skipped, answered func(*ConnCounters)) judgement {
	now := g.s.now()
	if g.answeredAt != 0 && now-g.answeredAt < time.Duration(g.s.invalidRatelimit.Load()) {
		g.s.count(skipped)
		return discard
	}
	g.answeredAt = now
	if answered != nil {
		g.s.count(answered)
	}
	return acknowledge
}

// inject queues a segment of ours, with a number of zero bytes as payload, to an
// endpoint as if the peer had sent it.
func (g *gate) inject(ep *tcp.Endpoint, id gstack.TransportEndpointID, seg segmentOut, payload int) {
	pkt, ok := seg.packet(id.RemoteAddress, id.LocalAddress, id.RemotePort, id.LocalPort)
	if !ok {
		return
	}
	defer pkt.DecRef()
	if payload > 0 {
		pkt.Data().AppendView(buffer.NewViewSize(payload))
	}
	pkt.NICID = nicID
	pkt.RXChecksumValidated = true
	g.netstackTCP.QueuePacket(ep, id, pkt)
}
