package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// ICMP returns what listenq should have answered to an ICMP error: tcp_req_err, as
// tcp_v4_err and tcp_v6_err call it.
func (q *Queue) ICMP(e *listenq.ICMPError) listenq.Outcome {
	out := listenq.Outcome{Flow: e.Flow}
	i := slices.IndexFunc(q.half, func(h *halfOpen) bool { return h.flow == e.Flow })
	switch {
	case i < 0:
		say(&out, listenq.Drop, listenq.ICMPIgnored)
	case q.half[i].iss != e.Seq:
		q.Counters.OutOfWindowIcmps++
		say(&out, listenq.Drop, listenq.ICMPOutOfWindow)
	case aborts(e):
		q.Counters.ListenDrops++
		q.drop(i, &out)
		say(&out, listenq.Drop, listenq.ICMPFatal)
	default:
		say(&out, listenq.Drop, listenq.ICMPIgnored)
	}
	out.SYNQueue, out.AcceptQueue = len(q.half), len(q.queued)
	return out
}

// aborts reports whether an error ends a request whose SYN-ACK it quotes.
func aborts(e *listenq.ICMPError) bool {
	if e.Remote().Addr().Is4() {
		const unreachable, timeExceeded, parameterProblem, reassembly = 3, 11, 12, 1
		return e.Type == unreachable && e.Code <= 1 || e.Type == timeExceeded && e.Code != reassembly || e.Type == parameterProblem
	}
	const unreachable, parameterProblem = 1, 4
	soft := e.Code == 0 || e.Code == 2 || e.Code == 3 // no route, beyond scope, address
	return e.Type == unreachable && !soft || e.Type == parameterProblem
}

// ICMP hands an ICMP error to both. Timers that are due come first.
func (p *Pair) ICMP(now time.Duration, e *listenq.ICMPError) error {
	if err := p.Advance(now); err != nil {
		return err
	}
	out := p.Listener.ICMP(e)
	if want := p.Model.ICMP(e); out != want {
		return fmt.Errorf("at %v, %+v:\n got %+v\nwant %+v", now, *e, out, want)
	}
	if err := p.Audit.ICMP(e, out); err != nil {
		return err
	}
	return p.compare()
}

// ICMP judges the outcome of an ICMP error.
func (a *Audit) ICMP(e *listenq.ICMPError, o listenq.Outcome) error {
	l := a.l
	a.Reasons[o.Reason]++
	switch {
	case o.Flow != e.Flow || o.SYNQueue != l.SYNQueueLen() || o.AcceptQueue != l.AcceptQueueLen():
		return fmt.Errorf("outcome %+v with %d requests and %d connections", o, l.SYNQueueLen(), l.AcceptQueueLen())
	case o.Verdict != listenq.Drop:
		return fmt.Errorf("an ICMP error was answered: %+v", o)
	case o.Removed != (o.Reason == listenq.ICMPFatal) || o.Removed && l.Holds(o.Flow):
		return fmt.Errorf("request removed %t, still held %t: %+v", o.Removed, l.Holds(o.Flow), o)
	}
	switch o.Reason {
	case listenq.ICMPFatal:
		a.want.ListenDrops++
	case listenq.ICMPOutOfWindow:
		a.want.OutOfWindowIcmps++
	}
	return nil
}

// icmp makes an ICMP error about a SYN-ACK, or one beside it.
func (s *Script) icmp() error {
	a := s.answers[s.Draw(len(s.answers))]
	e := listenq.ICMPError{
		Flow: a.flow,
		Seq:  a.iss + pick[uint32](s, 0, 0, 0, 1, 1<<32-1, 1<<30),
		Type: pick[uint8](s, 3, 1, 11, 4, 12, 2, 5, 0),
		Code: pick[uint8](s, 0, 1, 2, 3, 4, 5, 6, 13, 255),
	}
	s.Log("%v %+v", s.now, e)
	return s.Pair.ICMP(s.now, &e)
}
