//go:build linux

package socket

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// pollAlways are the events that poll(2) reports whether asked for or not.
const pollAlways = waiter.EventErr | waiter.EventHUp

// Poll is poll(2); timeout is in milliseconds, below 0 for ever. A negative
// descriptor is skipped, one that is none is ready with POLLNVAL, and so is one
// whose last descriptor is closed while the call waits. EINVAL for more entries than
// the process may have descriptors.
func (p *Process) Poll(fds []unix.PollFd, timeout int) (int, error) {
	if len(fds) > p.limit {
		return 0, unix.EINVAL
	}
	polls := make([]poll, len(fds))
	wait := milliseconds(timeout)
	for i, fd := range fds {
		if fd.Fd < 0 {
			continue
		}
		f, err := p.file(int(fd.Fd))
		if err != nil {
			wait = 0 // it is ready with POLLNVAL
		}
		polls[i].file, polls[i].events = f, waiter.EventMask(uint16(fd.Events))
	}
	p.ns.poll(polls, wait)
	n := 0
	for i := range fds {
		fd := &fds[i]
		fd.Revents = 0
		if fd.Fd < 0 {
			continue
		}
		if fd.Revents = int16(polls[i].ready); polls[i].file == nil {
			fd.Revents = unix.POLLNVAL
		}
		if fd.Revents != 0 {
			n++
		}
	}
	return n, nil
}

// milliseconds is the timeout of poll(2) and epoll_wait(2), a C int, below 0 for
// ever.
func milliseconds(n int) time.Duration {
	return max(time.Duration(int32(n))*time.Millisecond, -1)
}

// A poll is the wait for one file among several.
type poll struct {
	// file is nil if there is none; then nothing is ever ready.
	file   *file
	events waiter.EventMask
	ready  waiter.EventMask

	watched *file // from start to stop
	entry   waiter.Entry
	sleeper *sleeper
}

// look asks the file what is ready, and reports whether something is. A file that
// is closed is one no more, which is something too.
func (p *poll) look() bool {
	if p.file == nil {
		return false
	}
	if p.file.refs.Load() == 0 {
		p.file = nil
		return true
	}
	mask := p.events | pollAlways
	p.ready = p.file.Readiness(mask) & mask
	return p.ready != 0
}

// start has the sleeper told when there may be something to look at.
func (p *poll) start(s *sleeper) {
	if p.watched = p.file; p.watched != nil {
		p.sleeper = s
		p.entry.Init(s, p.events|pollAlways)
		p.watched.EventRegister(&p.entry)
		p.watched.watch(p)
	}
}

func (p *poll) stop() {
	if p.watched != nil {
		p.watched.EventUnregister(&p.entry)
		p.watched.unwatch(p)
	}
}

// fileClosed implements closeWatcher.
func (p *poll) fileClosed() { p.sleeper.NotifyEvent(0) }

// poll waits until one of the files is ready, or the timeout is over; below 0 it is
// never.
func (ns *Namespace) poll(polls []poll, timeout time.Duration) {
	if look(polls) || timeout == 0 {
		return
	}
	s := ns.sleeper()
	defer ns.sleepers.Put(s)
	for i := range polls {
		polls[i].start(s)
	}
	defer func() {
		for i := range polls {
			polls[i].stop()
		}
	}()
	var expired chan struct{}
	if timeout > 0 {
		expired = make(chan struct{})
		timer := ns.clock.AfterFunc(timeout, func() { close(expired) })
		defer timer.Stop()
	}
	for !look(polls) {
		select {
		case <-s.token:
		case <-expired:
			return
		}
	}
}

// look looks at all files.
func look(polls []poll) (any bool) {
	for i := range polls {
		if polls[i].look() {
			any = true
		}
	}
	return any
}
