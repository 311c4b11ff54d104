//go:build linux

package socket

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// An object is what a file gives access to: a socket or an epoll instance.
type object interface {
	// Readiness says what is ready now, in the bits of poll(2); POLLERR and
	// POLLHUP count whether asked for or not.
	waiter.Waitable
	// release is called once, when the last descriptor is gone.
	release()
}

// A sock is a socket of one family and type. Its calls never wait: where the
// kernel would, they fail with EAGAIN, and connect with EINPROGRESS. Errors are
// syscall.Errno. The checks that do not depend on the family are made before.
type sock interface {
	object

	bind(addr unix.Sockaddr) error
	connect(addr unix.Sockaddr) error
	listen(backlog int) error
	accept() (sock, unix.Sockaddr, error)
	shutdown(how int) error
	name() (unix.Sockaddr, error)
	peer() (unix.Sockaddr, error)

	// receive fills m and returns how many bytes it took, or with MSG_TRUNC
	// how many there were; 0 is the end of a stream.
	receive(m *message, flags int) (int, error)
	// send takes what it can of m and returns how many bytes that were.
	send(m *message, flags int) (int, error)

	// kind returns SO_DOMAIN, SO_TYPE and SO_PROTOCOL.
	kind() (domain, typ, protocol int)
	// option and setOption are getsockopt(2) and setsockopt(2) for what the
	// family knows; option returns the value's bytes.
	option(level, name int) ([]byte, error)
	setOption(level, name int, value []byte) error
	// ioctl answers FIONREAD and SIOCOUTQ.
	ioctl(request uint) (int, error)
}

// A file is an open file description (open(2)): what the descriptors share that
// dup made of each other.
type file struct {
	object
	nonblock atomic.Bool
	refs     atomic.Int32
	// closed is closed with the last descriptor.
	closed chan struct{}
	// receiveTimeout and sendTimeout are SO_RCVTIMEO and SO_SNDTIMEO in
	// nanoseconds, 0 for ever.
	receiveTimeout, sendTimeout atomic.Int64
}

func newFile(o object, nonblock bool) *file {
	f := &file{object: o, closed: make(chan struct{})}
	f.nonblock.Store(nonblock)
	return f
}

// sock returns the socket behind the file, or ENOTSOCK.
func (f *file) sock() (sock, error) {
	s, ok := f.object.(sock)
	if !ok {
		return nil, unix.ENOTSOCK
	}
	return s, nil
}

// hold takes a reference, unless the last one is gone.
func (f *file) hold() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// drop gives up one reference.
func (f *file) drop() {
	if f.refs.Add(-1) == 0 {
		close(f.closed)
		f.release()
	}
}
