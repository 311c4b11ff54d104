//go:build linux

package socket

import (
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A fakeSock is one end of a stream that holds room bytes, for tests of what all
// families share.
type fakeSock struct {
	waiter.Queue
	mu      sync.Mutex
	data    []byte
	room    int
	ended   bool
	err     error
	accept1 *fakeSock
	states  []error // of connect, one a call
	freed   int
}

func newFakeProcess(limit int) *Process {
	return &Process{ns: &Namespace{clock: tcpip.NewStdClock()}, limit: limit}
}

// change changes the socket and tells who waits.
func (s *fakeSock) change(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	s.Notify(waiter.AllEvents)
}

func (s *fakeSock) EventRegister(e *waiter.Entry) error {
	s.Queue.EventRegister(e)
	return nil
}

func (s *fakeSock) Readiness(mask waiter.EventMask) (r waiter.EventMask) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		r |= waiter.EventRdHUp | waiter.ReadableEvents
	}
	if s.err != nil {
		r |= waiter.EventErr
	}
	return r & (mask | waiter.EventErr | waiter.EventHUp)
}

func (s *fakeSock) receive(m *message, flags int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.data) > 0:
		n := copy(m.iov[0][m.skip:], s.data)
		if flags&unix.MSG_PEEK == 0 {
			s.data = s.data[n:]
		}
		return n, nil
	case s.err != nil:
		if m.skip > 0 {
			return 0, nil
		}
		err := s.err
		s.err = nil
		return 0, err
	case s.ended:
		return 0, nil
	}
	return 0, unix.EAGAIN
}

func (s *fakeSock) send(m *message, flags int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := m.iov[0][m.skip:]
	n := min(len(b), s.room)
	if n == 0 && len(b) > 0 {
		return 0, unix.EAGAIN
	}
	s.room -= n
	s.data = append(s.data, b[:n]...)
	return n, nil
}

func (s *fakeSock) connect(unix.Sockaddr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.states[0]
	if len(s.states) > 1 {
		s.states = s.states[1:]
	}
	return err
}

func (s *fakeSock) accept() (sock, unix.Sockaddr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accept1 == nil {
		return nil, nil, unix.EAGAIN
	}
	conn := s.accept1
	s.accept1 = nil
	return conn, &unix.SockaddrUnix{Name: "peer"}, nil
}

func (s *fakeSock) release()                               { s.freed++ }
func (s *fakeSock) bind(unix.Sockaddr) error               { return nil }
func (s *fakeSock) listen(int) error                       { return nil }
func (s *fakeSock) shutdown(int) error                     { return nil }
func (s *fakeSock) name() (unix.Sockaddr, error)           { return nil, nil }
func (s *fakeSock) peer() (unix.Sockaddr, error)           { return nil, unix.ENOTCONN }
func (s *fakeSock) kind() (domain, typ, protocol int)      { return unix.AF_UNIX, unix.SOCK_STREAM, 0 }
func (s *fakeSock) option(level, name int) ([]byte, error) { return nil, unix.ENOPROTOOPT }
func (s *fakeSock) setOption(int, int, []byte) error       { return unix.ENOPROTOOPT }
func (s *fakeSock) ioctl(request uint) (int, error)        { return len(s.data), nil }

// A fakeFile is a file that is no socket.
type fakeFile struct{ waiter.NeverReady }

func (*fakeFile) release()                          {}
func (*fakeFile) EventRegister(*waiter.Entry) error { return nil }
