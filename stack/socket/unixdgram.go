//go:build linux

package socket

import "golang.org/x/sys/unix"

// datagramsMax is net.unix.max_dgram_qlen: a queue that is longer is full for all
// but the socket's own peer.
const datagramsMax = 10

// full reports whether senders other than the peer must wait; the lock is held.
func (s *unixSocket) full() bool { return s.queue.count > datagramsMax }

// maySend reports whether other takes messages from s: one that is connected takes
// its peer's alone. The lock of other is held.
func (s *unixSocket) maySend(other *unixSocket) bool {
	peer := other.peerSocket.Load()
	return peer == nil || peer == s
}

// peerFull reports whether the peer of a datagram socket has no room for it, in
// which case poll(2) does not say that it can send. The socket is then notified
// when there is.
func (s *unixSocket) peerFull() bool {
	peer := s.peerSocket.Load()
	if s.connects() || peer == nil {
		return false
	}
	peer.mu.Lock()
	defer peer.mu.Unlock()
	if !s.crowdedOut(peer) || peer.dead.Load() {
		return false
	}
	s.ns.waits.wait(s, peer, unixWritable)
	return true
}

// crowdedOut reports whether the queue of other is full for s; the lock of other is
// held.
func (s *unixSocket) crowdedOut(other *unixSocket) bool {
	return other != s && other.peerSocket.Load() != s && other.full()
}

// connectDatagram names the receiver of what is sent and the only one to receive
// from, or nobody again (unix_dgram_connect).
func (s *unixSocket) connectDatagram(addr unix.Sockaddr) error {
	switch addr.(type) {
	case SockaddrUnspec, *SockaddrUnspec:
		s.setPeer(nil)
		return nil
	}
	name, err := unixPeerName(addr)
	if err != nil {
		return err
	}
	if err := s.autobindForCredentials(); err != nil {
		return err
	}
	for {
		other, err := s.ns.names.find(name, s.typ)
		if err != nil {
			return err
		}
		unlock := s.lockBoth(other)
		switch {
		case other.dead.Load(): // since it was found
			unlock()
			continue
		case !s.maySend(other):
			unlock()
			return unix.EPERM
		}
		unlock()
		s.setPeer(other)
		return nil
	}
}

// setPeer changes the receiver. What the old one has sent is lost, and it is told
// if it was connected to s (unix_dgram_disconnected).
func (s *unixSocket) setPeer(other *unixSocket) {
	s.mu.Lock()
	old := s.peerSocket.Swap(other)
	var lost unixQueue
	if old != nil && old != other {
		lost = s.queue.take()
	}
	s.mu.Unlock()
	if old == nil || old == other {
		return
	}
	s.Notify(unixWritable)
	if lost.count == 0 {
		return
	}
	s.ns.waits.wake(s)
	if !old.dead.Load() && old.peerSocket.Load() == s {
		old.fail(unix.ECONNRESET)
	}
	for lost.head != nil {
		lost.pop().free()
	}
}

// sendDatagram sends one message to the peer or, if it is no connection, to an
// address (unix_dgram_sendmsg, unix_seqpacket_sendmsg).
func (s *unixSocket) sendDatagram(m *message, flags int) (int, error) {
	if s.connects() {
		if err := s.takeError(); err != nil {
			return 0, err
		}
		if !s.is(unixConnected) {
			return 0, unix.ENOTCONN
		}
		m.addr = nil
	}
	extra, err := newAncillary(m)
	if err != nil {
		return 0, err
	}
	defer func() { extra.drop() }()
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	var name string
	if m.addr != nil {
		if name, err = unixPeerName(m.addr); err != nil {
			return 0, err
		}
	}
	if err := s.autobindForCredentials(); err != nil {
		return 0, err
	}
	size := m.len()
	if size > int(s.sendBuffer.Load())-32 {
		return 0, unix.EMSGSIZE
	}
	if err := s.room(m); err != nil {
		return 0, err
	}
	msg := newUnixMessage(s, size, datagramCharge(size))
	m.gather(0, msg.data)
	msg.ancillary, extra = extra, ancillary{}
	s.sent.Add(int64(msg.charge))
	again := m.waited
	receiver, err := s.deliver(m, msg, name)
	switch {
	case err == nil:
		receiver.Notify(unixReadable)
	case err == unix.EAGAIN && again:
		msg.giveBack() // in silence, or the call that waits would wake itself for ever
	default:
		msg.free() // which counts as room for those who poll, as on Linux
	}
	if err != nil {
		return 0, err
	}
	return size, nil
}

