package stack

import (
	"syscall"

	"gvisor.dev/gvisor/pkg/waiter"
)

var _ waiter.Waitable = (*Listener)(nil)

// AcceptEndpoint is TryAccept for those who build another interface on the stack.
// Its errors are bare: EAGAIN if no connection is ready, EINVAL if the listener
// was shut down or closed, ECONNABORTED as with Accept.
func (l *Listener) AcceptEndpoint() (*Endpoint, error) {
	select {
	case <-l.done:
		return nil, syscall.EINVAL
	default:
	}
	if l.shut.Load() {
		return nil, syscall.EINVAL
	}
	l.collect()
	switch e, state := l.take(); state {
	case frontReady:
		return e, nil
	case frontAborted:
		return nil, syscall.ECONNABORTED
	}
	return nil, syscall.EAGAIN
}

// Readiness implements waiter.Waitable: a listener is readable while a connection
// can be accepted.
func (l *Listener) Readiness(mask waiter.EventMask) waiter.EventMask {
	l.collect()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promoted.mu.Lock()
	defer l.promoted.mu.Unlock()
	if _, state := l.front(); state != frontReady && state != frontDead {
		return 0
	}
	return mask & waiter.ReadableEvents
}

// EventRegister implements waiter.Waitable.
func (l *Listener) EventRegister(e *waiter.Entry) error {
	l.events.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (l *Listener) EventUnregister(e *waiter.Entry) { l.events.EventUnregister(e) }
