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

// timeWaits are the connections in TIME-WAIT. As in the kernel a connection gives
// its socket up when it gets there (tcp_time_wait): netstack, told to wait for no
// time, ends its endpoint at once, and what is left is a timeWait.
type timeWaits struct {
	s *Stack
	// count is what byFlow and leaving hold, readable without the lock.
	count atomic.Int32

	mu     sync.Mutex
	byFlow map[listenq.Flow]*timeWait
	// leaving are endpoints that netstack has not ended yet, for as long as a
	// timer of 0 takes.
	leaving        map[listenq.Flow]*tcp.Endpoint
	oldest, newest *timeWait // by deadline
	timer          tcpip.Timer
	due            time.Duration // when it fires, if armed
	armed, closed  bool
}

func (t *timeWaits) init(s *Stack) {
	t.s = s
	t.byFlow = make(map[listenq.Flow]*timeWait)
	t.leaving = make(map[listenq.Flow]*tcp.Endpoint)
}

// enter takes a connection over from netstack. The caller holds the endpoint's
// lock.
func (t *timeWaits) enter(e *Endpoint) {
	now := t.s.now()
	w := &timeWait{flow: e.flow(), tsOffset: tsOffsetOf(e.ep), entered: now, deadline: now + timeWaitLength}
	w.take(guardOf(e.ep))
	b := e.binding.Load()
	if b != nil {
		b.waits(+1)
	}

	t.mu.Lock()
	t.leaving[w.flow] = e.ep
	room := !t.closed && len(t.byFlow) < t.s.sysctl(tcpMaxTWBuckets)
	if room {
		w.binding = b
		t.byFlow[w.flow] = w
		t.push(w)
		t.rearm(now)
	}
	t.counted()
	t.mu.Unlock()
	if room {
		t.s.count(func(c *ConnCounters) { c.TW++ })
		return
	}
	t.s.count(func(c *ConnCounters) { c.TCPTimeWaitOverflow++ })
	if b != nil {
		b.waits(-1)
	}
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
	o := w.segment(now, seg, rules)
	if o.restart {
		t.unlink(w)
		w.deadline = now + timeWaitLength
		t.push(w)
	}
	over := o.verdict == twKill || o.verdict == twSYN && listens
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
		if o.skipped {
			c.TCPACKSkippedTimeWait++
		}
	})
	switch {
	case over:
		w.release()
	case o.verdict != twIgnore:
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
	t.remove(w)
	t.s.count(func(c *ConnCounters) { c.TWRecycled++ })
	return true, w.binding
}

// expire ends what has waited long enough.
func (t *timeWaits) expire() {
	now := t.s.now()
	var over []*timeWait
	t.mu.Lock()
	t.armed = false
	for w := t.oldest; w != nil && w.deadline <= now; w = t.oldest {
		t.remove(w)
		over = append(over, w)
	}
	t.rearm(now)
	t.mu.Unlock()
	for _, w := range over {
		w.release()
	}
}

// rearm sees to it that the timer fires when the oldest is over, or earlier. The
// lock is held.
func (t *timeWaits) rearm(now time.Duration) {
	if t.oldest == nil || t.closed || t.armed && t.due <= t.oldest.deadline {
		return
	}
	t.armed, t.due = true, t.oldest.deadline
	if t.timer == nil {
		t.timer = t.s.clock.AfterFunc(t.due-now, t.expire)
	} else {
		t.timer.Reset(t.due - now)
	}
}

// push appends to the list; all wait equally long. The lock is held.
func (t *timeWaits) push(w *timeWait) {
	w.older, w.newer = t.newest, nil
	if t.newest != nil {
		t.newest.newer = w
	} else {
		t.oldest = w
	}
	t.newest = w
}

// unlink takes a connection out of the list. The lock is held.
func (t *timeWaits) unlink(w *timeWait) {
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		t.oldest = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		t.newest = w.older
	}
	w.older, w.newer = nil, nil
}

// remove forgets a connection. The lock is held.
func (t *timeWaits) remove(w *timeWait) {
	t.unlink(w)
	delete(t.byFlow, w.flow)
	t.counted()
}

func (t *timeWaits) counted() { t.count.Store(int32(len(t.byFlow) + len(t.leaving))) }

// release gives the port back.
func (w *timeWait) release() {
	if w.binding != nil {
		w.binding.waits(-1)
	}
}

func (t *timeWaits) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// TimeWaits returns the number of connections in TIME-WAIT ("tw" in
// /proc/net/sockstat).
func (s *Stack) TimeWaits() int {
	s.timeWaits.mu.Lock()
	defer s.timeWaits.mu.Unlock()
	return len(s.timeWaits.byFlow)
}
