package stack

import (
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// timeWaits are the connections in TIME-WAIT, and those in FIN-WAIT-2 that no program
// has any more. As in the kernel a connection gives its socket up when it gets there
// (tcp_time_wait): netstack's endpoint ends, and what is left is a timeWait.
type timeWaits struct {
	s *Stack
	// count is what byFlow and leaving hold, readable without the lock.
	count atomic.Int32

	mu     sync.Mutex
	byFlow map[listenq.Flow]*timeWait
	// leaving are endpoints that netstack is about to end.
	leaving       map[listenq.Flow]*tcp.Endpoint
	waits, fins   twList // in TIME-WAIT and in FIN-WAIT-2
	timer         tcpip.Timer
	due           time.Duration // when it fires, if armed
	armed, closed bool
	// freed are bindings to be given back on a goroutine that holds no lock: netstack
	// delivers segments with its demuxer locked.
	freed []*Binding
}

func (t *timeWaits) init(s *Stack) {
	t.s = s
	t.byFlow = make(map[listenq.Flow]*timeWait)
	t.leaving = make(map[listenq.Flow]*tcp.Endpoint)
}

// enter takes a connection in TIME-WAIT over from netstack, which has been told to wait
// for no time, and ends its endpoint in a moment.
func (t *timeWaits) enter(e *Endpoint) {
	now := t.s.now()
	t.admit(e, &timeWait{flow: e.flow(), entered: now, deadline: now + timeWaitLength})
}

// enterFinWait2 takes over a connection that no program has any more and whose FIN has
// been acknowledged, and has netstack end its endpoint.
func (t *timeWaits) enterFinWait2(e *Endpoint, lasts time.Duration) {
	now := t.s.now()
	t.s.proven.add(e.remote.Addr())
	t.admit(e, &timeWait{flow: e.flow(), finWait2: true, entered: now, deadline: now + lasts})
	t.s.gate.end(guardOf(e.ep))
}

// admit keeps a connection, if there is room (inet_twsk_alloc).
func (t *timeWaits) admit(e *Endpoint, w *timeWait) {
	w.tsOffset = tsOffsetOf(e.ep)
	w.take(guardOf(e.ep))
	t.mu.Lock()
	before := t.byFlow[w.flow]
	if before != nil { // netstack had the FIN in its queue already
		t.remove(before)
	}
	room := !t.closed && len(t.byFlow) < t.s.sysctl(tcpMaxTWBuckets)
	if room {
		if w.binding = e.binding.Load(); w.binding != nil {
			w.binding.waiting.Add(+1)
		}
		t.byFlow[w.flow] = w
		t.push(w)
		t.rearm(w.entered)
	}
	t.leaving[w.flow] = e.ep
	if s := e.ep.EndpointState(); s == tcp.StateClose || s == tcp.StateError { // it has left
		delete(t.leaving, w.flow)
	}
	t.counted()
	killed := w.deadline-w.entered <= twKilled
	t.mu.Unlock()
	if before != nil {
		return
	}
	t.s.count(func(c *ConnCounters) {
		switch {
		case !room:
			c.TCPTimeWaitOverflow++
		case killed:
			c.TWKilled++
		default:
			c.TW++
		}
	})
}

// left says that netstack has ended an endpoint. A connection that has followed it
// can be grafted now.
func (t *timeWaits) left(e *Endpoint) {
	if t.count.Load() == 0 {
		return
	}
	flow := e.flow()
	t.mu.Lock()
	gone := t.leaving[flow] == e.ep
	if gone {
		delete(t.leaving, flow)
		t.counted()
	}
	t.mu.Unlock()
	if gone {
		id := arrivalOf(flow).id
		t.s.later.do(func() { t.s.grafts.again(id) })
	}
}

// isLeaving reports whether netstack still has an endpoint of a flow that has come
// to TIME-WAIT.
func (t *timeWaits) isLeaving(f listenq.Flow) bool {
	if t.count.Load() == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leaving[f] != nil
}

// has reports whether a connection is in TIME-WAIT.
func (t *timeWaits) has(f listenq.Flow) bool {
	if t.count.Load() == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byFlow[f] != nil
}

// answer decides about a segment of a connection in TIME-WAIT; false means that
// there is none. Where a new connection may begin it is no more, if there is a
// listener to begin with: iss is then the number to begin with.
func (t *timeWaits) answer(id gstack.TransportEndpointID, seg *listenq.Segment, listens bool) (v twVerdict, iss uint32, ok bool) {
	now := t.s.now()
	rules := t.rules()
	t.mu.Lock()
	w := t.byFlow[seg.Flow]
	if w == nil {
		t.mu.Unlock()
		return twIgnore, 0, false
	}
	finWait2 := w.finWait2
	o := w.segment(now, seg, rules)
	if o.restart {
		w.list.remove(w)
		w.deadline = now + timeWaitLength
		t.push(w)
		t.rearm(now)
	}
	over := o.verdict == twKill || o.verdict == twRST || o.verdict == twSYN && listens
	if over {
		t.remove(w)
	}
	iss = w.initialSequence()
	var options [12]byte
	out := w.ack(now, options[:])
	t.mu.Unlock()
	t.s.count(func(c *ConnCounters) {
		if o.stale {
			c.PAWSTimewait++
		}
		switch {
		case o.skipped && finWait2:
			c.TCPACKSkippedFinWait2++
		case o.skipped:
			c.TCPACKSkippedTimeWait++
		}
	})
	switch {
	case o.verdict == twRST:
		t.s.sendReset(id, seg)
	case o.verdict != twIgnore && !over:
		t.s.send(id, out)
	}
	return o.verdict, iss, true
}

func (t *timeWaits) rules() twRules {
	return twRules{
		rfc1337:   t.s.sysctl(tcpRFC1337) != 0,
		rateLimit: time.Duration(t.s.invalidRatelimit.Load()),
	}
}

// unique reports whether connect(2) may use a flow, and ends TIME-WAIT if it is in
// the way and may (__inet_check_established). The caller holds the bindings' lock,
// and gives freed back.
func (t *timeWaits) unique(f listenq.Flow, chosen bool) (ok bool, freed *Binding) {
	if t.count.Load() == 0 {
		return true, nil
	}
	now := t.s.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.byFlow[f]
	switch {
	case t.leaving[f] != nil:
		return false, nil
	case w == nil:
		return true, nil
	case !w.reusable(now, chosen, t.s.sysctl(tcpTWReuse)):
		return false, nil
	}
	freed, w.binding = w.binding, nil
	t.remove(w)
	t.s.count(func(c *ConnCounters) { c.TWRecycled++ })
	return true, freed
}

// expire ends what has waited long enough.
func (t *timeWaits) expire() {
	now := t.s.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
	for _, l := range []*twList{&t.waits, &t.fins} {
		for w := l.first; w != nil && w.deadline <= now; w = l.first {
			t.remove(w)
		}
	}
	t.rearm(now)
}

// rearm sees to it that the timer fires when the next one is over, or earlier. The
// lock is held.
func (t *timeWaits) rearm(now time.Duration) {
	next := t.waits.first
	if f := t.fins.first; next == nil || f != nil && f.deadline < next.deadline {
		next = f
	}
	if next == nil || t.closed || t.armed && t.due <= next.deadline {
		return
	}
	t.armed, t.due = true, next.deadline
	if t.timer == nil {
		t.timer = t.s.clock.AfterFunc(t.due-now, t.expire)
	} else {
		t.timer.Reset(t.due - now)
	}
}

// push enters a connection into its list. The lock is held.
func (t *timeWaits) push(w *timeWait) {
	if w.finWait2 {
		t.fins.add(w)
	} else {
		t.waits.add(w)
	}
}

// remove forgets a connection. The lock is held.
func (t *timeWaits) remove(w *timeWait) {
	w.list.remove(w)
	delete(t.byFlow, w.flow)
	t.counted()
	if w.binding == nil {
		return
	}
	if len(t.freed) == 0 && !t.closed {
		t.s.clock.AfterFunc(0, t.free)
	}
	t.freed = append(t.freed, w.binding)
}

// free gives bindings back.
func (t *timeWaits) free() {
	t.mu.Lock()
	freed := t.freed
	t.freed = nil
	t.mu.Unlock()
	b := &t.s.bindings
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range freed {
		b.waited(f)
	}
}

func (t *timeWaits) counted() { t.count.Store(int32(len(t.byFlow) + len(t.leaving))) }

func (t *timeWaits) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// TimeWaits returns the number of connections in TIME-WAIT, and in FIN-WAIT-2 if no
// program has them any more ("tw" in /proc/net/sockstat).
func (s *Stack) TimeWaits() int {
	s.timeWaits.mu.Lock()
	defer s.timeWaits.mu.Unlock()
	return len(s.timeWaits.byFlow)
}
