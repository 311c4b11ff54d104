//go:build linux

package socket

import (
	"container/list"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/waiter"
)

// eventRoom tells a call that waits that there is room in the queue of another
// socket. poll(2) does not show it.
const eventRoom = waiter.EventInternal

// A waitlist is who waits for room in the queue of a socket, and for whom the
// socket itself waits.
type waitlist struct {
	count   atomic.Int32 // of waiting
	waiting list.List    // of *unixWait, in the order to wake them
	targets map[*unixSocket]*list.Element
}

type unixWait struct {
	socket *unixSocket
	events waiter.EventMask
}

// unixWaits are the wait lists of a namespace, under one lock: they are in use
// only while some queue is full. What they hold is bounded by the sockets there
// are, since closing one takes it out.
type unixWaits struct{ mu sync.Mutex }

// wait has s notified of the events when target has room or is closed. The caller
// holds target's lock and has seen that it is full.
func (w *unixWaits) wait(s, target *unixSocket, events waiter.EventMask) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.dead.Load() {
		return
	}
	e := s.waitlist.targets[target]
	if e == nil {
		if s.waitlist.targets == nil {
			s.waitlist.targets = map[*unixSocket]*list.Element{}
		}
		e = target.waitlist.waiting.PushBack(&unixWait{socket: s})
		s.waitlist.targets[target] = e
		target.waitlist.count.Add(1)
	}
	wait := e.Value.(*unixWait)
	if events&^wait.events&unixWritable != 0 { // Linux wakes those who poll first, the last of them foremost
		target.waitlist.waiting.MoveToFront(e)
	}
	wait.events |= events
}

// wake notifies all who wait for s, and forgets them.
func (w *unixWaits) wake(s *unixSocket) {
	if s.waitlist.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	var woken []*unixWait
	for e := s.waitlist.waiting.Front(); e != nil; e = e.Next() {
		wait := e.Value.(*unixWait)
		delete(wait.socket.waitlist.targets, s)
		woken = append(woken, wait)
	}
	s.waitlist.waiting.Init()
	s.waitlist.count.Store(0)
	w.mu.Unlock()
	for _, wait := range woken {
		wait.socket.Notify(wait.events)
	}
}

// leave takes a socket that is closed off all lists.
func (w *unixWaits) leave(s *unixSocket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for target, e := range s.waitlist.targets {
		target.waitlist.waiting.Remove(e)
		target.waitlist.count.Add(-1)
	}
	s.waitlist.targets = nil
}
