//go:build linux

package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack/internal/deadline"
)

// goSocket is a socket behind the interfaces of package net, with that package's
// deadlines and errors.
type goSocket struct {
	ns      *Namespace
	f       *file
	s       sock
	network string
	local   net.Addr
	remote  net.Addr // nil if it is not connected
	closed  atomic.Bool

	readMu, writeMu             sync.Mutex // as in package net, calls of a kind take turns
	readDeadline, writeDeadline deadline.Deadline
}

// init takes a new socket over, whose addresses are known by now.
func (g *goSocket) init(ns *Namespace, s sock, network string) {
	f := newFile(s, true)
	f.refs.Store(1)
	g.initFile(ns, f, network)
}

// initFile takes over a reference to a file.
func (g *goSocket) initFile(ns *Namespace, f *file, network string) {
	s, _ := f.sock()
	g.ns, g.f, g.s, g.network = ns, f, s, network
	g.readDeadline, g.writeDeadline = deadline.New(), deadline.New()
	if a, err := s.name(); err == nil {
		g.local = addrOf(network, a)
	}
	if a, err := s.peer(); err == nil {
		g.remote = addrOf(network, a)
	}
}

// opError wraps an error of a call the way package net does.
func (g *goSocket) opError(op, call string, addr net.Addr, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: g.network, Source: g.local, Addr: addr, Err: g.cause(call, err)}
}

// cause is what a call failed with, as package net has it.
func (g *goSocket) cause(call string, err error) error {
	if g.closed.Load() {
		return net.ErrClosed
	}
	if errno, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError(call, errno)
	}
	return err
}

// await calls try until it has something else to say than EAGAIN, the deadline
// passes or the socket is closed.
func (g *goSocket) await(d *deadline.Deadline, events waiter.EventMask, try func() error) error {
	passed := d.Passed()
	select {
	case <-passed:
		return os.ErrDeadlineExceeded
	default:
	}
	if g.closed.Load() {
		return net.ErrClosed
	}
	err := try()
	if err != unix.EAGAIN {
		return err
	}
	if err = g.ns.waitUntil(g.f, events, passed, try); err == unix.EAGAIN {
		return os.ErrDeadlineExceeded
	}
	return err
}

// receive is one recvmsg(2) of one buffer.
func (g *goSocket) receive(m *message) (n int, err error) {
	g.readMu.Lock()
	defer g.readMu.Unlock()
	err = g.await(&g.readDeadline, waiter.ReadableEvents|waiter.EventRdHUp, func() error {
		n, err = g.s.receive(m, 0)
		return err
	})
	return n, err
}

// send is one sendmsg(2), or several if a stream takes the data in parts.
func (g *goSocket) send(m *message) (int, error) {
	g.writeMu.Lock()
	defer g.writeMu.Unlock()
	total := 0
	err := g.await(&g.writeDeadline, waiter.WritableEvents, func() error {
		for {
			n, err := g.s.send(m, unix.MSG_NOSIGNAL)
			if err != nil {
				return err
			}
			m.skip += n
			total += n
			if n == 0 || m.len() <= 0 {
				return nil
			}
		}
	})
	return total, err
}

// Close implements net.Conn, net.PacketConn and net.Listener. Calls that wait fail
// with net.ErrClosed, as do later ones.
func (g *goSocket) Close() error {
	if g.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: g.network, Source: g.local, Addr: g.remote, Err: net.ErrClosed}
	}
	g.readDeadline.Set(g.ns.clock, time.Time{})
	g.writeDeadline.Set(g.ns.clock, time.Time{})
	g.f.drop()
	return nil
}

// LocalAddr implements net.Conn and net.PacketConn.
func (g *goSocket) LocalAddr() net.Addr { return g.local }

// SetDeadline implements net.Conn and net.PacketConn; it sets both deadlines.
func (g *goSocket) SetDeadline(t time.Time) error {
	if err := g.SetReadDeadline(t); err != nil {
		return err
	}
	return g.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn and net.PacketConn. A deadline can be moved
// while a call waits; once it has passed, calls fail with os.ErrDeadlineExceeded
// until it is moved. It follows the stack's clock.
func (g *goSocket) SetReadDeadline(t time.Time) error { return g.setDeadline(&g.readDeadline, t) }

// SetWriteDeadline implements net.Conn and net.PacketConn; see SetReadDeadline.
func (g *goSocket) SetWriteDeadline(t time.Time) error { return g.setDeadline(&g.writeDeadline, t) }

func (g *goSocket) setDeadline(d *deadline.Deadline, t time.Time) error {
	if g.closed.Load() {
		return &net.OpError{Op: "set", Net: g.network, Addr: g.local, Err: net.ErrClosed}
	}
	d.Set(g.ns.clock, t)
	return nil
}

// SetReadBuffer sets SO_RCVBUF; the kernel's rules make of it what they do of the
// option.
func (g *goSocket) SetReadBuffer(bytes int) error { return g.setInt(unix.SO_RCVBUF, bytes) }

// SetWriteBuffer sets SO_SNDBUF.
func (g *goSocket) SetWriteBuffer(bytes int) error { return g.setInt(unix.SO_SNDBUF, bytes) }

func (g *goSocket) setInt(name, value int) error {
	if g.closed.Load() {
		return &net.OpError{Op: "set", Net: g.network, Addr: g.local, Err: net.ErrClosed}
	}
	if err := g.s.setOption(unix.SOL_SOCKET, name, intOption(value)); err != nil {
		return &net.OpError{Op: "set", Net: g.network, Addr: g.local, Err: os.NewSyscallError("setsockopt", err)}
	}
	return nil
}

// SyscallConn implements syscall.Conn and always fails: there is no descriptor of
// the host's kernel behind the socket. Process.Import gives it one of ours.
func (g *goSocket) SyscallConn() (syscall.RawConn, error) {
	return nil, &net.OpError{Op: "raw-control", Net: g.network, Source: g.local, Addr: g.remote, Err: syscall.EOPNOTSUPP}
}

// A Conn is a connection of a unix socket. It behaves like a *net.UnixConn of the
// network "unix" or "unixpacket".
type Conn struct{ goSocket }

var _ net.Conn = (*Conn)(nil)

func newConn(ns *Namespace, s sock, network string) *Conn {
	c := new(Conn)
	c.init(ns, s, network)
	return c
}

// Read implements net.Conn. On a "unixpacket" connection it reads one packet; what
// does not fit into b is lost.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	m := newMessage(b)
	defer m.free()
	n, err := c.receive(m)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, c.opError("read", "read", c.remote, err)
}

// Write implements net.Conn. On a "unixpacket" connection it writes one packet.
func (c *Conn) Write(b []byte) (int, error) {
	m := newMessage(b)
	defer m.free()
	n, err := c.send(m)
	return n, c.opError("write", "write", c.remote, err)
}

// CloseRead shuts down the reading side (shutdown(2), SHUT_RD).
func (c *Conn) CloseRead() error { return c.shutdown(unix.SHUT_RD) }

// CloseWrite shuts down the writing side (shutdown(2), SHUT_WR): the peer reads
// what is on its way and then io.EOF.
func (c *Conn) CloseWrite() error { return c.shutdown(unix.SHUT_WR) }

func (c *Conn) shutdown(how int) error {
	if c.closed.Load() {
		return c.opError("close", "", c.remote, net.ErrClosed)
	}
	return c.opError("close", "shutdown", c.remote, c.s.shutdown(how))
}

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }
