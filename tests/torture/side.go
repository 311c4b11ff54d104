//go:build linux

package torture

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A side is a program at one end of a connection. It never waits: it comes back
// after its pace, or later and later while nothing moves.
type side struct {
	c    *connection
	end  int
	plan *sidePlan
	fd   int // -1 before it has one and after it has closed it

	connecting bool
	began      time.Duration // connected, or accepted
	wrote      int
	read       int
	shut       bool // a FIN follows what was written
	eof        bool // the peer's stream is read to its end
	aborted    bool
	over       bool
	err        error         // what it has ended with, if not by itself
	moved      time.Duration // when a byte was read or written last
	idle       time.Duration
	// receiveBuffer is the greatest SO_RCVBUF so far.
	receiveBuffer int
}

func (s *side) peer() *side { return s.c.sides[1-s.end] }
func (s *side) host() *host { return s.c.w.hosts[s.end] }

func (s *side) String() string {
	name := [2]string{"client", "server"}[s.end]
	return fmt.Sprintf("%s %d: wrote %d of %d, read %d of %d, shut %v, over %v, %v",
		name, s.c.index, s.wrote, s.plan.total, s.read, s.peer().plan.total, s.shut, s.over, s.err)
}

// connect is how a client begins.
func (s *side) connect() {
	w, h := s.c.w, s.host()
	fd, err := h.newSocket()
	if err == nil {
		err = h.p.Bind(fd, sockaddr(s.c.addr(client)))
	}
	if err != nil {
		w.complain("%v: %v", s, err)
		return
	}
	s.connecting = true
	s.begin(fd)
	if err := h.p.Connect(fd, sockaddr(s.c.addr(server))); err != unix.EINPROGRESS {
		s.fail("connect", err)
	}
}

// begin is what a program does with a new descriptor.
func (s *side) begin(fd int) {
	w := s.c.w
	s.fd, s.began, s.moved, s.idle = fd, w.now(), w.now(), s.plan.pace
	w.after(0, s.step)
	for _, o := range s.plan.options {
		w.after(o.at, func() { s.set(o) })
	}
}

// set changes an option, if the socket still exists.
func (s *side) set(o optionPlan) {
	if s.fd < 0 {
		return
	}
	if o.level == unix.IPPROTO_IP && s.host().addr.Is6() {
		o.level, o.name = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	s.c.w.rec.note("%v: option %d/%d = %d", s, o.level, o.name, o.value)
	if err := s.host().p.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil {
		s.c.w.complain("%v: option %d/%d = %d: %v", s, o.level, o.name, o.value, err)
	}
}

// step does what can be done now.
func (s *side) step() {
	if s.over {
		return
	}
	w := s.c.w
	if s.connecting && !s.connected() {
		if !s.over {
			s.again(false)
		}
		return
	}
	s.checkMemory()
	moved := s.reads()
	if !s.over {
		moved = s.writes() || moved
	}
	if !s.over {
		s.ends()
	}
	if s.over {
		return
	}
	if moved {
		s.moved = w.now()
	} else if w.now()-s.moved > giveUp && (!s.c.peaceful() || s.cutOff()) {
		s.close()
		return
	}
	s.again(moved)
}

// again comes back soon if something has moved.
func (s *side) again(moved bool) {
	if moved {
		s.idle = s.plan.pace
	} else {
		s.idle = min(2*s.idle, idleMost)
	}
	s.c.w.after(s.idle, s.step)
}

// connected asks what has become of connect.
func (s *side) connected() bool {
	p := s.host().p
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
	if n, err := p.Poll(fds, 0); n == 0 || err != nil {
		if err != nil {
			s.c.w.complain("%v: poll: %v", s, err)
		}
		return false
	}
	code, err := p.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		s.c.w.complain("%v: SO_ERROR: %v", s, err)
	}
	if code != 0 {
		s.fail("connect", unix.Errno(code))
		return false
	}
	s.connecting, s.moved = false, s.c.w.now()
	return true
}

// reads reads once, if the plan wants it now, and compares.
func (s *side) reads() bool {
	w := s.c.w
	from := s.began + s.plan.readFrom
	if s.read >= s.peer().plan.total/2 {
		from += s.plan.readPause
	}
	if w.now() < from {
		return false
	}
	buf := make([]byte, s.plan.read)
	n, err := s.host().p.Read(s.fd, buf)
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		s.fail("read", err)
		return false
	case n == 0:
		s.atEnd()
		return false
	}
	for i, b := range buf[:n] {
		if want := s.peer().content(s.read + i); b != want && !s.c.guessed {
			w.complain("%v: byte %d is %#x, not %#x", s, s.read+i, b, want)
			break
		}
	}
	s.read += n
	if s.read > s.peer().wrote && !s.c.guessed {
		w.complain("%v: read more than the %d bytes that were written", s, s.peer().wrote)
	}
	return true
}

// content is byte i of what a side writes.
func (s *side) content(i int) byte {
	x := uint64(i/8+1)*0x9e3779b97f4a7c15 ^ s.c.w.plan.seed ^ uint64(s.c.index*2+s.end)<<56
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	return byte(x >> (i % 8 * 8))
}

// writes writes once, if anything is left.
func (s *side) writes() bool {
	if s.wrote == s.plan.total || s.shut {
		return false
	}
	buf := make([]byte, min(s.plan.write, s.plan.total-s.wrote))
	for i := range buf {
		buf[i] = s.content(s.wrote + i)
	}
	n, err := s.host().p.Write(s.fd, buf)
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		s.fail("write", err)
		return false
	}
	s.wrote += n
	return true
}

// ends leaves the connection when its time has come.
func (s *side) ends() {
	switch {
	case s.plan.ending == aborting && s.wrote+s.read >= s.plan.abortAfter:
		s.abort()
	case s.wrote < s.plan.total:
	case s.plan.ending == hasty:
		s.shut = true
		s.close()
	case s.shut && s.eof:
		s.close()
	case !s.shut:
		s.shut = true
		s.c.w.rec.note("%v: shutdown", s)
		if err := s.host().p.Shutdown(s.fd, unix.SHUT_WR); err != nil {
			s.fail("shutdown", err)
		}
	}
}

func (s *side) close() {
	s.c.w.rec.note("%v: close", s)
	s.over = true
	if err := s.host().p.Close(s.fd); err != nil {
		s.c.w.complain("%v: close: %v", s, err)
	}
	s.fd = -1
}

// abort closes with a RST.
func (s *side) abort() {
	s.aborted = true
	linger := &unix.Linger{Onoff: 1}
	if err := s.host().p.Setsockopt(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, lingerBytes(linger)); err != nil {
		s.c.w.complain("%v: SO_LINGER: %v", s, err)
	}
	s.close()
}

// checkMemory compares what waits to be read with what may.
func (s *side) checkMemory() {
	p := s.host().p
	limit, err := p.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		s.c.w.complain("%v: SO_RCVBUF: %v", s, err)
	}
	s.receiveBuffer = max(s.receiveBuffer, limit)
	waits, err := p.Ioctl(s.fd, unix.TIOCINQ)
	if err != nil {
		s.c.w.complain("%v: FIONREAD: %v", s, err)
	}
	if waits > s.receiveBuffer {
		s.c.w.complain("%v: %d bytes wait, and SO_RCVBUF was never more than %d", s, waits, s.receiveBuffer)
	}
}
