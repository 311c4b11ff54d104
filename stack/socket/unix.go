//go:build linux

package socket

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
)

// The unix sockets are ours. gVisor's pkg/sentry/socket/unix/transport was weighed:
// it brings 19 more packages with it (signal handling, safe copies, host
// descriptors), and a listen queue of its own, so that package listenq would not
// decide.

// Events of unix sockets, with the bits of poll(2) that Linux sets together.
const (
	unixReadable = waiter.ReadableEvents | unix.EPOLLRDBAND
	unixWritable = waiter.WritableEvents | unix.EPOLLWRBAND
	// everything wakes whoever waits, for whatever (sk_state_change).
	everything = ^waiter.EventMask(0)
)

type unixState int32

const (
	unixUnconnected unixState = iota
	unixListening
	unixConnected
)

// The halves of a connection that are shut down.
const (
	receiveShutdown = 1
	sendShutdown    = 2
	bothShutdown    = receiveShutdown | sendShutdown
)

// A unixSocket is a socket of family AF_UNIX (unix(7)). It follows
// net/unix/af_unix.c of Linux 6.18: a send puts a message straight into the queue
// of its receiver and counts in the buffer of its sender.
//
// # Locks
//
// mu guards what belongs to a queue: the messages of a receiver, the connections
// of a listener. Two are taken only by lockBoth, in the order of the sockets'
// numbers. Below them are the names' lock and that of the wait lists. None is held
// while waiters are notified or files are closed, since that takes locks of other
// sockets. What is atomic is written under mu or stands alone.
type unixSocket struct {
	waiters
	ns     *Namespace
	owner  *Process // whose credentials it shows
	typ    int
	number uint64 // orders locks

	boundName  atomic.Pointer[string]
	state      atomic.Int32
	shut       atomic.Int32
	peerSocket atomic.Pointer[unixSocket]
	peerCred   atomic.Pointer[unix.Ucred]
	pending    atomic.Int32 // the errno of SO_ERROR
	dead       atomic.Bool
	sent       atomic.Int64 // what it has in the queues of receivers
	sendBuffer atomic.Int64
	options    unixOptions
	waitlist   waitlist

	mu        sync.Mutex
	queue     unixQueue
	acceptq   *listenq.Local
	overflow  listenq.LocalOverflow
	somaxconn int // when listen was called
	// embryos are the connections in acceptq.
	embryos map[listenq.ConnID]*unixSocket
}

var _ sock = (*unixSocket)(nil)

var unixNumbers atomic.Uint64

// newUnixSocket makes a socket of a type that was checked.
func newUnixSocket(ns *Namespace, owner *Process, typ int) *unixSocket {
	s := &unixSocket{ns: ns, owner: owner, typ: typ, number: unixNumbers.Add(1)}
	s.sendBuffer.Store(defaultBuffer)
	s.options.receiveBuffer.Store(defaultBuffer)
	return s
}

// unixSocket is socket(2) for AF_UNIX.
func (ns *Namespace) unixSocket(typ, protocol int) (*unixSocket, error) {
	if protocol != 0 && protocol != unix.PF_UNIX {
		return nil, unix.EPROTONOSUPPORT
	}
	switch typ {
	case unix.SOCK_RAW: // Linux takes it for SOCK_DGRAM
		typ = unix.SOCK_DGRAM
	case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
	default:
		return nil, unix.ESOCKTNOSUPPORT
	}
	return newUnixSocket(ns, nil, typ), nil
}

func (s *unixSocket) kind() (domain, typ, protocol int) { return unix.AF_UNIX, s.typ, 0 }

func (s *unixSocket) is(state unixState) bool { return unixState(s.state.Load()) == state }

func (s *unixSocket) shutdownHas(half int32) bool { return s.shut.Load()&half != 0 }

// connects reports whether the type has connections.
func (s *unixSocket) connects() bool { return s.typ != unix.SOCK_DGRAM }

// lockBoth locks two sockets, or one if they are the same or other is nil.
func (s *unixSocket) lockBoth(other *unixSocket) (unlock func()) {
	first, second := s, other
	if other == nil || other == s {
		s.mu.Lock()
		return s.mu.Unlock
	}
	if first.number > second.number {
		first, second = second, first
	}
	first.mu.Lock()
	second.mu.Lock()
	return func() {
		second.mu.Unlock()
		first.mu.Unlock()
	}
}

func (s *unixSocket) bind(addr unix.Sockaddr) error {
	name, err := unixName(addr)
	if err != nil {
		return err
	}
	return s.ns.names.bind(s, name)
}

