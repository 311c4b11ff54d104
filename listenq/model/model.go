// Package model is the listen queue a second time, as plainly as it can be
// written: slices, linear scans, one function per rule of Linux. It shares types
// with listenq and nothing else, so that the two disagree wherever one of them is
// wrong.
//
//	p := model.NewPair(cfg)
//	out, err := p.Segment(now, &seg) // err: listenq and the model disagree
//
// A Queue cannot know keyed hashes. It takes initial sequence numbers, timestamp
// offsets and connection numbers from the outcome that listenq gave for the same
// call, and holds listenq to them from then on.
//
// Nothing here is safe for concurrent use.
package model

import (
	"slices"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Queue is the model of one listening socket.
type Queue struct {
	Counters listenq.Counters

	sysctls  listenq.Sysctls
	overflow listenq.Overflow
	window   uint32
	syncnt   int
	k        int // SYN-ACK timeouts that TCP_DEFER_ACCEPT waits
	limit    int
	closed   bool

	half    []*halfOpen
	queued  []listenq.Conn
	cookies []cookie
	// overflowed says that a cookie was sent since the socket began to listen.
	overflowed bool
	armed      int // counts timers, to tell which was armed last
}

type halfOpen struct {
	flow       listenq.Flow
	irs, iss   uint32
	peer       listenq.Options
	tsOffset   uint32
	tsSent     []uint32      // timestamps of the SYN-ACKs
	sent       time.Duration // the first of them
	timeouts   int
	acked      bool
	deadline   time.Duration
	armed      int
	lastAnswer *time.Duration
}

type cookie struct {
	flow     listenq.Flow
	irs, iss uint32
	tsOffset uint32
	mss      int // index
	sent     time.Duration
}

// New returns the model of a listener that was made with cfg.
func New(cfg listenq.Config) *Queue {
	q := &Queue{
		sysctls:  listenq.DefaultSysctls(),
		overflow: cfg.Overflow,
		window:   cfg.Window,
		syncnt:   cfg.SYNCount,
	}
	if cfg.Sysctls != nil {
		q.sysctls = *cfg.Sysctls
	}
	// 1 s is one timeout, 2 and 3 s are two, 4 to 7 s three.
	for total, next := time.Duration(0), time.Second; total < cfg.DeferAccept && q.k < 255; q.k++ {
		total += next
		next = min(2*next, 120*time.Second)
	}
	q.Listen(cfg.Backlog)
	return q
}

// Listen is listen(2), at first and again (2.1, 2.8).
func (q *Queue) Listen(backlog int) {
	q.limit = backlog
	if backlog < 0 || backlog > q.sysctls.Somaxconn {
		q.limit = q.sysctls.Somaxconn
	}
	q.closed = false
}

// Close is close(2) or shutdown(2) for reading (2.8).
func (q *Queue) Close() []listenq.Conn {
	queued := q.queued
	q.queued = nil
	q.overflowed = false
	q.closed = true
	return queued
}

// Accept is accept(2) (2.2).
func (q *Queue) Accept() (listenq.Conn, bool) {
	if len(q.queued) == 0 {
		return listenq.Conn{}, false
	}
	c := q.queued[0]
	q.queued = q.queued[1:]
	return c, true
}

// SetOverflow changes what a full queue answers.
func (q *Queue) SetOverflow(o listenq.Overflow) { q.overflow = o }

// SetSysctls changes the settings.
func (q *Queue) SetSysctls(s listenq.Sysctls) { q.sysctls = s }

// Segment returns what listenq should have answered; seen is what it did answer.
func (q *Queue) Segment(now time.Duration, seg *listenq.Segment, seen listenq.Outcome) listenq.Outcome {
	out := listenq.Outcome{Flow: seg.Flow}
	q.segment(now, seg, seen, &out)
	out.SYNQueue, out.AcceptQueue = len(q.half), len(q.queued)
	return out
}

func (q *Queue) segment(now time.Duration, seg *listenq.Segment, seen listenq.Outcome, out *listenq.Outcome) {
	i := slices.IndexFunc(q.half, func(h *halfOpen) bool { return h.flow == seg.Flow })
	if q.closed {
		if i >= 0 {
			q.drop(i, out)
		}
		q.rst(seg, listenq.ListenerClosed, out)
		return
	}
	if i >= 0 {
		q.halfOpenSegment(now, i, seg, seen, out)
		return
	}
	flags := seg.Flags & (listenq.FIN | listenq.SYN | listenq.RST | listenq.ACK)
	switch {
	case flags.Has(listenq.RST):
		say(out, listenq.Drop, listenq.RSTIgnored)
	case flags.Has(listenq.ACK):
		q.strangeACK(now, seg, listenq.NoRequest, seen, out)
	case flags == listenq.SYN:
		q.syn(now, seg, seen, out)
	default:
		say(out, listenq.Drop, listenq.NotASYN)
	}
}

func (q *Queue) strangeACK(now time.Duration, seg *listenq.Segment, why listenq.Reason, seen listenq.Outcome, out *listenq.Outcome) {
	if !seg.Flags.Has(listenq.SYN) && q.cookieACK(now, seg, seen, out) {
		return
	}
	q.rst(seg, why, out)
}

// syn is 2.3, its tests in their order.
func (q *Queue) syn(now time.Duration, seg *listenq.Segment, seen listenq.Outcome, out *listenq.Outcome) {
	withCookie := false
	if !seg.TimeWait && (len(q.half) >= q.limit+1 || q.sysctls.Syncookies == 2) {
		if q.sysctls.Syncookies == 0 {
			q.Counters.TCPReqQFullDrop++
			q.refuse(seg, listenq.SYNQueueFull, out)
			return
		}
		q.Counters.TCPReqQFullDoCookies++
		withCookie = true
	}
	if len(q.queued) >= q.limit+1 {
		q.Counters.ListenOverflows++
		q.refuse(seg, listenq.AcceptQueueFull, out)
		return
	}
	peer := q.agree(seg.Options)
	if withCookie {
		q.sendCookie(now, seg, peer, seen, out)
		return
	}
	if q.sysctls.Syncookies == 0 && !seg.TimeWait && !seg.Proven {
		room := q.sysctls.MaxSYNBacklog - len(q.half)
		if room < q.sysctls.MaxSYNBacklog/4 {
			q.refuse(seg, listenq.LastQuarter, out)
			return
		}
	}
	h := &halfOpen{
		flow:     seg.Flow,
		irs:      seg.Seq,
		iss:      seen.Seq,
		peer:     peer,
		tsOffset: seen.Handshake.TSOffset,
	}
	q.half = append(q.half, h)
	q.arm(h, now)
	q.synack(now, h, listenq.NewRequest, out)
}

func (q *Queue) refuse(seg *listenq.Segment, why listenq.Reason, out *listenq.Outcome) {
	q.Counters.ListenDrops++
	if q.overflow.ResetSYN {
		q.rst(seg, why, out)
		return
	}
	say(out, listenq.Drop, why)
}

func (q *Queue) agree(offered listenq.Options) listenq.Options {
	agreed := listenq.Options{MSS: 536}
	if offered.MSS > 0 {
		agreed.MSS = offered.MSS
	}
	if offered.WindowScaling && q.sysctls.WindowScaling {
		agreed.WindowScaling = true
		agreed.WindowScale = min(offered.WindowScale, 14)
	}
	if offered.SACKPermitted && q.sysctls.SACK {
		agreed.SACKPermitted = true
	}
	if offered.Timestamps && q.sysctls.Timestamps {
		agreed.Timestamps = true
		agreed.TSVal = offered.TSVal
	}
	return agreed
}

func (q *Queue) synack(now time.Duration, h *halfOpen, why listenq.Reason, out *listenq.Outcome) {
	say(out, listenq.SendSYNACK, why)
	out.Seq, out.Ack = h.iss, h.irs+1
	out.Timeouts = h.timeouts
	out.Handshake = h.handshake(now)
	if len(h.tsSent) == 0 {
		h.sent = now
	}
	h.tsSent = append(h.tsSent, out.Handshake.TSVal)
}

func (h *halfOpen) handshake(now time.Duration) listenq.Handshake {
	return listenq.Handshake{
		IRS:      h.irs,
		ISS:      h.iss,
		Peer:     h.peer,
		TSVal:    h.tsOffset + uint32(now.Milliseconds()),
		TSOffset: h.tsOffset,
	}
}

func mssTable(f listenq.Flow) []uint16 {
	if f.Remote().Addr().Is4() {
		return []uint16{536, 1300, 1440, 1460}
	}
	return []uint16{1220, 1420, 1440, 8940}
}

// sendCookie is the first part of 2.4.
func (q *Queue) sendCookie(now time.Duration, seg *listenq.Segment, peer listenq.Options, seen listenq.Outcome, out *listenq.Outcome) {
	q.Counters.SyncookiesSent++
	q.overflowed = true
	if !peer.Timestamps {
		peer = listenq.Options{MSS: peer.MSS}
	}
	index := 0
	for i, mss := range mssTable(seg.Flow) {
		if mss <= peer.MSS {
			index = i
		}
	}
	q.cookies = append(q.cookies, cookie{seg.Flow, seg.Seq, seen.Seq, seen.Handshake.TSOffset, index, now})

	low := uint32(15)
	if peer.WindowScaling {
		low = uint32(peer.WindowScale)
	}
	if peer.SACKPermitted {
		low += 16
	}
	clock := uint32(now.Milliseconds())
	for clock%64 != low {
		clock--
	}
	say(out, listenq.SendCookie, listenq.SYNQueueFullCookie)
	out.Seq, out.Ack = seen.Seq, seg.Seq+1
	out.Handshake = listenq.Handshake{
		IRS:      seg.Seq,
		ISS:      seen.Seq,
		Peer:     peer,
		TSVal:    clock + seen.Handshake.TSOffset,
		TSOffset: seen.Handshake.TSOffset,
	}
}

// cookieACK is the rest of 2.4. A cookie is a sum of the client's number, a
// secret and the index of the segment size, so that its neighbours within the
// table are cookies too.
func (q *Queue) cookieACK(now time.Duration, seg *listenq.Segment, seen listenq.Outcome, out *listenq.Outcome) bool {
	if q.sysctls.Syncookies == 0 || !q.overflowed || now-q.cookies[len(q.cookies)-1].sent > 120*time.Second {
		return false
	}
	mss, offset := -1, uint32(0)
	for _, c := range q.cookies {
		shift := int32(seg.Ack-1-c.iss) - int32(seg.Seq-1-c.irs)
		periods := int(now/time.Minute) - int(c.sent/time.Minute)
		if c.flow == seg.Flow && periods <= 1 && shift >= -3 && shift <= 3 {
			if i := c.mss + int(shift); i >= 0 && i <= 3 {
				mss, offset = i, c.tsOffset
			}
		}
	}
	if mss < 0 {
		q.Counters.SyncookiesFailed++
		return false
	}
	q.Counters.SyncookiesRecv++
	peer := listenq.Options{MSS: mssTable(seg.Flow)[mss]}
	if seg.Options.Timestamps && q.sysctls.Timestamps {
		low := seg.Options.TSEcr % 64
		if seg.Options.TSEcr != 0 {
			low = (seg.Options.TSEcr - offset) % 64
		}
		peer.Timestamps = true
		peer.TSVal = seg.Options.TSVal
		peer.SACKPermitted = low/16%2 == 1
		if low%16 != 15 {
			peer.WindowScaling = true
			peer.WindowScale = uint8(min(low%16, 14))
		}
		allowed := q.sysctls
		if peer.SACKPermitted && !allowed.SACK || peer.WindowScaling && !allowed.WindowScaling {
			return false
		}
	}
	if len(q.queued) >= q.limit+1 {
		q.Counters.ListenOverflows++
		q.Counters.ListenDrops++
		say(out, listenq.Drop, listenq.AcceptQueueFull)
		return true
	}
	out.Handshake = listenq.Handshake{
		IRS:      seg.Seq - 1,
		ISS:      seg.Ack - 1,
		Peer:     peer,
		TSVal:    uint32(now.Milliseconds()) + offset,
		TSOffset: offset,
	}
	if peer.Timestamps {
		out.Handshake.RTT = echoRTT(out.Handshake.TSVal, seg.Options.TSEcr)
	}
	q.complete(listenq.ValidCookie, seen, out)
	return true
}

func (q *Queue) complete(why listenq.Reason, seen listenq.Outcome, out *listenq.Outcome) {
	q.Counters.PassiveOpens++
	say(out, listenq.Promote, why)
	out.Conn = seen.Conn
	q.queued = append(q.queued, listenq.Conn{ID: seen.Conn, Flow: out.Flow})
}

// halfOpenSegment is 2.5.
func (q *Queue) halfOpenSegment(now time.Duration, i int, seg *listenq.Segment, seen listenq.Outcome, out *listenq.Outcome) {
	h := q.half[i]
	flags := seg.Flags & (listenq.SYN | listenq.RST | listenq.ACK)
	size := uint32(seg.Len)
	if seg.Flags.Has(listenq.SYN) {
		size++
	}
	if seg.Flags.Has(listenq.FIN) {
		size++
	}
	stamped := h.peer.Timestamps && seg.Options.Timestamps
	old := stamped && h.peer.TSVal != 0 && int32(seg.Options.TSVal-h.peer.TSVal) < 0

	if flags == listenq.SYN && seg.Seq == h.irs && !old {
		if q.limited(now, h, seg, size) {
			q.Counters.TCPACKSkippedSynRecv++
			say(out, listenq.Drop, listenq.RateLimited)
			return
		}
		q.arm(h, now)
		q.Counters.TCPSynRetrans++
		q.Counters.RetransSegs++
		q.synack(now, h, listenq.DuplicateSYN, out)
		return
	}

	badEcho := false
	if stamped && seg.Options.TSEcr != 0 {
		first, last := h.tsSent[0], h.tsSent[len(h.tsSent)-1]
		badEcho = int32(seg.Options.TSEcr-first) < 0 || int32(last-seg.Options.TSEcr) < 0
	}
	// Offsets from the left edge of the window, as signed numbers.
	left := int64(int32(seg.Seq - h.irs - 1))
	right := left + int64(size)
	width := min(int64(q.window), 65535)
	inside := left == 0 || right > 0 && left < width || size == 0 && left == width
	good := inside && !old && !badEcho

	if flags.Has(listenq.RST) {
		switch {
		case !good:
			say(out, listenq.Drop, listenq.RSTIgnored)
		case left == 0:
			q.Counters.AttemptFails++
			q.Counters.EmbryonicRsts++
			q.drop(i, out)
			say(out, listenq.Drop, listenq.RSTExact)
		case q.limited(now, h, seg, size):
			say(out, listenq.Drop, listenq.RateLimited)
		default:
			q.Counters.TCPChallengeACK++
			h.ack(now, listenq.RSTInWindow, out)
		}
		return
	}
	if flags.Has(listenq.ACK) && seg.Ack != h.iss+1 {
		q.strangeACK(now, seg, listenq.BadACK, seen, out)
		return
	}
	if !good {
		if old {
			q.Counters.PAWSEstab++
		} else if badEcho {
			q.Counters.TSEcrRejected++
		}
		if q.limited(now, h, seg, size) {
			q.Counters.TCPACKSkippedSynRecv++
			say(out, listenq.Drop, listenq.RateLimited)
		} else {
			h.ack(now, listenq.OutOfWindow, out)
		}
		return
	}
	if flags.Has(listenq.SYN) && seg.Seq != h.irs {
		q.Counters.EmbryonicRsts++
		q.Counters.AttemptFails++
		q.drop(i, out)
		q.rst(seg, listenq.SYNInWindow, out)
		return
	}
	if !flags.Has(listenq.ACK) {
		say(out, listenq.Drop, listenq.NoACKFlag)
		return
	}
	// A bare ACK ends where the window starts.
	if h.timeouts < q.k && right == 0 {
		h.acked = true
		q.Counters.TCPDeferAcceptDrop++
		say(out, listenq.Drop, listenq.DeferAccept)
		return
	}
	if len(q.queued) >= q.limit+1 {
		q.Counters.ListenOverflows++
		q.Counters.ListenDrops++
		if q.sysctls.AbortOnOverflow || q.overflow.ResetFinalACK {
			q.Counters.EmbryonicRsts++
			q.drop(i, out)
			q.rst(seg, listenq.AcceptQueueFull, out)
		} else {
			h.acked = true
			say(out, listenq.Drop, listenq.AcceptQueueFull)
		}
		return
	}
	out.Handshake = h.handshake(now)
	repeats := len(h.tsSent) - 1
	if repeats == 0 {
		out.Handshake.RTT = max(now-h.sent, time.Nanosecond)
	} else if stamped {
		out.Handshake.RTT = echoRTT(out.Handshake.TSVal, seg.Options.TSEcr)
	}
	if repeats >= 2 && h.timeouts >= 1 {
		out.Handshake.Lossy = !stamped || seg.Options.TSEcr != h.tsSent[0]
	}
	if stamped && left <= 0 {
		out.Handshake.Peer.TSVal = seg.Options.TSVal
	}
	q.half = slices.Delete(q.half, i, i+1)
	q.complete(listenq.FinalACK, seen, out)
}

func (h *halfOpen) ack(now time.Duration, why listenq.Reason, out *listenq.Outcome) {
	say(out, listenq.SendACK, why)
	out.Seq, out.Ack = h.iss+1, h.irs+1
	out.Handshake = h.handshake(now)
}

// echoRTT is the round trip that an echoed timestamp tells.
func echoRTT(now, echo uint32) time.Duration {
	ms := time.Duration(now-echo) * time.Millisecond
	switch {
	case echo == 0 || ms >= 2147483*time.Millisecond:
		return 0
	case ms == 0:
		return time.Millisecond
	}
	return ms
}

// limited is the one answer per tcp_invalid_ratelimit; data is never limited.
func (q *Queue) limited(now time.Duration, h *halfOpen, seg *listenq.Segment, size uint32) bool {
	if size > 0 && !seg.Flags.Has(listenq.SYN) {
		return false
	}
	if h.lastAnswer != nil && now < *h.lastAnswer+q.sysctls.InvalidRatelimit {
		return true
	}
	h.lastAnswer = &now
	return false
}

func (q *Queue) drop(i int, out *listenq.Outcome) {
	q.half = slices.Delete(q.half, i, i+1)
	out.Removed = true
}

// rst is 2.9, for segments without an entry.
func (q *Queue) rst(seg *listenq.Segment, why listenq.Reason, out *listenq.Outcome) {
	switch {
	case seg.Flags.Has(listenq.RST):
		say(out, listenq.Drop, why)
		return
	case seg.Flags.Has(listenq.ACK):
		out.Seq = seg.Ack
	default:
		out.RSTACK = true
		out.Ack = seg.Seq + uint32(seg.Len)
		if seg.Flags.Has(listenq.SYN) {
			out.Ack++
		}
		if seg.Flags.Has(listenq.FIN) {
			out.Ack++
		}
	}
	q.Counters.OutRsts++
	say(out, listenq.SendRST, why)
}

func (q *Queue) arm(h *halfOpen, now time.Duration) {
	wait := time.Second
	for range h.timeouts {
		wait = min(2*wait, 120*time.Second)
	}
	h.deadline = now + wait
	q.armed++
	h.armed = q.armed
}

// NextTimeout returns the earliest deadline.
func (q *Queue) NextTimeout() (time.Duration, bool) {
	if i := q.due(); i >= 0 {
		return q.half[i].deadline, true
	}
	return 0, false
}

// due returns the entry whose timer fires next: of those with the same deadline
// the one armed last (2.6).
func (q *Queue) due() int {
	first := -1
	for i, h := range q.half {
		if first < 0 || h.deadline < q.half[first].deadline ||
			h.deadline == q.half[first].deadline && h.armed > q.half[first].armed {
			first = i
		}
	}
	return first
}

// Advance fires all timers up to now (2.6).
func (q *Queue) Advance(now time.Duration) (outs []listenq.Outcome) {
	for i := q.due(); i >= 0 && q.half[i].deadline <= now; i = q.due() {
		out := listenq.Outcome{Flow: q.half[i].flow}
		q.timeout(i, &out)
		out.SYNQueue, out.AcceptQueue = len(q.half), len(q.queued)
		outs = append(outs, out)
	}
	return outs
}

func (q *Queue) timeout(i int, out *listenq.Outcome) {
	h := q.half[i]
	out.Timeouts = h.timeouts
	if q.closed {
		q.drop(i, out)
		say(out, listenq.Expire, listenq.ListenerClosed)
		return
	}
	q.Counters.TCPTimeouts++

	configured := q.sysctls.SYNACKRetries
	if q.syncnt > 0 {
		configured = q.syncnt
	}
	permitted := q.permitted(configured)
	last := permitted
	if q.k > 0 && h.acked {
		last = max(last, q.k)
	}
	if h.timeouts >= last {
		q.drop(i, out)
		why := listenq.RetriesExhausted
		if permitted < configured {
			why = listenq.OldRequestShed
		}
		say(out, listenq.Expire, why)
		return
	}
	silent := q.k > 0 && h.acked && h.timeouts+1 < q.k
	at := h.deadline
	h.timeouts++
	out.Timeouts = h.timeouts
	q.arm(h, at)
	if silent {
		say(out, listenq.Drop, listenq.DeferAcceptWait)
		return
	}
	q.Counters.TCPSynRetrans++
	q.Counters.RetransSegs++
	q.synack(at, h, listenq.RetransmitTimeout, out)
}

// permitted is the ageing of young and old entries in 2.6.
func (q *Queue) permitted(retries int) int {
	if 2*len(q.half) <= max(8, q.limit) {
		return retries
	}
	young := 0
	for _, h := range q.half {
		if h.timeouts == 0 {
			young++
		}
	}
	for factor := 2; retries > 2 && len(q.half) >= factor*young; factor *= 2 {
		retries--
	}
	return retries
}

func say(out *listenq.Outcome, v listenq.Verdict, why listenq.Reason) {
	out.Verdict, out.Reason = v, why
}
