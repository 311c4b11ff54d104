package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// defaultBuffer is the size of a socket's send and of its receive buffer.
const defaultBuffer = 64 << 10

// mostBuffer bounds what SetReadBuffer and SetWriteBuffer take.
const mostBuffer = 64 << 20

// A Conn is one end of a connection. It implements net.Conn as *net.TCPConn does,
// and is safe for concurrent use.
type Conn struct {
	k        *link
	peer     *Conn
	isClient bool

	// The link's mutex guards what follows.
	readable, writable sync.Cond
	rx                 buffer // what the peer has sent
	arrived            int    // how much of it is here
	owed               int    // bytes read of which the peer does not know yet
	readBuffer         int
	writeBuffer        int
	readDeadline       deadline
	writeDeadline      deadline
	writing            bool // a Write waits for room or has the socket
	linger             int
	eof                bool // the peer's FIN is here
	noRead             bool // CloseRead
	noWrite            bool // our FIN is sent
	dead               bool // reset
	failure            error
	closed             bool
}

var _ net.Conn = (*Conn)(nil)

func (c *Conn) init() {
	c.readable.L, c.writable.L = &c.k.mu, &c.k.mu
	c.readBuffer, c.writeBuffer, c.linger = defaultBuffer, defaultBuffer, -1
}

// Read reads what the peer has sent. It returns io.EOF after the peer's FIN, and
// ECONNRESET once for a RST, after what arrived before.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if n > 0 {
		c.credit(n)
	}
	return n, err
}

func (c *Conn) read(b []byte) (int, error) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.opError("read", net.ErrClosed)
		case len(b) == 0:
			return 0, nil
		case c.readDeadline.passed:
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		case c.arrived > 0:
			n := c.rx.read(b[:min(len(b), c.arrived)])
			c.arrived -= n
			c.owed += n
			return n, nil
		case c.failure != nil:
			return 0, c.opError("read", system("read", c.takeFailure()))
		case c.noRead || c.dead || c.eof && c.rx.len() == 0:
			return 0, io.EOF
		}
		c.readable.Wait()
	}
}

// credit lets the peer know that there is room again.
func (c *Conn) credit(n int) {
	k := c.k
	know := func(time.Duration) {
		k.mu.Lock()
		c.owed -= n
		c.peer.writable.Broadcast()
		k.mu.Unlock()
	}
	if k.n.cfg.Latency == 0 {
		know(0)
		return
	}
	now := k.n.enter()
	k.later(now, know)
	k.n.leave()
}

// room is how much the peer may send. What it has sent and cannot keep stays in
// its own buffer; here, both are one.
func (c *Conn) room() int {
	return c.readBuffer + c.peer.writeBuffer - c.rx.len() - c.owed
}

// Write sends data. It waits while the peer does not read and both buffers are
// full. After a RST it returns ECONNRESET once, and EPIPE from then on; what is
// written to a peer that has closed its socket is lost and draws the RST.
func (c *Conn) Write(b []byte) (int, error) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for c.writing && !c.cannotWrite() {
		c.writable.Wait()
	}
	if c.cannotWrite() {
		return 0, c.writeError()
	}
	c.writing = true // one Write at a time, so that their data does not mix
	defer func() {
		c.writing = false
		c.writable.Broadcast()
	}()
	sent := 0
	for sent < len(b) {
		if c.cannotWrite() {
			return sent, c.writeError()
		}
		n := c.peer.keep(b[sent:])
		if n == 0 {
			c.writable.Wait()
			continue
		}
		sent += n
		c.push(n)
	}
	return sent, nil
}

func (c *Conn) cannotWrite() bool {
	return c.closed || c.writeDeadline.passed || c.failure != nil || c.dead || c.noWrite
}

func (c *Conn) writeError() error {
	switch {
	case c.closed:
		return c.opError("write", net.ErrClosed)
	case c.writeDeadline.passed:
		return c.opError("write", os.ErrDeadlineExceeded)
	case c.failure != nil:
		return c.opError("write", system("write", c.takeFailure()))
	}
	return c.opError("write", system("write", broken))
}

// takeFailure returns the pending error, which a socket reports once.
func (c *Conn) takeFailure() error {
	err := c.failure
	c.failure = nil
	return err
}

// keep stores what the peer sends, as far as there is room. The peer of a closed
// end does not know; its room shrinks until the RST.
func (c *Conn) keep(b []byte) int {
	n := max(0, min(c.room(), len(b)))
	if c.closed {
		c.owed += n
	} else {
		c.rx.write(b[:n])
	}
	return n
}

// push puts data on the cable that the peer has room for.
func (c *Conn) push(n int) {
	k := c.k
	direct := k.open || !c.isClient
	if !direct {
		k.sent += n
	} else if k.n.cfg.Latency == 0 {
		c.peer.arrive(n)
		return
	}
	k.mu.Unlock()
	now := k.n.enter()
	if direct {
		k.later(now, func(now time.Duration) { k.arrive(now, c.peer, n) })
	} else {
		k.transmit(now)
	}
	k.n.leave()
	k.mu.Lock()
}

