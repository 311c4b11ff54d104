//go:build linux

package socket

import (
	"math/bits"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// What makes a descriptor ready for each set of select(2).
const (
	selectRead   = waiter.ReadableEvents | unix.EPOLLRDBAND | waiter.EventHUp | waiter.EventErr
	selectWrite  = waiter.WritableEvents | unix.EPOLLWRBAND | waiter.EventErr
	selectExcept = waiter.EventPri
)

// Select is select(2) for descriptors below nfd; sets may be nil. It leaves in the
// sets what is ready, in timeout what is left of it, and returns how many bits are
// set. A nil timeout is for ever.
//
// Errors: EINVAL for nfd below 0 or above FD_SETSIZE and for a negative timeout,
// EBADF for a descriptor that is none, also if its last one is closed while the
// call waits. The sets are then as they were.
func (p *Process) Select(nfd int, r, w, e *unix.FdSet, timeout *unix.Timeval) (int, error) {
	wait := time.Duration(-1)
	if timeout != nil {
		if timeout.Sec < 0 || timeout.Usec < 0 {
			return 0, unix.EINVAL
		}
		wait = time.Duration(min(timeout.Nano(), int64(maxTimeout)))
	}
	if nfd < 0 || nfd > unix.FD_SETSIZE {
		return 0, unix.EINVAL
	}
	sets := [3]*unix.FdSet{r, w, e}
	var fds []int
	var polls []poll
	for fd := range nfd {
		var events waiter.EventMask
		for i, mask := range [3]waiter.EventMask{selectRead, selectWrite, selectExcept} {
			if sets[i] != nil && sets[i].IsSet(fd) {
				events |= mask
			}
		}
		if events == 0 {
			continue
		}
		f, err := p.file(fd)
		if err != nil {
			return 0, err
		}
		fds = append(fds, fd)
		polls = append(polls, poll{file: f, events: events})
	}
	start := p.ns.clock.NowMonotonic()
	p.ns.poll(polls, wait)
	if timeout != nil {
		*timeout = unix.NsecToTimeval(int64(max(wait-p.ns.clock.NowMonotonic().Sub(start), 0)))
	}
	for _, poll := range polls {
		if poll.file == nil {
			return 0, unix.EBADF
		}
	}
	n := 0
	for i, mask := range [3]waiter.EventMask{selectRead, selectWrite, selectExcept} {
		if sets[i] == nil {
			continue
		}
		var ready unix.FdSet
		for j, fd := range fds {
			if sets[i].IsSet(fd) && polls[j].ready&mask != 0 {
				ready.Set(fd)
			}
		}
		for _, word := range ready.Bits {
			n += bits.OnesCount64(uint64(word))
		}
		*sets[i] = ready
	}
	return n, nil
}
