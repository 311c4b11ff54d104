package stack

import (
	"container/heap"
	"fmt"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

const (
	// virtualStart is what a new virtual clock's monotonic reading is. It is
	// not 0 because netstack takes a zero time for "never".
	virtualStart = time.Hour
	// virtualLateness is how long after its deadline a timer sees the clock:
	// netstack asks whether a deadline has strictly passed.
	virtualLateness = 10 * time.Microsecond
	// virtualSlack is how much later than asked for a timer may be due and
	// still fire: reading the clock moves it, so a timer armed "at 0 s, for
	// 1 s" is due a few nanoseconds after 1 s.
	virtualSlack = 100 * time.Microsecond
	// settleRounds is how many times in a row netstack's workers must be found
	// idle with nothing new to do.
	settleRounds = 2
)

// virtualEpoch is the wall clock time at which virtual clocks start.
var virtualEpoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// A VirtualClock is time that stands still unless it is advanced. A stack whose
// Config.Clock it is does nothing by itself: Advance fires the timers that
// become due, in the order of their deadlines, on the caller's goroutine, and
// lets the stack come to rest after each. Equal inputs then give equal packets,
// on any machine and under any load.
//
// One goroutine, the driver, owns a virtual clock; a second one in Advance or
// Settle panics, as does moving backwards. Blocking calls of a stack in virtual
// time block until the driver lets something happen, so the driver itself uses
// those that do not block (TryAccept, TryRead).
//
// Package stacktest builds on it.
type VirtualClock struct {
	driver sync.Mutex

	mu     sync.Mutex
	now    time.Duration // since virtualStart
	serial uint64
	timers timerHeap
	stacks []*Stack
}

var _ tcpip.Clock = (*VirtualClock)(nil)

// NewVirtualClock returns a clock at 2000-01-01 00:00 UTC.
func NewVirtualClock() *VirtualClock { return new(VirtualClock) }

// Now implements tcpip.Clock.
func (c *VirtualClock) Now() time.Time { return virtualEpoch.Add(c.read()) }

// NowMonotonic implements tcpip.Clock.
func (c *VirtualClock) NowMonotonic() tcpip.MonotonicTime {
	return tcpip.MonotonicTime{}.Add(virtualStart + c.read())
}

// read advances the clock by one nanosecond: netstack's loss detection is misled
// by segments that are sent at exactly the same time.
func (c *VirtualClock) read() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	return c.now
}

// Elapsed returns the time since the clock was made, to the microsecond.
func (c *VirtualClock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Truncate(time.Microsecond)
}

// Next returns when the earliest timer is due, since the clock was made; false
// means that no timer is set, and nothing will ever happen by itself.
func (c *VirtualClock) Next() (due time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0].deadline, true
}

// AfterFunc implements tcpip.Clock. f runs on the driver's goroutine.
func (c *VirtualClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	t := &virtualTimer{clock: c, f: f, index: -1}
	t.Reset(d)
	return t
}

// Advance moves the clock by d; see AdvanceTo. It panics if d is negative.
func (c *VirtualClock) Advance(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("stack: virtual clock: Advance(%v): time does not move backwards", d))
	}
	c.AdvanceTo(c.Elapsed() + d)
}

// AdvanceTo moves the clock to a time since it was made, firing on the way what
// is due by then and letting the stacks come to rest after each timer. What the
// stacks do takes a little time even here: up to 100 us count as nothing, and
// only a time that has passed by more makes it panic.
func (c *VirtualClock) AdvanceTo(end time.Duration) {
	if elapsed := c.Elapsed(); end < elapsed-virtualSlack {
		panic(fmt.Sprintf("stack: virtual clock: AdvanceTo(%v) at %v: time does not move backwards", end, elapsed))
	}
	defer c.drive("AdvanceTo")()
	c.settle()
	for c.fire(end + virtualSlack) {
		c.settle()
	}
	c.mu.Lock()
	c.now = max(c.now, end)
	c.mu.Unlock()
}

// Settle lets the stacks finish everything that they can do without time
// passing.
func (c *VirtualClock) Settle() {
	defer c.drive("Settle")()
	c.settle()
}

// drive claims the clock for one call of its driver.
func (c *VirtualClock) drive(call string) (release func()) {
	if !c.driver.TryLock() {
		panic("stack: virtual clock: " + call + ": another goroutine, or a timer, is already driving the clock; only one may")
	}
	return c.driver.Unlock
}

// settle fires what is due now and waits for netstack's workers until both have
// nothing left to do.
func (c *VirtualClock) settle() {
	for {
		c.mu.Lock()
		stacks := c.stacks
		c.mu.Unlock()
		for _, s := range stacks {
			s.quiesce()
		}
		c.mu.Lock()
		now := c.now
		c.mu.Unlock()
		if !c.fire(now) {
			return
		}
	}
}

// fire runs the earliest timer that is due by limit; false means that none is.
func (c *VirtualClock) fire(limit time.Duration) bool {
	c.mu.Lock()
	if len(c.timers) == 0 || c.timers[0].deadline > limit {
		c.mu.Unlock()
		return false
	}
	t := heap.Pop(&c.timers).(*virtualTimer)
	c.now = max(c.now, t.deadline+virtualLateness)
	c.mu.Unlock()
	t.f()
	return true
}

func (c *VirtualClock) attach(s *Stack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stacks = append(c.stacks, s)
}

func (c *VirtualClock) detach(s *Stack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []*Stack
	for _, other := range c.stacks {
		if other != s {
			left = append(left, other)
		}
	}
	c.stacks = left
}

// quiesce waits until netstack's workers have handled all that was queued to
// them. A worker can give another one work, so it looks more than once.
func (s *Stack) quiesce() {
	for idle := 0; idle < settleRounds; {
		before := s.activity.Load()
		s.g.Pause()
		s.g.Resume()
		if s.activity.Load() == before {
			idle++
		} else {
			idle = 0
		}
	}
}

// A virtualTimer is an entry in the clock's heap.
type virtualTimer struct {
	clock    *VirtualClock
	f        func()
	deadline time.Duration
	serial   uint64 // orders equal deadlines: first armed, first fired
	index    int    // in the heap; -1 outside
}

// Stop implements tcpip.Timer.
func (t *virtualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

// Reset implements tcpip.Timer.
func (t *virtualTimer) Reset(d time.Duration) {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&c.timers, t.index)
	}
	c.serial++
	t.deadline, t.serial = c.now+max(d, 0), c.serial
	heap.Push(&c.timers, t)
}

type timerHeap []*virtualTimer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].deadline != h[j].deadline {
		return h[i].deadline < h[j].deadline
	}
	return h[i].serial < h[j].serial
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	t := x.(*virtualTimer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
