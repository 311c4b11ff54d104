package memnet

import (
	"sync"
	"time"
)

// A deadline is a time after which waiting is over. The mutex of what it belongs
// to guards it.
type deadline struct {
	passed bool
	timer  *time.Timer
	// set counts calls, so that a timer that was too late to be stopped knows.
	set int
}

// move sets the deadline; the zero time is never. wake is called, with the mutex
// held, once it has passed.
func (d *deadline) move(t time.Time, mu sync.Locker, wake func()) {
	d.stop()
	d.passed = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		wake()
		return
	}
	mine := d.set
	d.timer = time.AfterFunc(wait, func() {
		mu.Lock()
		defer mu.Unlock()
		if d.set == mine {
			d.passed = true
			wake()
		}
	})
}

func (d *deadline) stop() {
	d.set++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
