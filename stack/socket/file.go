//go:build linux

package socket

import (
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// An object is what a file gives access to: a socket or an epoll instance.
type object interface {
	// Readiness says what is ready now, in the bits of poll(2); POLLERR and
	// POLLHUP count whether asked for or not. It takes locks that may be held
	// during NotifyEvent, so it must not be called from there.
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

	watchMu  sync.Mutex
	watchers []closeWatcher
}

// A closeWatcher is told when the last descriptor of a file is closed, before the
// object is released.
type closeWatcher interface{ fileClosed() }

// watch adds a watcher; false means that the file is closed.
func (f *file) watch(w closeWatcher) bool {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	if f.refs.Load() == 0 {
		return false
	}
	f.watchers = append(f.watchers, w)
	return true
}

func (f *file) unwatch(w closeWatcher) {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	if i := slices.Index(f.watchers, w); i >= 0 {
		f.watchers = slices.Delete(f.watchers, i, i+1)
	}
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

// drop gives up one reference; true says that it was the last.
func (f *file) drop() bool {
	if f.refs.Add(-1) != 0 {
		return false
	}
	close(f.closed)
	f.watchMu.Lock()
	watchers := f.watchers
	f.watchers = nil
	f.watchMu.Unlock()
	for _, w := range watchers {
		w.fileClosed()
	}
	f.release()
	return true
}

// close is drop that waits where SO_LINGER asks for it, as close(2) does and the
// end of a process does not.
func (f *file) close() {
	if f.drop() {
		if t, ok := f.object.(*tcpSocket); ok {
			t.linger()
		}
	}
}
