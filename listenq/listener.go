package listenq

import (
	"fmt"
	"iter"
	"time"
)

// Config describes a listening socket.
type Config struct {
	// Profile is the platform whose rules hold; nil stands for linux-6.
	Profile *Profile
	// Backlog is the number handed to listen(2), in connections; see
	// Profile.Limit.
	Backlog int
	// Window is the receive window that SYN-ACKs offer, in bytes. It bounds
	// which segments are taken for a request; the protocol allows at most 65535
	// here, and 0 accepts only the exact next sequence number.
	Window uint32
	// Secret keys the initial sequence numbers, the timestamp offsets and the
	// cookies. Draw it from a good source; equal secrets give equal numbers.
	Secret Secret
	// Sysctls are the settings to start with; nil stands for the profile's own.
	// A setting moves the rule of its kind on every platform that has a setting
	// for it, net.core.somaxconn the maximum of FreeBSD's kern.ipc.soacceptqueue
	// too; elsewhere it does nothing.
	Sysctls *Sysctls
	// Overflow is what a full queue answers in place of the profile's rule.
	Overflow Overflow
	// DeferAccept is TCP_DEFER_ACCEPT, rounded up to whole timeouts of the
	// SYN-ACK schedule, at most 255 of them; 0 and less are off.
	DeferAccept time.Duration
	// SYNCount is TCP_SYNCNT: the number of SYN-ACK retransmissions, 1 to 127;
	// 0 leaves it to tcp_synack_retries.
	SYNCount int
}

// A Secret keys the hashes of a Listener: four keys of SipHash, for initial
// sequence numbers, timestamp offsets and two for cookies.
type Secret [64]byte

// A Listener is one listening socket. Make it with New. It is not safe for
// concurrent use.
//
// Segment and Advance are its inputs from the network and the clock, Accept,
// Listen, Close and the Set methods those of the application; the other methods
// only look.
type Listener struct {
	cfg        Config
	profile    *Profile
	sysctls    Sysctls
	overflow   Overflow
	limit      int
	room       room
	schedule   schedule
	closed     bool
	syn        synQueue
	accept     acceptQueue
	lastConn   ConnID
	counters   Counters
	deferTimes uint8
	issKey     sipKey
	tsKey      sipKey
	cookieKeys [2]sipKey
	cookieSent time.Duration // when a cookie was sent last, or never
}

// New returns a listener as it is after listen(2). The error says what
// contradicts itself in the profile, or wraps ErrBacklog.
func New(cfg Config) (*Listener, error) {
	profile := cfg.Profile
	if profile == nil {
		profile = defaultProfile
	}
	if err := profile.Validate(); err != nil {
		return nil, err
	}
	sysctls := profile.Sysctls()
	if cfg.Sysctls != nil {
		sysctls = profile.governed(*cfg.Sysctls)
	}
	if cfg.DeferAccept > 0 && profile.Socket.DeferAccept == DeferNone {
		return nil, fmt.Errorf("listen: %s has no TCP_DEFER_ACCEPT: leave Config.DeferAccept at 0", profile.Title)
	}
	schedule := newSchedule(profile.SYNACK.Waits)
	l := &Listener{
		profile:    profile,
		schedule:   schedule,
		closed:     true,
		cfg:        cfg,
		sysctls:    sysctls,
		overflow:   cfg.Overflow,
		syn:        newSYNQueue(),
		deferTimes: schedule.deferTimeouts(cfg.DeferAccept),
		issKey:     newSipKey(cfg.Secret[0:]),
		tsKey:      newSipKey(cfg.Secret[16:]),
		cookieKeys: [2]sipKey{newSipKey(cfg.Secret[32:]), newSipKey(cfg.Secret[48:])},
		cookieSent: never,
	}
	if profile.evicts() {
		l.syn.ages = newAgeOrder(profile.SYNQueue.Buckets)
	}
	if err := l.Listen(cfg.Backlog); err != nil {
		return nil, err
	}
	return l, nil
}

