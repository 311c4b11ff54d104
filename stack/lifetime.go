package stack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	// rtoMin and rtoMax are TCP_RTO_MIN and TCP_RTO_MAX, which netstack has too.
	rtoMin = 200 * time.Millisecond
	rtoMax = 120 * time.Second
	// aliveRetries is tcp_orphan_retries where that is 0, as long as the timeout has
	// not reached rtoMax.
	aliveRetries = 8
)

// A lifetime says how long a connection waits for a peer that acknowledges nothing,
// or keeps its window shut (Linux 6.18: tcp_write_timeout, tcp_probe_timer). netstack
// counts repetitions, to the end of which a program that has gone would wait for a
// quarter of an hour, and probes a shut window for ever.
//
// It looks at each segment that netstack repeats, and decides then whether the
// connection is over when netstack's timer fires next. The endpoint's lock guards it.
type lifetime struct {
	// orphan says that no program has the connection any more (SOCK_DEAD).
	orphan bool
	// userTimeout is TCP_USER_TIMEOUT; 0 is none.
	userTimeout time.Duration

	// timeouts is how often netstack's timer had fired when it was last looked at.
	timeouts uint64
	// probing says that the window is shut and is probed, una what is acknowledged.
	probing bool
	una     seqnum.Value
	// since is when the first segment was repeated, or the window first probed
	// (retrans_stamp, icsk_probes_tstamp), and last when that was done last; since is
	// 0 if nothing stands still.
	since, last time.Duration
	// probes are all probes (icsk_backoff), unanswered those since something was heard
	// (icsk_probes_out).
	probes, unanswered int
}

// stall says why nothing moves.
type stall uint8

const (
	moving stall = iota
	repeating
	probing
)

// repeats takes note of a segment with data or FIN, or a probe, that netstack sends
// although what it takes of the sequence space was sent before. Both locks are held.
func (g *guard) repeats() {
	l := &g.life
	n := g.ep.Stats().(*tcp.Stats).SendErrors.Timeouts.Value()
	if n == l.timeouts {
		return // loss recovery: a peer that is heard
	}
	l.timeouts = n
	t := sendTimersOf(g.ep)
	now := g.s.now()
	if l.since == 0 || l.una != g.una || l.probing != t.probing {
		l.una, l.since, l.probing = g.una, now, t.probing
		l.probes, l.unanswered = 0, 0
	}
	l.last = now
	g.stalled = repeating
	if l.probing {
		g.stalled = probing
		l.probes++
		l.unanswered++
	}
	g.decide(t)
}

// decide says what netstack's timer, which runs or is about to, will do when it fires:
// end the connection with ETIMEDOUT, and without a RST, or go on. The endpoint is
// locked.
func (g *guard) decide(t sendTimers) {
	*t.userTimeout = 0
	if g.life.since != 0 && g.overAfter(t.rto) {
		*t.userTimeout = 1 // has always passed
	}
}

// overAfter reports whether the connection is over if nothing is heard for another
// rto, which it cuts to TCP_USER_TIMEOUT. The endpoint is locked.
func (g *guard) overAfter(rto *time.Duration) bool {
	l := &g.life
	waited := l.last + *rto - l.since
	if l.userTimeout > 0 { // tcp_clamp_rto_to_user_timeout
		if waited < l.userTimeout {
			return false
		}
		*rto = max(*rto-(waited-l.userTimeout), time.Millisecond)
		return true
	}
	retries := g.s.sysctl(tcpRetries2)
	if l.orphan {
		alive := *rto < rtoMax
		if retries = g.s.sysctl(tcpOrphanRetries); retries == 0 && alive {
			retries = aliveRetries
		}
		if l.probing && !alive && l.probes >= retries {
			return true
		}
	}
	if l.probing {
		return l.unanswered >= retries
	}
	// The kernel's timeout is at least TCP_RTO_MIN and a tick of 4 ms, netstack's
	// TCP_RTO_MIN.
	return waited+waited/50 >= modelTimeout(retries)
}

// modelTimeout is how long a peer may be silent where a segment may be repeated a
// number of times, the first after TCP_RTO_MIN (tcp_model_timeout).
func modelTimeout(retries int) time.Duration {
	const linear = 9 // ilog2(TCP_RTO_MAX / TCP_RTO_MIN)
	if retries <= linear {
		return (2<<retries - 1) * rtoMin
	}
	return (2<<linear-1)*rtoMin + time.Duration(retries-linear)*rtoMax
}

// hears takes note of an acceptable segment; true means that relieve must be called.
// moved says that it acknowledges something new, shut that it leaves the window shut.
// The guard's lock is held.
func (g *guard) hears(moved, shut bool) bool {
	g.keepalives = 0
	was := g.stalled
	if moved || !shut && was == probing {
		g.stalled = moving
	}
	if a := &g.abandoned; moved && a.endpoint != nil && a.finished && g.una == g.nxt {
		a.endpoint.buried()
	}
	return was == probing || was == repeating && moved
}

// relieve gives a connection whose peer is heard its time again.
func (g *guard) relieve() {
	g.ep.LockUser()
	defer g.ep.UnlockUser()
	g.mu.Lock()
	stalled := g.stalled
	g.mu.Unlock()
	l := &g.life
	l.unanswered = 0
	if stalled == moving {
		l.since = 0
	}
	g.decide(sendTimersOf(g.ep))
}

// SetUserTimeout is TCP_USER_TIMEOUT: how long data may go unacknowledged, or a shut
// window unopened, from the first time that it is repeated or probed; 0 leaves it to
// net.ipv4.tcp_retries2.
func (e *Endpoint) SetUserTimeout(d time.Duration) {
	g := guardOf(e.ep)
	e.ep.LockUser()
	defer e.ep.UnlockUser()
	g.life.userTimeout = d
}
