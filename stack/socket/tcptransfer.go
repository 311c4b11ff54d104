//go:build linux

package socket

import (
	"io"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// receive follows tcp_recvmsg_locked.
func (t *tcpSocket) receive(m *message, flags int) (int, error) {
	if flags&unix.MSG_ERRQUEUE != 0 {
		return 0, unix.EAGAIN
	}
	t.mu.Lock()
	t.sync()
	state, ep, conn := t.state(), t.ep, t.conn
	t.mu.Unlock()
	switch {
	case state == tcp.StateListen:
		return 0, unix.ENOTCONN
	case flags&unix.MSG_OOB != 0: // tcp_recv_urg; nothing is ever urgent here
		return 0, unix.EINVAL
	}
	var failed tcpip.Error
	if ep != nil && m.len() > 0 {
		w := m.writer(flags&unix.MSG_TRUNC != 0)
		n, err := conn.Read(w, tcpip.ReadOptions{Peek: flags&unix.MSG_PEEK != 0})
		if err == nil {
			return n, nil
		}
		failed = err
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if ep == t.ep {
		t.keep(failed)
	}
	t.sync()
	switch {
	case m.len() == 0 && t.readable() > 0: // nothing of something
		return 0, nil
	case t.done:
		return 0, nil
	case t.err != 0:
		if m.skip > 0 {
			return 0, nil
		}
		return 0, t.takeError()
	case t.shut&receiveShutdown != 0:
		return 0, nil
	case t.state() == tcp.StateClose:
		return 0, unix.ENOTCONN
	}
	return 0, unix.EAGAIN
}

// keep takes note of an error that netstack has reported in place of the socket: it
// does so once.
func (t *tcpSocket) keep(err tcpip.Error) {
	switch err.(type) {
	case nil, *tcpip.ErrWouldBlock, *tcpip.ErrClosedForReceive, *tcpip.ErrClosedForSend, *tcpip.ErrNotConnected, *tcpip.ErrBadBuffer:
	default:
		t.take(err)
	}
}

// send follows tcp_sendmsg_locked.
func (t *tcpSocket) send(m *message, flags int) (int, error) {
	if flags&unix.MSG_FASTOPEN != 0 {
		return 0, unix.EOPNOTSUPP
	}
	t.mu.Lock()
	t.sync()
	conn := t.conn
	err := t.sendable(m)
	if err == nil {
		err = m.checkControl()
	}
	if err == nil && flags&unix.MSG_OOB != 0 {
		err = unix.EOPNOTSUPP // netstack has no urgent data
	}
	if err != nil {
		t.mu.Unlock()
		return 0, err
	}
	t.mu.Unlock()

	n, failed := conn.Write(m.reader(), flags&unix.MSG_MORE != 0)
	if failed != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if conn == t.conn {
			t.keep(failed)
		}
		t.sync()
		if err := t.sendable(m); err != nil {
			return 0, err
		}
		return 0, unix.EAGAIN
	}
	return int(n), nil
}

// sendable returns what is in the way of sending (sk_stream_wait_connect,
// sk_stream_error). The lock is held.
func (t *tcpSocket) sendable(m *message) error {
	state := t.state()
	switch {
	case t.err != 0 && m.skip > 0:
		return unix.EPIPE // the error is for the next call
	case t.err != 0:
		return t.takeError()
	case oneOf(state, tcp.StateSynSent, tcp.StateSynRecv):
		return unix.EAGAIN
	case !oneOf(state, tcp.StateEstablished, tcp.StateCloseWait), t.shut&sendShutdown != 0:
		return unix.EPIPE
	}
	return nil
}

// checkControl looks at control messages that TCP does nothing with
// (sock_cmsg_send): those of SOL_SOCKET must exist.
func (m *message) checkControl() error {
	if len(m.control) == 0 {
		return nil
	}
	return eachControl(m.control, func(level, typ int, data []byte) error {
		if level == unix.SOL_SOCKET {
			return socketControl(typ)
		}
		return nil
	})
}

// A cursor walks over the data of a message: netstack writes what was received to
// it, or reads what is to be sent.
type cursor struct {
	m       *message
	buffer  int // of m.iov
	at      int // in that buffer
	left    int
	discard bool
}

var (
	_ io.Writer       = (*cursor)(nil)
	_ tcpip.Payloader = (*cursor)(nil)
)

// writer returns a cursor at the first byte that is not done; discard moves it
// without storing anything.
func (m *message) writer(discard bool) *cursor {
	m.cursor = cursor{m: m, at: m.skip, left: m.len(), discard: discard}
	return &m.cursor
}

func (m *message) reader() *cursor { return m.writer(false) }

// next returns the rest of the buffer that the cursor is in.
func (c *cursor) next() []byte {
	for c.buffer < len(c.m.iov) {
		b := c.m.iov[c.buffer]
		if c.at < len(b) {
			return b[c.at:]
		}
		c.at -= len(b)
		c.buffer++
	}
	return nil
}

func (c *cursor) advance(n int) {
	c.at += n
	c.left -= n
}

// Write implements io.Writer.
func (c *cursor) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		to := c.next()
		if len(to) == 0 {
			return done, io.ErrShortWrite
		}
		n := min(len(to), len(b)-done)
		if !c.discard {
			copy(to, b[done:done+n])
		}
		c.advance(n)
		done += n
	}
	return done, nil
}

// Read implements io.Reader.
func (c *cursor) Read(b []byte) (int, error) {
	from := c.next()
	if len(from) == 0 {
		return 0, io.EOF
	}
	n := copy(b, from)
	c.advance(n)
	return n, nil
}

// Len implements tcpip.Payloader.
func (c *cursor) Len() int { return c.left }