// MustNew is New for a configuration that cannot be wrong; it panics otherwise.
func MustNew(cfg Config) *Listener {
	l, err := New(cfg)
	if err != nil {
		panic(err)
	}
	return l
}

// Listen is listen(2) on the listening socket: at most the limit changes, nothing
// that is queued is thrown out, and a socket that was shut down listens again
// with the requests it still has (inet_csk_listen_start).
//
// The error wraps ErrBacklog and changes nothing.
func (l *Listener) Listen(backlog int) error {
	again := l.profile.Socket.ListenAgain
	if !l.closed && again == AgainUnchanged {
		return nil
	}
	limit, err := l.profile.Limit(backlog, l.sysctls.Somaxconn)
	if err != nil {
		return err
	}
	if !l.closed && again == AgainNotBelowUse && l.accept.len() > limit {
		return fmt.Errorf("listen with backlog %d under profile %s: %w: %d connections are queued",
			backlog, l.profile.Name, ErrBacklog, l.accept.len())
	}
	l.cfg.Backlog = backlog
	l.limit = limit
	l.room = l.profile.room(limit, l.sysctls.MaxSYNBacklog)
	l.closed = false
	return nil
}

// Close is close(2), and shutdown(2) for reading: it empties the accept queue
// and returns what was in it, first in first, for the caller to reset. On Linux
// requests stay, unanswered, until their timer fires or a segment arrives for
// them, which is answered by RST (inet_csk_listen_stop). Where the platform does
// something with requests at once, carryOut gets the outcomes, in the order of
// Requests; it must not call the Listener.
func (l *Listener) Close(now time.Duration, carryOut func(Outcome)) []Conn {
	l.closed = true
	l.cookieSent = never // a socket that listens again takes no cookie from before
	l.closeRequests(carryOut)
	queued := make([]Conn, 0, l.accept.len())
	for c, ok := l.accept.pop(); ok; c, ok = l.accept.pop() {
		queued = append(queued, c)
	}
	return queued
}

// closeRequests ends the requests of a listener that is closed, where the
// platform does so.
func (l *Listener) closeRequests(carryOut func(Outcome)) {
	rule := l.profile.Socket.CloseHalfOpen
	if rule == CloseLeaves || rule == CloseGoesOn {
		return
	}
	for i := range l.syn.waits {
		for s := l.syn.waits[i].head; s != none; s = l.syn.waits[i].head {
			r := l.syn.at(s)
			out := Outcome{Flow: r.flow}
			l.expire(r, s, ListenerClosed, &out)
			if rule == CloseResets {
				l.resetRequest(r, ListenerClosed, &out)
			}
			out.SYNQueue = l.syn.len()
			carryOut(out)
		}
	}
}

// Aborted says that the peer of a connection in the accept queue has reset it.
func (l *Listener) Aborted(id ConnID) {
	if c := l.accept.find(id); c != nil {
		c.Aborted = l.profile.Socket.QueuedReset == ResetAborted
		if l.profile.Socket.QueuedReset == ResetReleased && !c.released {
			c.released = true
			l.accept.released++
		}
	}
}

// Accept takes the connection that was promoted first out of the accept queue;
// it returns false if there is none. One that is Aborted is consumed all the
// same, and accept(2) fails with ECONNABORTED.
func (l *Listener) Accept() (Conn, bool) { return l.accept.pop() }

// SetOverflow changes what a full queue answers from now on.
func (l *Listener) SetOverflow(o Overflow) { l.overflow = o }

// SetDeferAccept changes Config.DeferAccept from now on; on a platform that has no
// such thing it does nothing.
func (l *Listener) SetDeferAccept(d time.Duration) {
	if l.profile.Socket.DeferAccept != DeferNone {
		l.deferTimes = l.schedule.deferTimeouts(d)
	}
}

// SetSYNCount changes Config.SYNCount from now on.
func (l *Listener) SetSYNCount(n int) { l.cfg.SYNCount = n }

// SetWindow changes Config.Window from now on.
func (l *Listener) SetWindow(bytes uint32) { l.cfg.Window = bytes }

