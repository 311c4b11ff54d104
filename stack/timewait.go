package stack

import (
	"math"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
)

const (
	// timeWaitLength is how long TIME-WAIT lasts (TCP_TIMEWAIT_LEN).
	timeWaitLength = 60 * time.Second
	// pawsMSL is how long the last timestamp counts against a RST
	// (TCP_PAWS_MSL).
	pawsMSL = 60 * time.Second
	// twKilled is up to when a time in FIN-WAIT-2 counts as TWKilled
	// (__inet_twsk_schedule).
	twKilled = 4 * time.Second
	// timeWaitReuse is how old TIME-WAIT must be before connect(2) may replace
	// it (net.ipv4.tcp_tw_reuse_delay, 1 s).
	timeWaitReuse = time.Second
)

// A timeWait is a connection in TIME-WAIT, or in FIN-WAIT-2 without a program that
// could read: what it takes to answer for it when its endpoint has ended (struct
// tcp_timewait_sock).
type timeWait struct {
	flow           listenq.Flow
	finWait2       bool
	sndNxt, rcvNxt uint32
	window         uint32 // told last, in bytes
	scale          uint8  // of window in a header

	timestamps bool
	tsOffset   uint32
	tsRecent   uint32
	tsStamp    time.Duration // when tsRecent was taken over

	entered  time.Duration
	deadline time.Duration
	// lastACK is when a segment out of the window was answered last, if ever.
	lastACK time.Duration
	binding *Binding

	list         *twList
	older, newer *timeWait
}

// twVerdict is what follows from a segment (enum tcp_tw_status).
type twVerdict int

const (
	twIgnore twVerdict = iota
	twACK              // answer with an ACK of the old connection
	twSYN              // a new connection may begin
	twRST              // answer with a RST; it is over
	twKill             // it is over
)

// A twOutcome is what a segment has led to.
type twOutcome struct {
	verdict twVerdict
	restart bool // TIME-WAIT begins anew
	stale   bool // the timestamp is older than the last one
	skipped bool // no ACK, for there was one a moment ago
}

// twRules are the settings that count.
type twRules struct {
	rfc1337   bool          // a RST does not end TIME-WAIT
	rateLimit time.Duration // between two ACKs for segments out of the window
}

// take notes what is known of a connection that comes to TIME-WAIT.
func (w *timeWait) take(g *guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.sndNxt, w.rcvNxt = uint32(g.nxt), uint32(g.told)
	w.window, w.scale = uint32(g.told.Size(g.edge)), g.receiveScale
	w.timestamps = g.stamps
	w.tsRecent, w.tsStamp = g.recent, g.recentAt
}

// segment decides about a segment and notes what it says
// (tcp_timewait_state_process, Linux 6.18).
func (w *timeWait) segment(now time.Duration, seg *listenq.Segment, rules twRules) (out twOutcome) {
	stamped := w.timestamps && seg.Options.Timestamps
	rst := seg.Flags.Has(listenq.RST)
	stale := stamped && w.stale(now, seg.Options.TSVal, rst)
	if w.finWait2 {
		return w.finWait2Segment(now, seg, stale, rules)
	}

	if !stale && seg.Seq == w.rcvNxt && (rst || seg.End() == seg.Seq) {
		if rst && !rules.rfc1337 {
			out.verdict = twKill
			return out
		}
		if stamped {
			w.tsRecent, w.tsStamp = seg.Options.TSVal, now
		}
		out.restart = !rst
		return out
	}
	if renews(seg.Flags) && !stale &&
		(int32(seg.Seq-w.rcvNxt) > 0 || stamped && int32(seg.Options.TSVal-w.tsRecent) > 0) {
		out.verdict = twSYN
		return out
	}
	out.stale = stale
	if rst {
		return out
	}
	// A SYN without ACK may be a client's that begins with an earlier number. It
	// gets its ACK, but no further minute.
	out.restart = stale || seg.Flags.Has(listenq.ACK)
	if out.skipped = w.limited(now, seg, rules.rateLimit); !out.skipped {
		out.verdict = twACK
	}
	return out
}

