package stack

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// A deadline is a channel that is closed while a point in time has passed.
type deadline struct {
	mu     sync.Mutex
	timer  tcpip.Timer
	passed chan struct{}
}

func newDeadline() deadline { return deadline{passed: make(chan struct{})} }

// set moves the deadline; the zero time removes it.
func (d *deadline) set(clock tcpip.Clock, t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
	// A timer that could not be stopped closes its own channel only, and only
	// if that is still the current one.
	passed := d.passed
	d.timer = clock.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.passed == passed {
			select {
			case <-passed:
			default:
				close(passed)
			}
		}
	})
}

// wait returns the channel to wait on.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}