// Overflow returns the policy in force.
func (l *Listener) Overflow() Overflow { return l.overflow }

// SetSysctls changes the settings from now on. As in the kernel, a new somaxconn
// counts only when Listen is called again.
func (l *Listener) SetSysctls(s Sysctls) { l.sysctls = l.profile.governed(s) }

// Profile returns the platform whose rules hold; it must not be changed.
func (l *Listener) Profile() *Profile { return l.profile }

// Backlog returns the number that listen was called with last.
func (l *Listener) Backlog() int { return l.cfg.Backlog }

// Limit returns what became of the backlog; both queues are full when they are
// longer than it.
func (l *Listener) Limit() int { return l.limit }

// AcceptCapacity returns how many connections can wait for accept at most, however
// they arrive; -1 stands for unlimited. Where the room at a SYN is less, fewer
// complete one after the other.
func (l *Listener) AcceptCapacity() int {
	if l.profile.AcceptQueue.Counts == CountHalfOpen || l.room.atACK == unlimited {
		return shown(min(l.room.atSYN, l.room.atACK))
	}
	return l.room.atACK
}

// SYNCapacity returns how many requests fit into the SYN queue; -1 stands for
// unlimited. Where they count in the accept queue, it is that which fills up.
func (l *Listener) SYNCapacity() int { return shown(l.room.requests) }

func shown(capacity int) int {
	if capacity == unlimited {
		return -1
	}
	return capacity
}

// SYNQueueLen returns the number of requests.
func (l *Listener) SYNQueueLen() int { return l.syn.len() }

// AcceptQueueLen returns the number of connections that wait for accept.
func (l *Listener) AcceptQueueLen() int { return l.accept.len() }

// Counters returns what the listener has counted so far.
func (l *Listener) Counters() Counters { return l.counters }

// Requests yields the flows in the SYN queue: those with the fewest timeouts
// first and of these the oldest first.
func (l *Listener) Requests() iter.Seq[Flow] {
	return func(yield func(Flow) bool) {
		for i := range l.syn.waits {
			for s := l.syn.waits[i].head; s != none; s = l.syn.at(s).next {
				if !yield(l.syn.at(s).flow) {
					return
				}
			}
		}
	}
}

// Segment decides about a segment that has arrived at the listener: one for a
// flow that it holds a request for, or one that no connection claims.
func (l *Listener) Segment(now time.Duration, seg *Segment) (out Outcome) {
	out.Flow = seg.Flow
	hash := l.flowHash(&seg.Flow)
	r, s := l.syn.find(&seg.Flow, hash.bucket())
	switch {
	case l.closed:
		if r != nil && l.profile.Socket.CloseHalfOpen == CloseLeaves {
			l.removeRequest(s, &out)
		}
		l.reset(seg, ListenerClosed, &out)
	case r != nil:
		l.forRequest(now, r, s, seg, &out)
	default:
		l.forListener(now, seg, hash, &out)
	}
	l.depths(&out)
	return out
}

func (l *Listener) depths(out *Outcome) {
	out.SYNQueue, out.AcceptQueue = l.syn.len(), l.accept.len()
}

// reset answers a segment with the RST of RFC 9293, section 3.10.7.1; a RST gets
// no answer.
func (l *Listener) reset(seg *Segment, why Reason, out *Outcome) {
	if seg.Flags.Has(RST) {
		out.decide(Drop, why)
		return
	}
	l.counters.OutRsts++
	out.decide(SendRST, why)
	if seg.Flags.Has(ACK) {
		out.Seq = seg.Ack
	} else {
		out.RSTACK = true
		out.Ack = seg.End()
	}
}

// tsOffset is the timestamp offset for a pair of addresses.
func (l *Listener) tsOffset(f *Flow) uint32 {
	a := f.addresses()
	return uint32(l.tsKey.sum(a[:]...))
}

// milliseconds is the clock of the timestamp option.
func milliseconds(now time.Duration) uint32 { return uint32(now / time.Millisecond) }
