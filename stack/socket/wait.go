//go:build linux

package socket

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A sleeper is a waiter with a token that says that something may have changed.
type sleeper struct {
	entry waiter.Entry
	token chan struct{}
}

// NotifyEvent implements waiter.EventListener.
func (s *sleeper) NotifyEvent(waiter.EventMask) {
	select {
	case s.token <- struct{}{}:
	default:
	}
}

// sleeper returns a sleeper without a token, to give back to ns.sleepers.
func (ns *Namespace) sleeper() *sleeper {
	s, ok := ns.sleepers.Get().(*sleeper)
	if !ok {
		return &sleeper{token: make(chan struct{}, 1)}
	}
	select {
	case <-s.token: // from its last use
	default:
	}
	return s
}

// wait calls try until it fails with something else than EAGAIN, or does not
// fail; between the tries it waits for one of the events. It gives up after the
// timeout, if that is not 0, with EAGAIN, and with EBADF when the file's last
// descriptor is closed.
func (ns *Namespace) wait(f *file, events waiter.EventMask, timeout time.Duration, try func() error) error {
	err := try()
	if err != unix.EAGAIN {
		return err
	}
	var expired chan struct{}
	if timeout > 0 {
		expired = make(chan struct{})
		timer := ns.clock.AfterFunc(timeout, func() { close(expired) })
		defer timer.Stop()
	}
	return ns.waitUntil(f, events, expired, try)
}

// waitUntil is wait until a channel is closed; nil never is.
func (ns *Namespace) waitUntil(f *file, events waiter.EventMask, expired <-chan struct{}, try func() error) error {
	s := ns.sleeper()
	defer ns.sleepers.Put(s)
	s.entry.Init(s, events|waiter.EventErr|waiter.EventHUp|eventRoom)
	f.EventRegister(&s.entry)
	defer f.EventUnregister(&s.entry)
	for {
		// Again after registering: the event may have come in between.
		if err := try(); err != unix.EAGAIN {
			return err
		}
		select {
		case <-s.token:
		case <-expired:
			return unix.EAGAIN
		case <-f.closed:
			return unix.EBADF
		}
	}
}
