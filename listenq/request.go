package listenq

import (
	"math"
	"time"
)

// forRequest decides about a segment for a request, in the order of Linux
// tcp_check_req.
func (l *Listener) forRequest(now time.Duration, r *request, s slot, seg *Segment, out *Outcome) {
	next := r.irs + 1
	oldTimestamp := r.pawsReject(&seg.Options)

	if seg.Seq == r.irs && seg.Flags&(SYN|RST|ACK) == SYN && !oldTimestamp {
		l.answer(now, r, s, seg, l.profile.HalfOpen.DuplicateSYN, DuplicateSYN, out)
		return
	}

	badEcho := r.echoReject(&seg.Options)
	acceptable := !oldTimestamp && !badEcho && InWindow(seg.Seq, seg.End(), next, next+min(l.cfg.Window, maxWindow))

	if seg.Flags.Has(RST) {
		l.rstForRequest(now, r, s, seg, acceptable, out)
		return
	}
	if seg.Flags.Has(ACK) && seg.Ack != r.iss+1 {
		if seg.Flags.Has(SYN) || !l.cookieACK(now, seg, out) {
			l.answer(now, r, s, seg, l.profile.HalfOpen.BadACK, BadACK, out)
		}
		return
	}
	if !acceptable {
		switch {
		case oldTimestamp:
			l.counters.PAWSEstab++
		case badEcho:
			l.counters.TSEcrRejected++
		}
		l.answer(now, r, s, seg, l.profile.HalfOpen.outside(seg, next), OutOfWindow, out)
		return
	}
	// A SYN at the initial sequence number lies left of the window and is cut
	// off; what is left of the segment counts.
	if seg.Flags.Has(SYN) && seg.Seq != r.irs {
		l.answer(now, r, s, seg, l.profile.HalfOpen.SYNInside, SYNInWindow, out)
		return
	}
	if !seg.Flags.Has(ACK) {
		out.decide(Drop, NoACKFlag)
		return
	}
	if r.timeouts < l.deferTimes && seg.End() == next {
		r.seen |= seenACK
		l.counters.TCPDeferAcceptDrop++
		out.decide(Drop, DeferAccept)
		return
	}
	if l.noRoomForACK() {
		l.overflowFinalACK(r, s, seg, out)
		return
	}
	l.handshake(now, r, &out.Handshake)
	l.measure(now, r, seg, &out.Handshake)
	if r.timestamps && seg.Options.Timestamps && !before(next, seg.Seq) {
		out.Handshake.Peer.TSVal = seg.Options.TSVal
	}
	l.syn.remove(s)
	l.promote(FinalACK, out)
}

// overflowFinalACK is the final ACK that finds the accept queue full
// (tcp_v4_syn_recv_sock, and listen_overflow in tcp_check_req).
func (l *Listener) overflowFinalACK(r *request, s slot, seg *Segment, out *Outcome) {
	l.counters.ListenOverflows++
	l.counters.ListenDrops++
	switch l.fullACKRule() {
	case ACKIgnored:
		r.seen |= seenACK
		out.decide(Drop, AcceptQueueFull)
	case ACKForgotten:
		l.removeRequest(s, out)
		out.decide(Drop, AcceptQueueFull)
	case ACKReset:
		l.counters.EmbryonicRsts++
		l.removeRequest(s, out)
		l.reset(seg, AcceptQueueFull, out)
	}
}

// fullACKRule is the profile's rule, unless its switch or the listener's own
// policy says otherwise.
func (l *Listener) fullACKRule() ACKRule {
	switch rule := l.profile.AcceptQueue.FullACK; {
	case l.overflow.ResetFinalACK || l.sysctls.AbortOnOverflow:
		return ACKReset
	case rule == ACKReset:
		return ACKForgotten
	default:
		return rule
	}
}

// rearm is what a SYN does to the timer whose answer is the SYN-ACK.
func (l *Listener) rearm(now time.Duration, r *request, s slot) {
	rule := l.profile.HalfOpen.DuplicateTimer
	if rule == TimerGoesOn {
		return
	}
	l.syn.disarm(s)
	if rule == TimerFromZero {
		l.syn.rejuvenate(r)
	}
	l.syn.arm(s, now+l.schedule.wait(r.timeouts))
}

// outside is the answer to a segment that lies outside the window.
func (h *HalfOpenRules) outside(seg *Segment, next uint32) Answer {
	switch {
	case seg.Flags&(SYN|ACK) != SYN:
		return h.OutOfWindow
	case before(seg.Seq, next):
		return h.SYNBelow
	default:
		return h.SYNBeyond
	}
}

