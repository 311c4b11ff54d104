package platforms

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// Queue is a bare listenq.Listener, with as much of a stack around it as
// connections in its accept queue need.
type Queue struct {
	profile *listenq.Profile
	l       *listenq.Listener // nil before the first Listen
	now     time.Duration
	conns   map[listenq.Flow]*conn
	queued  map[listenq.ConnID]*conn
	pending []Sent
}

var _ Device = (*Queue)(nil)

// A conn is an established connection.
type conn struct {
	id    listenq.ConnID
	next  uint32 // the sequence number that its client uses next
	bytes int
	fin   bool
	reset bool
}

// NewQueue returns a socket under a profile.
func NewQueue(p *listenq.Profile) *Queue {
	return &Queue{profile: p, conns: map[listenq.Flow]*conn{}, queued: map[listenq.ConnID]*conn{}}
}

// Established reports whether a client's handshake has ended well.
func (q *Queue) Established(f listenq.Flow) bool { return q.conns[f] != nil }

// Listen implements Device.
func (q *Queue) Listen(backlog int) (err error) {
	if q.l == nil {
		q.l, err = listenq.New(listenq.Config{Profile: q.profile, Backlog: backlog, Window: 65535})
	} else {
		err = q.l.Listen(backlog)
	}
	if errors.Is(err, listenq.ErrBacklog) {
		return errors.New("EINVAL")
	}
	return err
}

// Accept implements Device.
func (q *Queue) Accept() (netip.AddrPort, string, error) {
	c, ok := q.l.Accept()
	if !ok {
		return netip.AddrPort{}, "", nil
	}
	if c.Aborted {
		return netip.AddrPort{}, "", errors.New("ECONNABORTED")
	}
	conn := q.queued[c.ID]
	delete(q.queued, c.ID)
	return c.Flow.Remote(), conn.finds(), nil
}

// finds is what reading finds.
func (c *conn) finds() string {
	switch {
	case c.bytes > 0:
		return fmt.Sprintf("%d bytes", c.bytes)
	case c.reset:
		return "ECONNRESET"
	case c.fin:
		return "eof"
	}
	return "open"
}

// Close implements Device.
func (q *Queue) Close() error {
	queued := q.l.Close(q.now, q.carryOut)
	for _, c := range queued {
		if conn := q.queued[c.ID]; !conn.reset {
			q.send(listenq.Segment{Flow: c.Flow, Flags: listenq.RST})
			delete(q.conns, c.Flow)
		}
	}
	return nil
}

// Deliver implements Device.
func (q *Queue) Deliver(s *listenq.Segment) error {
	if q.l == nil {
		return syscall.ENOTCONN
	}
	if c := q.conns[s.Flow]; c != nil {
		if c.takes(s); c.reset {
			q.l.Aborted(c.id)
			delete(q.conns, s.Flow)
		}
		return nil
	}
	out := q.l.Segment(q.now, s)
	if out.Verdict == listenq.Promote {
		c := &conn{id: out.Conn, next: out.Handshake.IRS + 1}
		c.takes(s)
		q.conns[s.Flow], q.queued[out.Conn] = c, c
	}
	q.carryOut(out)
	return nil
}

// ICMP implements Device.
func (q *Queue) ICMP(e *listenq.ICMPError) error {
	q.carryOut(q.l.ICMP(e))
	return nil
}

// takes is a segment in the right order.
func (c *conn) takes(s *listenq.Segment) {
	if s.Seq != c.next || s.Flags.Has(listenq.SYN) {
		return
	}
	c.next += uint32(s.Len)
	c.bytes += s.Len
	if s.Flags.Has(listenq.FIN) {
		c.next++
		c.fin = true
	}
	c.reset = s.Flags.Has(listenq.RST)
}

// Advance implements Device.
func (q *Queue) Advance(d time.Duration) error {
	end := q.now + d
	for {
		at, waiting := q.l.NextTimeout()
		if !waiting || at > end {
			q.now = end
			return nil
		}
		q.now = at
		q.l.Advance(at, q.carryOut)
	}
}

// Sent implements Device.
func (q *Queue) Sent() ([]Sent, error) {
	all := q.pending
	q.pending = nil
	return all, nil
}

func (q *Queue) carryOut(out listenq.Outcome) {
	s := listenq.Segment{Flow: out.Flow, Seq: out.Seq, Ack: out.Ack}
	switch out.Verdict {
	case listenq.SendSYNACK, listenq.SendCookie:
		s.Flags = listenq.SYN | listenq.ACK
	case listenq.SendACK:
		s.Flags = listenq.ACK
	case listenq.SendRST:
		s.Flags = listenq.RST
	default:
		return
	}
	q.send(s)
}

func (q *Queue) send(s listenq.Segment) { q.pending = append(q.pending, Sent{At: q.now, Segment: s}) }
