package stack

import (
	"net"
	"os"
	"syscall"
)

// Shutdown is shutdown(2) with SHUT_RD. Like Close it resets the connections that
// nobody has accepted, and segments for the port are answered by RST; but the
// socket keeps its port, half-open requests stay until their timer fires or a
// segment arrives for them, and Listen brings it back. Accept fails with EINVAL
// meanwhile.
func (l *Listener) Shutdown() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return l.opError("close", net.ErrClosed)
	}
	l.shut.Store(true)
	l.binding.listen(false)
	queued := l.closeQueue()
	l.mu.Unlock()

	l.resetQueued(queued)
	l.notify() // an Accept that waits
	return nil
}

// errShut is what accept(2) reports for a socket that does not listen.
func (l *Listener) errShut() error {
	signal(l.wake) // for another Accept
	return l.opError("accept", os.NewSyscallError("accept", syscall.EINVAL))
}
