package stacktest

import (
	"errors"
	"io"
	"net/netip"
	"syscall"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
)

// A Listener is a listening socket of the stack under test. None of its methods
// waits: what would have to wait fails the test, because nothing moves while the
// test waits.
type Listener struct {
	lab *Lab
	l   *stack.Listener
	at  netip.AddrPort
}

// Listen is stack.Stack.Listen on "tcp": address is ":80" or "192.0.2.1:80",
// backlog the number handed to listen(2), and opts may be nil. It fails the test
// if the stack refuses.
func (lab *Lab) Listen(address string, backlog int, opts *stack.ListenOptions) *Listener {
	lab.t.Helper()
	l, err := lab.TryListen(address, backlog, opts)
	if err != nil {
		lab.fatalf("%v", err)
	}
	return l
}

// TryListen is Listen that returns the error.
func (lab *Lab) TryListen(address string, backlog int, opts *stack.ListenOptions) (*Listener, error) {
	defer lab.drive("Listen")()
	l, err := lab.stack.Listen("tcp", address, backlog, opts)
	if err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(lab.anyAddress(), at.Port())
	}
	lab.limited(l)
	lab.clock.Settle()
	return &Listener{lab: lab, l: l, at: at}, nil
}

// limited notes the capacity of a listener, which ladders print.
func (lab *Lab) limited(l *stack.Listener) {
	capacity := l.Stats().AcceptCapacity
	lab.mu.Lock()
	defer lab.mu.Unlock()
	lab.capacities[l] = capacity
}

// Stack returns the listener as the stack offers it. Its Accept hangs if the
// test's own goroutine calls it.
func (l *Listener) Stack() *stack.Listener { return l.l }

func (l *Listener) addr() netip.AddrPort { return l.at }

// Accept takes the connection at the front of the accept queue. If the queue is
// empty, it fails the test.
func (l *Listener) Accept() *Conn {
	l.lab.t.Helper()
	defer l.lab.drive("Accept")()
	c, err := l.l.TryAccept()
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) {
			l.lab.fatalf("Accept would wait for ever: the accept queue is empty, and nothing moves until a client sends or Advance is called")
		}
		l.lab.fatalf("%v", err)
	}
	return l.lab.conn(c)
}

// TryAccept is accept4(2) on a non-blocking socket: its error carries EAGAIN if
// the accept queue is empty, and EINVAL after Shutdown.
func (l *Listener) TryAccept() (*Conn, error) {
	defer l.lab.drive("TryAccept")()
	c, err := l.l.TryAccept()
	if err != nil {
		return nil, err
	}
	return l.lab.conn(c), nil
}

// ExpectAcceptError fails the test unless accept4(2) fails with this errno.
func (l *Listener) ExpectAcceptError(want syscall.Errno) {
	l.lab.t.Helper()
	defer l.lab.drive("ExpectAcceptError")()
	c, err := l.l.TryAccept()
	switch {
	case err == nil:
		l.lab.fatalf("accept should have failed with %v, and returned the connection of %v", want, c.RemoteAddr())
	case !errors.Is(err, want):
		l.lab.fatalf("accept should have failed with %v, and failed with %v", want, err)
	}
}

// Listen is listen(2) once more: it changes the backlog.
func (l *Listener) Listen(backlog int) {
	l.lab.t.Helper()
	defer l.lab.drive("Listen")()
	if err := l.l.Listen(backlog); err != nil {
		l.lab.fatalf("%v", err)
	}
	l.lab.limited(l.l)
}

// Shutdown is shutdown(2) with SHUT_RD.
func (l *Listener) Shutdown() {
	l.lab.t.Helper()
	defer l.lab.drive("Shutdown")()
	if err := l.l.Shutdown(); err != nil {
		l.lab.fatalf("%v", err)
	}
	l.lab.clock.Settle()
}

// Close closes the listener.
func (l *Listener) Close() {
	l.lab.t.Helper()
	defer l.lab.drive("Close")()
	if err := l.l.Close(); err != nil {
		l.lab.fatalf("%v", err)
	}
	l.lab.clock.Settle()
}

// SetOverflow changes what a full queue answers.
func (l *Listener) SetOverflow(o listenq.Overflow) {
	l.lab.t.Helper()
	defer l.lab.drive("SetOverflow")()
	l.l.SetOverflow(o)
}

// Stats returns the listener's state.
func (l *Listener) Stats() stack.ListenerStats { return l.l.Stats() }

