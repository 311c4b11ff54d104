//go:build linux

package socket

import (
	"golang.org/x/sys/unix"
)

// sendStream cuts the data into messages of the size that Linux cuts it into, so
// that as much fits into the send buffer (unix_stream_sendmsg).
func (s *unixSocket) sendStream(m *message, flags int) (sent int, err error) {
	extra, err := newAncillary(m)
	if err != nil {
		return 0, err
	}
	defer func() { extra.drop() }()
	peer := s.peerSocket.Load()
	switch {
	case flags&unix.MSG_OOB != 0:
		return 0, unix.EOPNOTSUPP
	case m.addr != nil && s.is(unixConnected):
		return 0, unix.EISCONN
	case m.addr != nil:
		return 0, unix.EOPNOTSUPP
	case peer == nil:
		return 0, unix.ENOTCONN
	case s.shutdownHas(sendShutdown) && !m.waited:
		return 0, unix.EPIPE
	}
	for left := m.len(); left > 0 && err == nil; {
		size := min(left, int(s.sendBuffer.Load())/2-64, streamHead+streamPages)
		if err = s.room(m); err != nil {
			break
		}
		msg := newUnixMessage(s, size, streamCharge(size))
		m.gather(sent, msg.data)
		msg.ancillary, extra = extra, ancillary{}
		if err = s.put(msg, peer); err != nil {
			break
		}
		m.control = nil // went with the first message
		sent += size
		left -= size
	}
	if sent > 0 {
		peer.Notify(unixReadable)
		return sent, nil
	}
	return 0, err
}

// room says whether the send buffer takes another message: EAGAIN if it is full,
// or what else stands against sending (sock_alloc_send_pskb).
func (s *unixSocket) room(m *message) error {
	if err := s.takeError(); err != nil {
		return err
	}
	switch {
	case s.shutdownHas(sendShutdown):
		return unix.EPIPE
	case s.sent.Load() >= s.sendBuffer.Load():
		m.waited = true
		return unix.EAGAIN
	}
	return nil
}

// writable reports whether poll(2) says so: when no more than a quarter of the
// send buffer is in use (unix_writable).
func (s *unixSocket) writable() bool {
	return !s.is(unixListening) && s.sent.Load()<<2 < s.sendBuffer.Load()
}

// writeSpace is told when less of the send buffer is in use.
func (s *unixSocket) writeSpace() {
	if s.writable() {
		s.Notify(unixWritable)
	}
}

// put puts a message into the queue of a connected peer.
func (s *unixSocket) put(msg *unixMessage, peer *unixSocket) error {
	s.sent.Add(int64(msg.charge))
	peer.mu.Lock()
	if peer.dead.Load() || peer.shutdownHas(receiveShutdown) {
		peer.mu.Unlock()
		msg.free()
		return unix.EPIPE
	}
	s.credit(msg, peer)
	peer.queue.push(msg)
	peer.mu.Unlock()
	return nil
}

// receiveStream glues messages together, but not across descriptors that came
// with one, and, with SO_PASSCRED, not those of different senders
// (unix_stream_read_generic).
func (s *unixSocket) receiveStream(m *message, flags int) (int, error) {
	switch {
	case !s.is(unixConnected):
		return 0, unix.EINVAL
	case flags&unix.MSG_OOB != 0:
		return 0, unix.EINVAL // there is none (unix_stream_recv_urg)
	}
	var done unixQueue
	s.mu.Lock()
	if s.queue.head == nil {
		defer s.mu.Unlock()
		return 0, s.nothing()
	}
	first := s.queue.head
	extra := ancillary{cred: first.cred}
	from := first.from
	passCredentials := s.options.passCredentials.Load()
	copied, size := 0, m.len()
	for msg := first; msg != nil; {
		if passCredentials && msg.cred != extra.cred {
			break
		}
		n := m.scatter(copied, msg.data)
		copied += n
		with := len(msg.files) > 0
		if flags&unix.MSG_PEEK != 0 {
			extra.copyFiles(&msg.ancillary)
			msg = msg.next
		} else {
			extra.takeFiles(&msg.ancillary)
			s.queue.consume(n)
			if len(msg.data) > 0 {
				break
			}
			done.push(s.queue.pop())
			msg = s.queue.head
		}
		if with || copied >= size {
			break
		}
	}
	s.mu.Unlock()
	for done.head != nil {
		done.pop().free()
	}
	m.receivedFrom(from)
	extra.deliver(m, s, flags)
	return copied, nil
}

// nothing is the result of a receive that found the queue empty, 0 bytes if it is
// nil. The lock is held.
func (s *unixSocket) nothing() error {
	if err := s.takeError(); err != nil || s.shutdownHas(receiveShutdown) {
		return err
	}
	return unix.EAGAIN
}
