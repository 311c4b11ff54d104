//go:build linux

package socket

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/listenq"
)

// listen makes a named socket of a type with connections a listening one, or
// changes the limit of one that is (unix_listen). listenq decides what becomes of
// the backlog.
func (s *unixSocket) listen(backlog int) error {
	switch {
	case !s.connects():
		return unix.EOPNOTSUPP
	case s.boundTo() == "":
		return unix.EINVAL
	}
	somaxconn := s.ns.somaxconn()
	s.mu.Lock()
	if s.is(unixConnected) {
		s.mu.Unlock()
		return unix.EINVAL
	}
	if s.acceptq == nil {
		s.acceptq = listenq.NewLocal(listenq.LocalConfig{Backlog: backlog, Somaxconn: somaxconn, Overflow: s.overflow})
		s.embryos = map[listenq.ConnID]*unixSocket{}
	} else {
		s.acceptq.Listen(backlog, somaxconn)
	}
	s.somaxconn = somaxconn
	s.state.Store(int32(unixListening))
	s.mu.Unlock()
	own := s.owner.credentials()
	s.peerCred.Store(&own) // for those that connect
	s.ns.waits.wake(s)
	return nil
}

// somaxconn is the namespace's net.core.somaxconn.
func (ns *Namespace) somaxconn() int {
	text, err := ns.stack.Sysctl("net.core.somaxconn")
	if err != nil {
		panic("socket: " + err.Error()) // every stack has it
	}
	n, _ := strconv.Atoi(text)
	return n
}

// connectStream connects to a listening socket. The connection is complete when it
// is in the accept queue; if that is full, EAGAIN says that the call may wait, and
// the socket is told when there is room (unix_stream_connect).
func (s *unixSocket) connectStream(addr unix.Sockaddr) error {
	name, err := unixPeerName(addr)
	if err != nil {
		return err
	}
	if err := s.autobindForCredentials(); err != nil {
		return err
	}
	for {
		listener, err := s.ns.names.find(name, s.typ)
		if err != nil {
			return err
		}
		unlock := s.lockBoth(listener)
		if listener.dead.Load() { // since it was found
			unlock()
			continue
		}
		err = s.join(listener)
		unlock()
		if err == nil {
			listener.Notify(unixReadable)
		}
		return err
	}
}

// join enters a connection of s into a listener's queue; both are locked.
func (s *unixSocket) join(listener *unixSocket) error {
	if !listener.is(unixListening) || listener.shutdownHas(receiveShutdown) {
		return unix.ECONNREFUSED
	}
	// Linux looks at the queue before it looks at s.
	if !listener.acceptq.Full() {
		switch {
		case s.is(unixConnected):
			return unix.EISCONN
		case s.is(unixListening), s.dead.Load():
			return unix.EINVAL
		}
	}
	out := listener.acceptq.Connect()
	switch out.Verdict {
	case listenq.Wait:
		s.ns.waits.wait(s, listener, eventRoom)
		return unix.EAGAIN
	case listenq.Promote:
	default:
		return unix.ECONNREFUSED
	}
	c := newUnixSocket(s.ns, listener.owner, s.typ)
	c.boundName.Store(listener.boundName.Load())
	c.peerSocket.Store(s)
	c.state.Store(int32(unixConnected))
	own := s.owner.credentials()
	c.peerCred.Store(&own)
	c.options.embryo.Store(true)
	listener.embryos[out.Conn] = c

	s.peerCred.Store(listener.peerCred.Load())
	s.state.Store(int32(unixConnected))
	s.peerSocket.Store(c)
	return nil
}

// accept takes the connection that was made first. After shutdown those that are
// queued still come.
func (s *unixSocket) accept() (sock, unix.Sockaddr, error) {
	if !s.connects() {
		return nil, nil, unix.EOPNOTSUPP
	}
	c, err := s.firstQueued()
	if err != nil {
		return nil, nil, err
	}
	s.ns.waits.wake(s)
	c.options.passCredentials.Store(s.options.passCredentials.Load())
	c.options.embryo.Store(false)
	addr, err := c.peer()
	return c, addr, err
}

// firstQueued takes a connection out of the accept queue.
func (s *unixSocket) firstQueued() (*unixSocket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.is(unixListening) {
		return nil, unix.EINVAL
	}
	id, ok := s.acceptq.Accept()
	if !ok {
		return nil, unix.EAGAIN
	}
	c := s.embryos[id]
	delete(s.embryos, id)
	return c, nil
}
