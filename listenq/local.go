package listenq

import (
	"fmt"
	"strings"
)

// LocalOverflow is what a full Local answers.
type LocalOverflow uint8

// The rules.
const (
	// WaitForRoom is Linux: connect(2) waits until there is room, and on a
	// non-blocking socket it fails with EAGAIN (unix_stream_connect).
	WaitForRoom LocalOverflow = iota
	// RefuseWhenFull is FreeBSD and its relatives: connect(2) fails with
	// ECONNREFUSED (FreeBSD unp_connectat, when sonewconn finds no room).
	RefuseWhenFull
)

var localOverflowNames = []string{"wait", "refuse"}

// String returns the rule's name: "wait" or "refuse".
func (o LocalOverflow) String() string { return nameOf(localOverflowNames, int(o)) }

// MarshalText makes the rule print as its name in JSON.
func (o LocalOverflow) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a rule's name; the error lists the names.
func (o *LocalOverflow) UnmarshalText(text []byte) error {
	for i, name := range localOverflowNames {
		if name == strings.ToLower(string(text)) {
			*o = LocalOverflow(i)
			return nil
		}
	}
	return fmt.Errorf("unknown overflow rule %q: use wait or refuse", text)
}

// LocalConfig describes a listening socket of a local transport.
type LocalConfig struct {
	// Backlog is the number handed to listen(2), in connections; any value is
	// valid, see Limit.
	Backlog int
	// Somaxconn is net.core.somaxconn, the largest limit that listen accepts.
	Somaxconn int
	// Overflow is what a full queue answers.
	Overflow LocalOverflow
}

// A Local is the listen queue of a socket whose transport neither loses nor
// repeats anything, as AF_UNIX: a connection is complete at once, so there is no
// SYN queue and no timer, and a full accept queue cannot leave it to the client
// to try again. Make it with NewLocal. It is not safe for concurrent use.
//
// The queue is full when it is longer than the limit, hence limit+1 connections
// fit (Linux unix_recvq_full), as with TCP.
type Local struct {
	backlog  int
	limit    int
	overflow LocalOverflow
	closed   bool
	accept   acceptQueue
	lastConn ConnID
	counters Counters
}

// NewLocal returns a queue as it is after listen(2).
func NewLocal(cfg LocalConfig) *Local {
	l := &Local{overflow: cfg.Overflow}
	l.Listen(cfg.Backlog, cfg.Somaxconn)
	return l
}

// Listen is listen(2) on the listening socket: only the limit changes, nothing
// that is queued is thrown out. When the limit grows, whoever waits for room
// should try again.
func (l *Local) Listen(backlog, somaxconn int) {
	l.backlog = backlog
	l.limit = Limit(backlog, somaxconn)
	l.closed = false
}

// Connect decides about a connect(2): Promote puts a connection, Conn of the
// outcome, into the accept queue; Wait and Refuse are what the overflow rule
// makes of a full queue, and a closed one refuses. Each call that finds the queue
// full counts in ListenOverflows, and in ListenDrops if it was refused.
func (l *Local) Connect() Outcome {
	var out Outcome
	switch {
	case l.closed:
		out.decide(Refuse, ListenerClosed)
	case l.accept.len() <= l.limit:
		l.lastConn++
		l.accept.push(Conn{ID: l.lastConn})
		l.counters.PassiveOpens++
		out.Conn = l.lastConn
		out.decide(Promote, LocalConnect)
	default:
		l.counters.ListenOverflows++
		out.decide(Wait, AcceptQueueFull)
		if l.overflow == RefuseWhenFull {
			l.counters.ListenDrops++
			out.decide(Refuse, AcceptQueueFull)
		}
	}
	out.AcceptQueue = l.accept.len()
	return out
}

// Accept takes the connection that was promoted first out of the accept queue;
// it returns false if there is none. Whoever waits for room should try again
// when Full turns false.
func (l *Local) Accept() (ConnID, bool) {
	c, ok := l.accept.pop()
	return c.ID, ok
}

// Full reports whether Connect would find no room.
func (l *Local) Full() bool { return l.accept.len() > l.limit }

// Close is close(2): it empties the accept queue and returns what was in it,
// first in first, for the caller to reset. Until Listen is called again, Connect
// refuses.
func (l *Local) Close() []ConnID {
	l.closed = true
	queued := make([]ConnID, 0, l.accept.len())
	for c, ok := l.accept.pop(); ok; c, ok = l.accept.pop() {
		queued = append(queued, c.ID)
	}
	return queued
}

// SetOverflow changes what a full queue answers from now on.
func (l *Local) SetOverflow(o LocalOverflow) { l.overflow = o }

// Overflow returns the rule in force.
func (l *Local) Overflow() LocalOverflow { return l.overflow }

// Backlog returns the number that listen was called with last.
func (l *Local) Backlog() int { return l.backlog }

// Limit returns what became of the backlog; the queue is full when it is longer.
func (l *Local) Limit() int { return l.limit }

// AcceptQueueLen returns the number of connections that wait for accept.
func (l *Local) AcceptQueueLen() int { return l.accept.len() }

// Counters returns what the queue has counted so far: PassiveOpens,
// ListenOverflows and ListenDrops. Linux itself counts nothing for AF_UNIX.
func (l *Local) Counters() Counters { return l.counters }
