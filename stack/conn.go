package stack

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack/internal/deadline"
)

// A Conn is a TCP connection of a Stack. It behaves like a *net.TCPConn.
type Conn struct {
	e             *Endpoint
	clock         tcpip.Clock
	ep            *tcp.Endpoint
	wq            *waiter.Queue
	entry         waiter.Entry
	local, remote net.Addr

	// readable and writable hold a token after netstack said so.
	readable, writable chan struct{}
	closeOnce          sync.Once
	closed             chan struct{}

	readMu        sync.Mutex
	readDeadline  deadline.Deadline
	writeMu       sync.Mutex
	writeDeadline deadline.Deadline
	payload       bytes.Reader // of the Write under way
}

var _ net.Conn = (*Conn)(nil)

// Conn returns the connection of an endpoint as a net.Conn, which takes the
// endpoint over: a *Conn, or something like it for a connection that was lost.
func (e *Endpoint) Conn() net.Conn {
	local, remote := net.TCPAddrFromAddrPort(e.local), net.TCPAddrFromAddrPort(e.remote)
	if e.ep == nil {
		return lostConn{local: local, remote: remote}
	}
	c := &Conn{
		e:             e,
		clock:         e.s.clock,
		ep:            e.ep,
		wq:            e.wq,
		local:         local,
		remote:        remote,
		readable:      make(chan struct{}, 1),
		writable:      make(chan struct{}, 1),
		closed:        make(chan struct{}),
		readDeadline:  deadline.New(),
		writeDeadline: deadline.New(),
	}
	c.entry.Init(c, waiter.ReadableEvents|waiter.WritableEvents|waiter.EventHUp|waiter.EventErr)
	c.wq.EventRegister(&c.entry)
	return c
}

// Endpoint takes the connection away from the Conn, for another interface: every
// further call on the Conn fails with net.ErrClosed, as does Endpoint itself.
func (c *Conn) Endpoint() (*Endpoint, error) {
	if !c.end() {
		return nil, c.opError("file", net.ErrClosed)
	}
	return c.e, nil
}

// end makes all calls fail from now on; false means that they do already.
func (c *Conn) end() bool {
	first := false
	c.closeOnce.Do(func() {
		first = true
		close(c.closed)
		c.readDeadline.Set(c.clock, time.Time{})
		c.writeDeadline.Set(c.clock, time.Time{})
		c.wq.EventUnregister(&c.entry)
	})
	return first
}

// NotifyEvent implements waiter.EventListener; netstack calls it.
func (c *Conn) NotifyEvent(mask waiter.EventMask) {
	if mask&(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr) != 0 {
		signal(c.readable)
	}
	if mask&(waiter.WritableEvents|waiter.EventHUp|waiter.EventErr) != 0 {
		signal(c.writable)
	}
}

// signal leaves a token in a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await waits for a token; it fails when the deadline passes or the connection
// is closed.
func (c *Conn) await(op string, token <-chan struct{}, d *deadline.Deadline) error {
	select {
	case <-token:
		return nil
	case <-d.Passed():
		return c.opError(op, os.ErrDeadlineExceeded)
	case <-c.closed:
		return c.opError(op, net.ErrClosed)
	}
}

// check fails if the connection is closed or the deadline has passed.
func (c *Conn) check(op string, d *deadline.Deadline) error {
	select {
	case <-c.closed:
		return c.opError(op, net.ErrClosed)
	default:
	}
	select {
	case <-d.Passed():
		return c.opError(op, os.ErrDeadlineExceeded)
	default:
		return nil
	}
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(b) == 0 {
		return 0, c.check("read", &c.readDeadline)
	}
	w := tcpip.SliceWriter(b)
	return c.readTo(&w)
}

// TryRead is Read that never waits (recv(2) with MSG_DONTWAIT): if nothing has
// arrived, its error carries EAGAIN.
func (c *Conn) TryRead(b []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if err := c.check("read", &c.readDeadline); err != nil {
		return 0, err
	}
	w := tcpip.SliceWriter(b)
	n, err := c.e.Read(&w, tcpip.ReadOptions{})
	if err != nil {
		return 0, c.streamError("read", err)
	}
	return n, nil
}

// readTo reads once, as soon as there is something.
func (c *Conn) readTo(w io.Writer) (int, error) {
	if err := c.check("read", &c.readDeadline); err != nil {
		return 0, err
	}
	for {
		n, err := c.e.Read(w, tcpip.ReadOptions{})
		switch err.(type) {
		case nil:
			return n, nil
		case *tcpip.ErrWouldBlock:
			if err := c.await("read", c.readable, &c.readDeadline); err != nil {
				return 0, err
			}
		default:
			return 0, c.streamError("read", err)
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.payload.Reset(b)
	defer c.payload.Reset(nil)
	n, err := c.writeAll(&c.payload)
	return int(n), err
}

// writeAll writes until nothing is left. The caller holds writeMu.
func (c *Conn) writeAll(p tcpip.Payloader) (total int64, err error) {
	if err := c.check("write", &c.writeDeadline); err != nil {
		return 0, err
	}
	for p.Len() > 0 {
		n, err := c.ep.Write(p, tcpip.WriteOptions{})
		total += n
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			if err := c.await("write", c.writable, &c.writeDeadline); err != nil {
				return total, err
			}
		default:
			return total, c.streamError("write", err)
		}
	}
	return total, nil
}

// Close implements net.Conn: it sends what is still queued and a FIN, in the
// background. Data that was received and not read turns the FIN into RST, as on
// Linux.
func (c *Conn) Close() error {
	if !c.end() {
		return c.opError("close", net.ErrClosed)
	}
	c.e.Close()
	return nil
}

// CloseRead shuts down the reading side (shutdown(2), SHUT_RD).
func (c *Conn) CloseRead() error { return c.shutdown(tcpip.ShutdownRead) }

// CloseWrite sends a FIN behind what is queued (shutdown(2), SHUT_WR); reading
// goes on.
func (c *Conn) CloseWrite() error {
	return c.shutdown(tcpip.ShutdownWrite)
}

func (c *Conn) shutdown(how tcpip.ShutdownFlags) error {
	select {
	case <-c.closed:
		return c.opError("close", net.ErrClosed)
	default:
	}
	if err := c.e.Shutdown(how); err != nil {
		return c.opError("close", os.NewSyscallError("shutdown", err))
	}
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeDeadline, t) }

func (c *Conn) setDeadline(d *deadline.Deadline, t time.Time) error {
	select {
	case <-c.closed:
		return c.opError("set", net.ErrClosed)
	default:
	}
	d.Set(c.clock, t)
	return nil
}

// A lostConn is a connection that could not be handed to netstack. It behaves
// like one that the client has reset.
type lostConn struct {
	local, remote net.Addr
}

func (c lostConn) reset(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: os.NewSyscallError(op, syscall.ECONNRESET)}
}

func (c lostConn) Read([]byte) (int, error)         { return 0, c.reset("read") }
func (c lostConn) Write([]byte) (int, error)        { return 0, c.reset("write") }
func (c lostConn) Close() error                     { return nil }
func (c lostConn) LocalAddr() net.Addr              { return c.local }
func (c lostConn) RemoteAddr() net.Addr             { return c.remote }
func (c lostConn) SetDeadline(time.Time) error      { return nil }
func (c lostConn) SetReadDeadline(time.Time) error  { return nil }
func (c lostConn) SetWriteDeadline(time.Time) error { return nil }
