// Package deadline has deadlines as net.Conn wants them, on any clock.
package deadline

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// A Deadline is a channel that is closed while a point in time has passed. It is
// safe for concurrent use; make one with New.
type Deadline struct {
	mu     sync.Mutex
	timer  tcpip.Timer
	passed chan struct{}
	sets   uint64 // how often the deadline was set
}

// New returns a deadline that never passes.
func New() Deadline { return Deadline{passed: make(chan struct{})} }

// Set moves the deadline; the zero time removes it.
func (d *Deadline) Set(clock tcpip.Clock, t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	select {
	case <-d.passed:
		d.passed = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	left := t.Sub(clock.Now())
	if left <= 0 {
		close(d.passed)
		return
	}
	// A timer that could not be stopped any more must not end a later deadline.
	set := d.sets
	d.timer = clock.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.sets == set {
			close(d.passed)
		}
	})
}

// Passed returns the channel to wait on. A later Set moves the deadline of those
// who wait, too.
func (d *Deadline) Passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}
