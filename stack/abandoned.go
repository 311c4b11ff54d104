package stack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// abandoned is what the gate must know of a connection that nobody can read from any
// more; the guard's lock guards it.
type abandoned struct {
	// refuses says that data is answered by RST, once the own FIN is out
	// (RCV_SHUTDOWN).
	refuses bool
	// finished says that the own FIN was sent.
	finished bool
	// endpoint is that of a connection that no program has (SOCK_DEAD), and finTimeout
	// how long it may be in FIN-WAIT-2.
	endpoint   *Endpoint
	finTimeout time.Duration
}

// refuse says that nobody will read what arrives.
func (e *Endpoint) refuse() {
	if g := guardOf(e.ep); g != nil {
		g.mu.Lock()
		g.abandoned.refuses = true
		g.mu.Unlock()
	}
}

// abandon says that no program has the connection any more, just before it is closed.
func (e *Endpoint) abandon() {
	g := guardOf(e.ep)
	if g == nil {
		return
	}
	var linger tcpip.TCPLingerTimeoutOption
	var info tcpip.TCPInfoOption
	e.ep.GetSockOpt(&linger) // neither fails
	e.ep.GetSockOpt(&info)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.abandoned.refuses, g.abandoned.endpoint = true, e
	g.abandoned.finTimeout = finTimeout(time.Duration(linger), info.RTO)
}

// finTimeout is how long FIN-WAIT-2 lasts without a program (tcp_fin_time); less than 0
// is for ever, to netstack.
func finTimeout(linger, rto time.Duration) time.Duration {
	if linger < 0 {
		return linger
	}
	return max(linger, rto<<2-rto>>1)
}

// forsaken takes over a connection in FIN-WAIT-2 that has just been closed.
func (e *Endpoint) forsaken() {
	e.ep.LockUser()
	defer e.ep.UnlockUser()
	g := guardOf(e.ep)
	if g == nil || e.ep.EndpointState() != tcp.StateFinWait2 {
		return
	}
	g.mu.Lock()
	lasts := g.abandoned.finTimeout
	g.mu.Unlock()
	if lasts >= 0 {
		e.s.timeWaits.enterFinWait2(e, lasts)
		return
	}
	// TCP_LINGER2 below 0 (__tcp_close); netstack forgets the connection.
	var b [12]byte
	g.mu.Lock()
	seg := g.activeReset(b[:])
	g.mu.Unlock()
	e.s.count(func(c *ConnCounters) { c.TCPAbortOnLinger++ })
	e.s.reset(g.id, seg)
}

// dead judges a valid segment for a connection in FIN-WAIT-1 or FIN-WAIT-2 that nobody
// reads from any more, as tcp_rcv_state_process does; true means that it is dealt with.
func (g *gate) dead(ep *tcp.Endpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) bool {
	r := guardOf(ep)
	h, ok := headerOf(pkt)
	const others = header.TCPFlagSyn | header.TCPFlagRst
	if r == nil || !ok || h.Flags()&others != 0 || h.Flags()&header.TCPFlagAck == 0 {
		return false
	}
	payload := pkt.Data().Size()
	r.mu.Lock()
	a := r.abandoned
	data := a.refuses && payload > 0 && r.told.LessThan(seqnum.Value(h.SequenceNumber()).Add(seqnum.Size(payload)))
	acknowledged := a.finished && r.una == r.nxt
	r.mu.Unlock()
	switch {
	case data:
		if seg, ok := g.parse(id, pkt); ok {
			g.s.count(func(c *ConnCounters) { c.TCPAbortOnData++ })
			g.s.sendReset(id, &seg)
			g.end(r)
		}
	case a.endpoint != nil && acknowledged && h.Flags()&header.TCPFlagFin == 0:
		if a.finTimeout >= 0 {
			g.s.timeWaits.enterFinWait2(a.endpoint, a.finTimeout)
		} else if seg, ok := g.parse(id, pkt); ok { // TCP_LINGER2 below 0
			g.s.count(func(c *ConnCounters) { c.TCPAbortOnData++ })
			g.s.sendReset(id, &seg)
			g.end(r)
		}
	default:
		return false
	}
	return true
}

// end has netstack end a connection without a word, as if the peer had reset it.
func (g *gate) end(r *guard) {
	r.mu.Lock()
	seg := segmentOut{flags: header.TCPFlagRst, seq: uint32(r.told)}
	id := r.id
	r.mu.Unlock()
	g.inject(r.ep, id, seg, 0)
}

// sendReset answers a segment that is not acceptable with the RST that Linux sends
// (tcp_v4_send_reset).
func (s *Stack) sendReset(id gstack.TransportEndpointID, seg *listenq.Segment) {
	out := segmentOut{flags: header.TCPFlagRst, seq: seg.Ack}
	if !seg.Flags.Has(listenq.ACK) {
		out = segmentOut{flags: header.TCPFlagRst | header.TCPFlagAck, ack: seg.End()}
	}
	s.count(func(c *ConnCounters) { c.OutRsts++ })
	s.send(id, out)
}
