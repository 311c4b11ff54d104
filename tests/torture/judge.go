//go:build linux

package torture

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/stack"
)

const (
	// silence is how long nothing has arrived, at least, when a connection fails
	// with ETIMEDOUT that has no option about it.
	silence = time.Minute
	// lifetime is how long after its program a connection may exist.
	lifetime = 20 * time.Minute
)

// peaceful reports whether nobody has a reason to end the connection before
// everything has arrived.
func (c *connection) peaceful() bool {
	for _, s := range c.sides {
		if s.plan.ending != polite || s.mayTimeOut() {
			return false
		}
	}
	// A client with a cookie that met a full accept queue is remembered by nobody,
	// and its later segments are answered by RST (cookie_v4_check).
	return !c.killed && c.w.hosts[server].s.Counters().SyncookiesSent == 0
}

// cutOff reports whether the network has lost everything of one direction since
// something moved last, until the peer's kernel gave up a socket that its program has
// closed: in silence, so that nobody will ever say so (tcp_orphan_retries).
func (s *side) cutOff() bool {
	const soon = 5 * time.Second
	return s.peer().over && min(s.c.wire[client].last, s.c.wire[server].last) < s.moved+soon
}

// mayTimeOut reports whether the program has asked for a failure.
func (s *side) mayTimeOut() bool {
	for _, o := range s.plan.options {
		if o.level == unix.IPPROTO_TCP && o.name == unix.TCP_USER_TIMEOUT {
			return true
		}
	}
	return false
}

// fail ends a side with an error, which must have a reason.
func (s *side) fail(op string, err error) {
	s.err = fmt.Errorf("%s: %w", op, err)
	if why := s.unfair(err); why != "" {
		s.c.w.complain("%v: %s", s, why)
	}
	s.close()
}

// unfair says why an error has no reason; "" if it has one.
func (s *side) unfair(err error) string {
	heard := &s.c.wire[1-s.end] // what comes to this side
	switch err {
	case unix.ECONNREFUSED:
		if !s.connecting {
			return "refused, and it was connected"
		}
		if heard.resets == 0 && !s.c.killed {
			return "refused, and nobody has refused"
		}
	case unix.ECONNRESET, unix.EPIPE:
		if s.connecting && !heard.seen {
			return "no error of connect"
		}
		if s.c.peaceful() {
			return "reset, and nobody has a reason"
		}
		if heard.resets == 0 && !s.c.killed {
			return "reset, and no RST has arrived"
		}
	case unix.ETIMEDOUT:
		quiet := s.c.w.now() - max(heard.last, s.began)
		if !s.mayTimeOut() && quiet < silence {
			return fmt.Sprintf("timed out, and the last packet came %v ago", quiet)
		}
	case unix.EHOSTUNREACH, unix.ENETUNREACH:
		if !s.connecting || !s.c.killed {
			return "unreachable, and nobody has said so"
		}
	case unix.ENOTCONN: // of shutdown, before the error itself was read
		if heard.resets == 0 && !s.c.killed {
			return "not connected any more, and no RST has arrived"
		}
	default:
		return "an error that Linux does not give"
	}
	return ""
}

// atEnd notes the end of the peer's stream, which must be where the peer has ended
// it.
func (s *side) atEnd() {
	s.eof = true
	p := s.peer()
	if (!p.shut || s.read != p.wrote) && !s.c.guessed {
		s.c.w.complain("%v: the end of the stream, and %v", s, p)
	}
}

// stoodStill notes that something that a program has sent was not acknowledged and is
// repeated no more, although the program has not closed the socket: netstack can lose its
// retransmission timer.
func (w *world) stoodStill() bool {
	for _, c := range w.conns {
		for end := range c.wire {
			out, back := &c.wire[end], &c.wire[1-end]
			quiet := w.now() - max(out.last, back.last)
			if out.seen && !c.sides[end].over && int32(out.next-back.ack) > 0 && quiet > giveUp {
				w.still = true
			}
		}
	}
	return w.still
}

// leftovers complains about what outlives all programs.
func (w *world) leftovers() {
	w.clock.Advance(lifetime)
	w.accepting = false
	h := w.hosts[server]
	for _, l := range h.s.Listeners() {
		if st := l.Stats(); st.SYNQueue > 0 || st.AcceptQueue > 0 {
			w.complain("left in the queues: %d, %d", st.SYNQueue, st.AcceptQueue)
		}
	}
	if err := h.p.Close(w.listener); err != nil {
		w.complain("close the listener: %v", err)
	}
	w.clock.Advance(lifetime)
	for _, h := range w.hosts {
		if h.s.Connections() > 0 && w.stoodStill() {
			return
		}
		w.leftAt(h)
	}
	if next, ok := w.clock.Next(); ok {
		w.complain("left: a timer that is due at %v", next)
	}
}

func (w *world) leftAt(h *host) {
	for _, ep := range slices.Concat(h.s.Netstack().RegisteredEndpoints(), h.s.Netstack().CleanupEndpoints()) {
		if e, ok := ep.(*tcp.Endpoint); ok {
			w.complain("left at host %d: an endpoint in state %v", h.index, e.EndpointState())
		}
	}
	if d := h.s.Drops(); d.GraftFailures > 0 || d.Strays > 0 || d.LaterOverflow > 0 {
		w.complain("host %d: %+v", h.index, d)
	}
	fd, err := h.newSocket()
	if fd != 0 || err != nil {
		w.complain("left at host %d: descriptors; the next is %d, %v", h.index, fd, err)
	}
	_ = h.p.Close(fd)
	for _, c := range w.conns {
		local := netip.AddrPortFrom(h.addr, c.addr(h.index).Port())
		b, err := h.s.Bind(local, stack.BindOptions{})
		if err != nil {
			w.complain("left at host %d: %v: %v", h.index, local, err)
			continue
		}
		b.Release()
	}
}

// destroy ends both hosts.
func (w *world) destroy() {
	for _, h := range w.hosts {
		if h == nil {
			continue
		}
		if err := h.s.Close(); err != nil {
			w.complain("close host %d: %v", h.index, err)
		}
	}
}

func lingerBytes(l *unix.Linger) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(l)), unsafe.Sizeof(*l))
}