// boundTo returns the socket's name, "" if it has none.
func (s *unixSocket) boundTo() string {
	if name := s.boundName.Load(); name != nil {
		return *name
	}
	return ""
}

func (s *unixSocket) name() (unix.Sockaddr, error) { return unixAddress(s.boundTo()), nil }

func (s *unixSocket) peer() (unix.Sockaddr, error) {
	peer := s.peerSocket.Load()
	if peer == nil {
		return nil, unix.ENOTCONN
	}
	return unixAddress(peer.boundTo()), nil
}

// fail leaves an error for SO_ERROR and the next call.
func (s *unixSocket) fail(errno unix.Errno) {
	s.pending.Store(int32(errno))
	s.Notify(waiter.EventErr)
}

// takeError returns the pending error and clears it.
func (s *unixSocket) takeError() error {
	if errno := s.pending.Swap(0); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// shutdown ends halves of the connection, which is the other half for the peer
// (unix_shutdown). It works without a connection too.
func (s *unixSocket) shutdown(how int) error {
	half := int32(how + 1)
	s.shut.Or(half)
	s.Notify(everything)
	if peer := s.peerSocket.Load(); peer != nil && s.connects() {
		peer.shut.Or(half&receiveShutdown<<1 | half&sendShutdown>>1)
		peer.Notify(everything)
	}
	return nil
}

func (s *unixSocket) release() { s.close(false) }

// close ends a socket; an embryo is a connection that nobody has accepted
// (unix_release_sock).
func (s *unixSocket) close(embryo bool) {
	s.ns.names.release(s)
	s.mu.Lock()
	s.dead.Store(true)
	s.shut.Store(bothShutdown)
	s.state.Store(int32(unixUnconnected))
	peer := s.peerSocket.Swap(nil)
	unread := s.queue.take()
	var queued []*unixSocket
	if s.acceptq != nil {
		for _, id := range s.acceptq.Close() {
			queued = append(queued, s.embryos[id])
		}
		s.embryos = nil
	}
	s.mu.Unlock()

	if peer != nil && s.connects() {
		peer.mu.Lock()                                      // whoever sees the end sees the error
		if unread.bytes > 0 || unread.count > 1 || embryo { // one empty message does not count
			peer.pending.Store(int32(unix.ECONNRESET))
		}
		peer.shut.Store(bothShutdown)
		peer.mu.Unlock()
		peer.Notify(everything)
	}
	s.ns.waits.wake(s)
	s.ns.waits.leave(s)
	for unread.head != nil {
		unread.pop().free()
	}
	for _, c := range queued {
		c.close(true)
	}
}

// Readiness implements waiter.Waitable as unix_poll and unix_dgram_poll do.
func (s *unixSocket) Readiness(mask waiter.EventMask) waiter.EventMask {
	var ready waiter.EventMask
	shut, state := s.shut.Load(), unixState(s.state.Load())
	if s.pending.Load() != 0 {
		ready |= waiter.EventErr
	}
	if shut == bothShutdown || s.connects() && state == unixUnconnected {
		ready |= waiter.EventHUp
	}
	if shut&receiveShutdown != 0 {
		ready |= waiter.EventRdHUp | waiter.ReadableEvents
	}
	s.mu.Lock()
	if s.queue.count > 0 || len(s.embryos) > 0 {
		ready |= waiter.ReadableEvents
	}
	s.mu.Unlock()
	if mask&unixWritable != 0 && s.writable() && !s.peerFull() {
		ready |= unixWritable
	}
	return ready & (mask | waiter.EventErr | waiter.EventHUp)
}

func (s *unixSocket) receive(m *message, flags int) (int, error) {
	if s.typ == unix.SOCK_STREAM {
		return s.receiveStream(m, flags)
	}
	return s.receiveDatagram(m, flags)
}

func (s *unixSocket) send(m *message, flags int) (int, error) {
	if s.typ == unix.SOCK_STREAM {
		return s.sendStream(m, flags)
	}
	return s.sendDatagram(m, flags)
}

func (s *unixSocket) connect(addr unix.Sockaddr) error {
	if s.connects() {
		return s.connectStream(addr)
	}
	return s.connectDatagram(addr)
}

// ioctl counts the bytes of all messages that connections have queued, but of
// datagrams only the first (unix_inq_len).
func (s *unixSocket) ioctl(request uint) (int, error) {
	switch {
	case request == unix.TIOCOUTQ:
		return int(s.sent.Load()), nil
	case s.is(unixListening):
		return 0, unix.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connects() || s.queue.head == nil {
		return s.queue.bytes, nil
	}
	return len(s.queue.head.data), nil
}
