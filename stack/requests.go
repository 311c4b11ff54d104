package stack

import (
	"slices"

	"github.com/ulisten/ulisten/listenq"
)

// Requests returns the half-open connections of the listener: those with the
// fewest timeouts first and of these the oldest first.
func (l *Listener) Requests() []listenq.Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(l.q.Requests())
}

// Requests returns the half-open connections of all listeners, and those that
// listeners have left behind which were closed meanwhile, in no particular order.
func (s *Stack) Requests() []listenq.Flow {
	flows := s.lingering.requests()
	for _, l := range s.Listeners() {
		flows = append(flows, l.Requests()...)
	}
	return flows
}