// arrive takes in data; a socket that is gone answers with RST.
func (c *Conn) arrive(n int) {
	switch {
	case c.closed || c.dead:
		c.peer.reset(reset)
	case c.noRead:
		c.rx.skip(n)
		c.peer.writable.Broadcast()
	default:
		c.arrived += n
		c.readable.Broadcast()
	}
}

// finished takes in a FIN.
func (c *Conn) finished() {
	c.eof = true
	c.readable.Broadcast()
}

// reset is a RST, or what ends a connection like one.
func (c *Conn) reset(errno syscall.Errno) {
	if c.dead {
		return
	}
	c.dead = true
	if !c.eof { // Linux, tcp_reset: after a FIN reading ends in EOF, writing in EPIPE
		c.failure = errno
	}
	c.readable.Broadcast()
	c.writable.Broadcast()
}

// CloseRead is shutdown(2) for reading: what has come and what will come is lost,
// and Read returns io.EOF.
func (c *Conn) CloseRead() error {
	c.k.mu.Lock()
	if c.closed {
		defer c.k.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	lost := c.arrived
	c.noRead = true
	c.arrived = 0
	c.owed += lost
	c.rx.skip(lost)
	c.readable.Broadcast()
	c.k.mu.Unlock()
	c.credit(lost)
	return nil
}

// CloseWrite is shutdown(2) for writing: the peer reads io.EOF after what was
// written.
func (c *Conn) CloseWrite() error {
	now := c.k.n.enter()
	defer c.k.n.leave()
	c.k.mu.Lock()
	if c.closed {
		defer c.k.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	if c.dead {
		defer c.k.mu.Unlock()
		return c.opError("close", system("shutdown", syscall.ENOTCONN))
	}
	first := !c.noWrite
	c.noWrite = true
	c.writable.Broadcast()
	c.k.mu.Unlock()
	if first {
		c.k.finish(now, c)
	}
	return nil
}

// Close closes the socket. What was written still reaches the peer, unless
// SetLinger(0) was called or something that arrived was not read: then the peer
// gets a RST.
func (c *Conn) Close() error {
	now := c.k.n.enter()
	defer c.k.n.leave()
	c.k.mu.Lock()
	if c.closed {
		defer c.k.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	rst := !c.dead && (c.linger == 0 || c.arrived > 0)
	fin := !c.dead && !rst && !c.noWrite
	c.closed, c.noWrite = true, true
	c.arrived = 0
	c.owed += c.rx.len()
	c.rx = buffer{}
	c.readDeadline.stop()
	c.writeDeadline.stop()
	c.readable.Broadcast()
	c.writable.Broadcast()
	c.k.mu.Unlock()
	switch {
	case rst:
		c.k.abort(now, c)
	case fin:
		c.k.finish(now, c)
	}
	c.k.leave(c)
	return nil
}

// SetLinger says what Close does: 0 throws away what was not sent and sends a
// RST; any other value sends it in the background.
func (c *Conn) SetLinger(sec int) error {
	return c.set(func() error {
		c.linger = sec
		return nil
	})
}

// SetReadBuffer sets the size of the receive buffer, 1 byte to 64 MiB. It and the
// peer's send buffer, 64 KiB each, are what the peer can write before it waits.
func (c *Conn) SetReadBuffer(bytes int) error { return c.setBuffer(&c.readBuffer, bytes) }

// SetWriteBuffer sets the size of the send buffer, 1 byte to 64 MiB.
func (c *Conn) SetWriteBuffer(bytes int) error { return c.setBuffer(&c.writeBuffer, bytes) }

func (c *Conn) setBuffer(size *int, bytes int) error {
	return c.set(func() error {
		if bytes < 1 || bytes > mostBuffer {
			return system("setsockopt", syscall.EINVAL)
		}
		*size = bytes
		c.writable.Broadcast()
		c.peer.writable.Broadcast()
		return nil
	})
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.set(func() error {
		c.readDeadline.move(t, &c.k.mu, c.readable.Broadcast)
		c.writeDeadline.move(t, &c.k.mu, c.writable.Broadcast)
		return nil
	})
}

// SetReadDeadline makes Read fail with os.ErrDeadlineExceeded from a time on; the
// zero time is never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.set(func() error {
		c.readDeadline.move(t, &c.k.mu, c.readable.Broadcast)
		return nil
	})
}

// SetWriteDeadline makes Write fail with os.ErrDeadlineExceeded from a time on;
// the zero time is never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.set(func() error {
		c.writeDeadline.move(t, &c.k.mu, c.writable.Broadcast)
		return nil
	})
}

func (c *Conn) set(change func() error) error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	if err := change(); err != nil {
		return c.opError("set", err)
	}
	return nil
}

// LocalAddr returns this end's address, a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr {
	if c.isClient {
		return net.TCPAddrFromAddrPort(c.k.flow.Remote())
	}
	return net.TCPAddrFromAddrPort(c.k.flow.Local())
}

// RemoteAddr returns the other end's address, a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.peer.LocalAddr() }

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