// ExpectQueues fails the test unless the queues hold this many requests and
// connections.
func (l *Listener) ExpectQueues(syn, accept int) {
	l.lab.t.Helper()
	defer l.lab.drive("ExpectQueues")()
	if s := l.l.Stats(); s.SYNQueue != syn || s.AcceptQueue != accept {
		l.lab.fatalf("the SYN queue should hold %d and the accept queue %d of %d, and they hold %d and %d",
			syn, accept, s.AcceptCapacity, s.SYNQueue, s.AcceptQueue)
	}
}

// ExpectCounter fails the test unless a counter of the listener, under its kernel
// name, has this value.
func (l *Listener) ExpectCounter(name string, want uint64) {
	l.lab.t.Helper()
	defer l.lab.drive("ExpectCounter")()
	counters := make(map[string]uint64)
	c := l.l.Stats().Counters
	c.Each(func(name string, v uint64) { counters[name] = v })
	l.lab.expectCounter("the listener", counters, name, want)
}

// A Conn is an accepted connection. None of its methods waits.
type Conn struct {
	lab    *Lab
	c      stackConn
	client string
}

// stackConn is what an accepted connection can do: a *stack.Conn, or one that
// was lost on the way and is reset.
type stackConn interface {
	io.Reader
	io.Writer
	io.Closer
}

func (lab *Lab) conn(c stackConn) *Conn {
	out := &Conn{lab: lab, c: c}
	if sc, ok := c.(*stack.Conn); ok {
		local, _ := netip.ParseAddrPort(sc.LocalAddr().String())
		remote, _ := netip.ParseAddrPort(sc.RemoteAddr().String())
		out.client = lab.names[listenq.NewFlow(local, remote)]
	}
	return out
}

// Client returns the name of the client at the other end.
func (c *Conn) Client() string { return c.client }

// Stack returns the connection as the stack offers it; nil if it was lost before
// accept. Its Read and Write hang if they must wait.
func (c *Conn) Stack() *stack.Conn {
	sc, _ := c.c.(*stack.Conn)
	return sc
}

// TryRead is recv(2) on a non-blocking socket: its error carries EAGAIN if there
// is nothing to read, and io.EOF stands for the client's FIN.
func (c *Conn) TryRead(b []byte) (int, error) {
	defer c.lab.drive("TryRead")()
	return c.read(b)
}

func (c *Conn) read(b []byte) (int, error) {
	sc := c.Stack()
	if sc == nil {
		return c.c.Read(b) // fails at once
	}
	n, err := sc.TryRead(b)
	c.lab.clock.Settle()
	return n, err
}

// Read returns what has arrived, at most 64 KB of it. If there is nothing to read
// it fails the test.
func (c *Conn) Read() string {
	c.lab.t.Helper()
	defer c.lab.drive("Read")()
	b := make([]byte, 64<<10)
	n, err := c.read(b)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		c.lab.fatalf("Read would wait for ever: nothing has arrived from %s, and nothing moves until a client sends or Advance is called", c.client)
	case err != nil:
		c.lab.fatalf("read: %v", err)
	}
	return string(b[:n])
}

// ExpectReadError fails the test unless the next read fails with this error: an
// errno such as syscall.ECONNRESET or EAGAIN, or io.EOF.
func (c *Conn) ExpectReadError(want error) {
	c.lab.t.Helper()
	defer c.lab.drive("ExpectReadError")()
	n, err := c.read(make([]byte, 64<<10))
	if !errors.Is(err, want) {
		c.lab.fatalf("a read from %s should have failed with %v, and returned %d bytes and the error %v", c.client, want, n, err)
	}
}

// Write sends data. If the send buffer cannot take it all, it fails the test.
func (c *Conn) Write(data string) {
	c.lab.t.Helper()
	defer c.lab.drive("Write")()
	n, err := c.write([]byte(data))
	switch {
	case errors.Is(err, syscall.EAGAIN) || err == nil && n < len(data):
		c.lab.fatalf("Write would wait for ever: the send buffer has taken %d of %d bytes, and nothing moves until %s acknowledges some", n, len(data), c.client)
	case err != nil:
		c.lab.fatalf("write: %v", err)
	}
}

// TryWrite is send(2) on a non-blocking socket: it may take a part of b, and its
// error carries EAGAIN if it takes nothing.
func (c *Conn) TryWrite(b []byte) (int, error) {
	defer c.lab.drive("TryWrite")()
	return c.write(b)
}

func (c *Conn) write(b []byte) (int, error) {
	sc := c.Stack()
	if sc == nil {
		return c.c.Write(b)
	}
	n, err := sc.TryWrite(b)
	c.lab.clock.Settle()
	return n, err
}

// Close closes the connection.
func (c *Conn) Close() {
	c.lab.t.Helper()
	defer c.lab.drive("Close")()
	if err := c.c.Close(); err != nil {
		c.lab.fatalf("close: %v", err)
	}
	c.lab.clock.Settle()
}
