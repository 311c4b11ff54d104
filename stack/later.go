package stack

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// laterLimit bounds the work put off at any moment.
const laterLimit = 4096

// later runs work in order, soon, on a goroutine of the clock that holds no
// lock. netstack holds locks while it delivers a packet; what needs those locks
// must wait until it has returned.
type later struct {
	clock tcpip.Clock

	mu        sync.Mutex
	queue     []func()
	scheduled bool // drain will run
	running   bool // drain runs
	closed    bool
	idle      sync.Cond
}

func (w *later) init(clock tcpip.Clock) {
	w.clock = clock
	w.idle.L = &w.mu
}

// do runs f soon; it returns false, and does nothing, if too much is waiting.
func (w *later) do(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.queue) == laterLimit {
		return false
	}
	w.queue = append(w.queue, f)
	if !w.scheduled && !w.running {
		w.scheduled = true
		w.clock.AfterFunc(0, w.drain)
	}
	return true
}

func (w *later) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scheduled = false
	for w.running { // close has come first
		w.idle.Wait()
	}
	w.running = true
	for len(w.queue) > 0 {
		batch := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, f := range batch {
			f()
		}
		w.mu.Lock()
	}
	w.running = false
	w.idle.Broadcast()
}

// close does what is waiting and takes no more.
func (w *later) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.drain()
}