// finWait2Segment is segment in FIN-WAIT-2.
func (w *timeWait) finWait2Segment(now time.Duration, seg *listenq.Segment, stale bool, rules twRules) (out twOutcome) {
	end := seg.End()
	beyond := int32(end-w.rcvNxt) > 0
	switch f := seg.Flags; {
	case stale, !listenq.InWindow(seg.Seq, end, w.rcvNxt, w.rcvNxt+w.window):
		if out.skipped = w.limited(now, seg, rules.rateLimit); !out.skipped {
			out.verdict = twACK
		}
	case f.Has(listenq.RST):
		out.verdict = twKill
	case f.Has(listenq.SYN) && int32(seg.Seq-w.rcvNxt) >= 0:
		out.verdict = twRST
	case !f.Has(listenq.ACK), !beyond, end == seg.Seq:
	case !f.Has(listenq.FIN), end != w.rcvNxt+1: // data that nobody can read
		out.verdict = twRST
	default:
		w.finWait2, w.rcvNxt, w.entered = false, end, now
		if w.timestamps && seg.Options.Timestamps {
			w.tsRecent, w.tsStamp = seg.Options.TSVal, now
		}
		out.verdict, out.restart = twACK, true
	}
	return out
}

// renews reports whether flags are those of a segment that may end TIME-WAIT in
// favour of a new connection, whatever the listener makes of it.
func renews(f listenq.Flags) bool {
	return f&(listenq.SYN|listenq.ACK|listenq.RST) == listenq.SYN
}

// stale reports whether a timestamp is older than the last one (tcp_paws_reject).
func (w *timeWait) stale(now time.Duration, tsVal uint32, rst bool) bool {
	if int32(tsVal-w.tsRecent) >= 0 || w.tsRecent == 0 {
		return false
	}
	return !rst || now-w.tsStamp < pawsMSL
}

// limited reports whether a segment gets no ACK because another has just got one
// (tcp_oow_rate_limited). Data is never part of a loop of ACKs.
func (w *timeWait) limited(now time.Duration, seg *listenq.Segment, limit time.Duration) bool {
	if seg.End() != seg.Seq && !seg.Flags.Has(listenq.SYN) {
		return false
	}
	if w.lastACK != 0 && now-w.lastACK < limit {
		return true
	}
	w.lastACK = now
	return false
}

// initialSequence is where a connection begins that replaces this one
// (tcp_timewait_state_process).
func (w *timeWait) initialSequence() uint32 {
	const beyond = 65535 + 2
	return max(w.sndNxt+beyond, 1) // 0 stands for none
}

// ack is the ACK that the connection answers with (tcp_v4_timewait_ack).
func (w *timeWait) ack(now time.Duration, options []byte) segmentOut {
	seg := segmentOut{flags: header.TCPFlagAck, seq: w.sndNxt, ack: w.rcvNxt, window: int(min(w.window>>w.scale, math.MaxUint16))}
	if w.timestamps && w.tsRecent != 0 {
		seg.options = timestampOption(options, uint32(now.Milliseconds())+w.tsOffset, w.tsRecent)
	}
	return seg
}

// reusable reports whether connect(2) may replace TIME-WAIT (tcp_twsk_unique): with
// timestamps, from a port that the caller has chosen always, otherwise as
// net.ipv4.tcp_tw_reuse says: 1 everywhere, 2 on loopback, after a second.
func (w *timeWait) reusable(now time.Duration, chosen bool, reuse int) bool {
	if !w.timestamps {
		return false
	}
	if w.finWait2 {
		reuse = 0
	}
	loopback := w.flow.Local().Addr().IsLoopback() || w.flow.Remote().Addr().IsLoopback()
	return chosen || now-w.entered > timeWaitReuse && (reuse == 1 || reuse == 2 && loopback)
}
