package stack

import (
	"slices"

	"github.com/ulisten/ulisten/listenq"
)

// icmpForRequest gives an ICMP error to the listener whose request it is about, if
// there is one. A listener that was closed may have it still.
func (s *Stack) icmpForRequest(e *icmpError) bool {
	about := listenq.ICMPError{Flow: flowOf(e.id), Seq: e.seq, Type: e.kind, Code: e.code}
	for _, l := range s.listenersOn(e.id.LocalPort) {
		if l.icmp(&about) {
			return true
		}
	}
	return s.lingering.icmp(&about)
}

// icmp decides about an ICMP error; false means that it is about no request of the
// listener's.
func (l *Listener) icmp(e *listenq.ICMPError) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.q.Holds(e.Flow) {
		return false
	}
	before := l.q.Counters()
	out := l.q.ICMP(e)
	if l.s.observe != nil {
		l.s.observe(Event{Listener: l, Time: l.s.now(), ICMP: e, Outcome: out})
	}
	l.s.answer(l.offer.Load(), arrivalOf(e.Flow).id, &out)
	if l.removed {
		ticks := l.q.Counters()
		ticks.Sub(&before)
		l.s.mu.Lock()
		l.s.past.Add(&ticks)
		l.s.mu.Unlock()
	}
	return true
}

// icmp is the same for listeners that were closed.
func (g *lingering) icmp(e *listenq.ICMPError) bool {
	if g.count.Load() == 0 {
		return false
	}
	g.mu.Lock()
	list := slices.Clone(g.list)
	g.mu.Unlock()
	found := slices.ContainsFunc(list, func(l *Listener) bool { return l.icmp(e) })
	if found {
		g.tidy()
	}
	return found
}