// deliver puts a datagram into the queue of the peer or, if name is not empty, of
// the socket that has the name, and returns whose it was.
func (s *unixSocket) deliver(m *message, msg *unixMessage, name string) (*unixSocket, error) {
	peer := s.peerSocket.Load()
	if peer == nil && name == "" {
		return nil, unix.ENOTCONN
	}
	for {
		if name != "" {
			var err error
			if peer, err = s.ns.names.find(name, s.typ); err != nil {
				return nil, err
			}
		}
		peer.mu.Lock()
		switch {
		case !s.maySend(peer):
			peer.mu.Unlock()
			return nil, unix.EPERM
		case peer.dead.Load():
			peer.mu.Unlock()
			switch {
			case s.connects():
				return nil, unix.EPIPE
			case s.peerSocket.Load() == peer:
				s.setPeer(nil)
				return nil, unix.ECONNREFUSED
			case name == "":
				return nil, unix.ECONNRESET // another call has parted them
			}
			continue
		case peer.shutdownHas(receiveShutdown):
			peer.mu.Unlock()
			return nil, unix.EPIPE
		case s.crowdedOut(peer):
			events := eventRoom
			if s.peerSocket.Load() == peer {
				events |= unixWritable
			}
			s.ns.waits.wait(s, peer, events)
			peer.mu.Unlock()
			m.waited = true
			return nil, unix.EAGAIN
		}
		s.credit(msg, peer)
		peer.queue.push(msg)
		peer.mu.Unlock()
		return peer, nil
	}
}

// receiveDatagram takes one message, and throws away what there is no room for
// (unix_dgram_recvmsg).
func (s *unixSocket) receiveDatagram(m *message, flags int) (int, error) {
	switch {
	case s.connects() && !s.is(unixConnected):
		return 0, unix.ENOTCONN
	case flags&unix.MSG_OOB != 0:
		return 0, unix.EOPNOTSUPP
	}
	s.mu.Lock()
	if err := s.takeError(); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	msg := s.queue.head
	if msg == nil {
		defer s.mu.Unlock()
		return 0, s.noDatagram(m)
	}
	extra := ancillary{cred: msg.cred}
	from, size := msg.from, len(msg.data)
	n := m.scatter(0, msg.data)
	if flags&unix.MSG_PEEK != 0 {
		extra.copyFiles(&msg.ancillary)
		s.mu.Unlock()
	} else {
		extra.takeFiles(&msg.ancillary)
		s.queue.pop()
		s.mu.Unlock()
		s.ns.waits.wake(s)
		msg.free()
	}
	m.receivedFrom(from)
	if n < size {
		m.flags |= unix.MSG_TRUNC
	}
	extra.deliver(m, s, flags)
	if flags&unix.MSG_TRUNC != 0 {
		return size, nil
	}
	return n, nil
}

// noDatagram is the result of a receive that found the queue empty, 0 bytes if it
// is nil. A SOCK_DGRAM socket that is shut down says so only to a call that waits.
func (s *unixSocket) noDatagram(m *message) error {
	if s.shutdownHas(receiveShutdown) && (s.connects() || m.waited) {
		return nil
	}
	m.waited = true
	return unix.EAGAIN
}