// answer is for a segment that does not complete the request.
func (l *Listener) answer(now time.Duration, r *request, s slot, seg *Segment, a Answer, why Reason, out *Outcome) {
	if (a == AnswerACK || a == AnswerSYNACK) && l.rateLimited(now, r, seg) {
		l.counters.TCPACKSkippedSynRecv++
		out.decide(Drop, RateLimited)
		return
	}
	switch a {
	case AnswerNothing:
		out.decide(Drop, why)
	case AnswerACK:
		l.ackRequest(now, r, why, out)
	case AnswerSYNACK:
		if seg.Flags&(SYN|ACK) == SYN {
			l.rearm(now, r, s)
		}
		l.repeatSYNACK(now, r, why, out)
	case AnswerRST:
		l.reset(seg, why, out)
	case AnswerRSTClose:
		l.counters.AttemptFails++
		l.counters.EmbryonicRsts++
		l.removeRequest(s, out)
		l.reset(seg, why, out)
	}
}

// rstForRequest removes the request for a RST at exactly the next sequence
// number; which others do is the platform's. The acknowledgment number does not
// count.
func (l *Listener) rstForRequest(now time.Duration, r *request, s slot, seg *Segment, acceptable bool, out *Outcome) {
	rules := &l.profile.HalfOpen
	switch {
	case acceptable && seg.Seq == r.irs+1,
		rules.RSTRemoves == RSTAtNextOrLess && seg.Seq == r.irs:
		l.killRequest(s, RSTExact, out)
	case acceptable && rules.RSTRemoves == RSTAnywhere:
		l.killRequest(s, RSTInWindow, out)
	case !acceptable || rules.RSTInWindow == AnswerNothing:
		out.decide(Drop, RSTIgnored)
	case l.rateLimited(now, r, seg):
		out.decide(Drop, RateLimited)
	default:
		l.counters.TCPChallengeACK++
		l.ackRequest(now, r, RSTInWindow, out)
	}
}

// killRequest is a RST that ends a request.
func (l *Listener) killRequest(s slot, why Reason, out *Outcome) {
	l.counters.AttemptFails++
	l.counters.EmbryonicRsts++
	l.removeRequest(s, out)
	out.decide(Drop, why)
}

// resetRequest is the RST for a request that the listener itself has ended.
func (l *Listener) resetRequest(r *request, why Reason, out *Outcome) {
	l.counters.OutRsts++
	out.decide(SendRST, why)
	out.Seq, out.Ack, out.RSTACK = r.iss+1, r.irs+1, true
}

// ackRequest is the ACK that tells a client where the request stands.
func (l *Listener) ackRequest(now time.Duration, r *request, why Reason, out *Outcome) {
	out.decide(SendACK, why)
	out.Seq, out.Ack = r.iss+1, r.irs+1
	l.handshake(now, r, &out.Handshake)
}

// repeatSYNACK is a SYN-ACK that counts as a retransmission.
func (l *Listener) repeatSYNACK(now time.Duration, r *request, why Reason, out *Outcome) {
	l.counters.TCPSynRetrans++
	l.counters.RetransSegs++
	r.repeats = min(r.repeats, math.MaxUint8-1) + 1
	l.synack(now, r, why, out)
}

// removeRequest forgets a request that became no connection.
func (l *Listener) removeRequest(s slot, out *Outcome) {
	l.syn.remove(s)
	out.Removed = true
}

// rateLimited reports whether an answer must be left out because the last one
// was sent less than tcp_invalid_ratelimit ago. Data is never limited
// (tcp_oow_rate_limited).
func (l *Listener) rateLimited(now time.Duration, r *request, seg *Segment) bool {
	if seg.Seq != seg.End() && !seg.Flags.Has(SYN) {
		return false
	}
	if now-r.lastAnswer < l.sysctls.InvalidRatelimit {
		return true
	}
	r.lastAnswer = now
	return false
}

// pawsReject reports whether the timestamp is older than the SYN's (RFC 7323,
// section 5.3; tcp_paws_reject).
func (r *request) pawsReject(o *Options) bool {
	return r.timestamps && o.Timestamps && r.tsRecent != 0 && before(o.TSVal, r.tsRecent)
}

// echoReject reports whether the segment echoes a timestamp that no SYN-ACK
// carried; 0 stands for no echo (tsecr_reject in tcp_check_req).
func (r *request) echoReject(o *Options) bool {
	return r.timestamps && o.Timestamps && o.TSEcr != 0 &&
		(before(o.TSEcr, r.tsFirst) || before(r.tsLast, o.TSEcr))
}
