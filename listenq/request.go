package listenq

import "time"

// forRequest decides about a segment for a request, in the order of Linux
// tcp_check_req. It leaves a segment with a wrong acknowledgment number to the
// listener, where it may still be a cookie's.
func (l *Listener) forRequest(now time.Duration, r *request, s slot, seg *Segment) (out Outcome, decided bool) {
	next := r.irs + 1
	oldTimestamp := l.pawsReject(r, seg)

	if seg.Seq == r.irs && seg.Flags&(SYN|RST|ACK) == SYN && !oldTimestamp {
		if l.rateLimited(now, r, seg) {
			l.counters.TCPACKSkippedSynRecv++
			return l.outcome(Drop, RateLimited, seg.Flow), true
		}
		l.syn.disarm(s)
		l.syn.arm(s, now+rto(r.timeouts))
		return l.repeatSYNACK(now, r, DuplicateSYN), true
	}

	badEcho := r.timestamps && seg.Options.Timestamps && seg.Options.TSEcr != 0 &&
		(before(seg.Options.TSEcr, r.tsFirst) || before(r.tsLast, seg.Options.TSEcr))
	acceptable := !oldTimestamp && !badEcho && inWindow(seg.Seq, seg.end(), next, next+min(l.cfg.Window, 65535))

	if seg.Flags.Has(RST) {
		return l.rstForRequest(now, r, s, seg, acceptable), true
	}
	if seg.Flags.Has(ACK) && seg.Ack != r.iss+1 {
		return Outcome{}, false
	}
	if !acceptable {
		switch {
		case oldTimestamp:
			l.counters.PAWSEstab++
		case badEcho:
			l.counters.TSEcrRejected++
		}
		if l.rateLimited(now, r, seg) {
			l.counters.TCPACKSkippedSynRecv++
			return l.outcome(Drop, RateLimited, seg.Flow), true
		}
		return l.ackRequest(now, r, OutOfWindow), true
	}
	if seg.Options.Timestamps && r.timestamps && !before(next, seg.Seq) {
		r.tsRecent = seg.Options.TSVal
	}
	// A SYN at the initial sequence number lies left of the window and is cut
	// off; what is left of the segment counts.
	if seg.Flags.Has(SYN) && seg.Seq != r.irs {
		l.counters.AttemptFails++
		l.counters.EmbryonicRsts++
		l.syn.remove(s)
		out := l.reset(seg, SYNInWindow)
		out.Removed = true
		return out, true
	}
	if !seg.Flags.Has(ACK) {
		return l.outcome(Drop, NoACKFlag, seg.Flow), true
	}
	if r.timeouts < l.deferTimes && seg.end() == next {
		r.acked = true
		l.counters.TCPDeferAcceptDrop++
		return l.outcome(Drop, DeferAccept, seg.Flow), true
	}
	if l.acceptQueueFull() {
		return l.overflowFinalACK(r, s, seg), true
	}
	h := l.handshake(now, r)
	l.syn.remove(s)
	return l.promote(seg.Flow, h, FinalACK), true
}

// overflowFinalACK is the final ACK that finds the accept queue full
// (tcp_v4_syn_recv_sock, and listen_overflow in tcp_check_req).
func (l *Listener) overflowFinalACK(r *request, s slot, seg *Segment) Outcome {
	l.counters.ListenOverflows++
	l.counters.ListenDrops++
	if !l.overflow.ResetFinalACK && !l.sysctls.AbortOnOverflow {
		r.acked = true
		return l.outcome(Drop, AcceptQueueFull, seg.Flow)
	}
	l.counters.EmbryonicRsts++
	l.syn.remove(s)
	out := l.reset(seg, AcceptQueueFull)
	out.Removed = true
	return out
}

// rstForRequest removes the request only for a RST at exactly the next sequence
// number; elsewhere in the window it draws a challenge ACK. The acknowledgment
// number does not count. Kernels before 6.18.44 remove the request for every
// RST in the window.
func (l *Listener) rstForRequest(now time.Duration, r *request, s slot, seg *Segment, acceptable bool) Outcome {
	switch {
	case acceptable && seg.Seq == r.irs+1:
		l.counters.AttemptFails++
		l.counters.EmbryonicRsts++
		l.syn.remove(s)
		out := l.outcome(Drop, RSTExact, seg.Flow)
		out.Removed = true
		return out
	case acceptable && l.rateLimited(now, r, seg):
		return l.outcome(Drop, RateLimited, seg.Flow)
	case acceptable:
		l.counters.TCPChallengeACK++
		return l.ackRequest(now, r, RSTInWindow)
	}
	return l.outcome(Drop, RSTIgnored, seg.Flow)
}

// ackRequest is the ACK that tells a client where the request stands.
func (l *Listener) ackRequest(now time.Duration, r *request, why Reason) Outcome {
	out := l.outcome(SendACK, why, r.flow)
	out.Seq, out.Ack = r.iss+1, r.irs+1
	out.Handshake = l.handshake(now, r)
	return out
}

// repeatSYNACK is a SYN-ACK that counts as a retransmission.
func (l *Listener) repeatSYNACK(now time.Duration, r *request, why Reason) Outcome {
	l.counters.TCPSynRetrans++
	l.counters.RetransSegs++
	return l.synack(now, r, why)
}

// rateLimited reports whether an answer must be left out because the last one
// was sent less than tcp_invalid_ratelimit ago. Data is never limited
// (tcp_oow_rate_limited).
func (l *Listener) rateLimited(now time.Duration, r *request, seg *Segment) bool {
	if seg.Seq != seg.end() && !seg.Flags.Has(SYN) {
		return false
	}
	if r.answered && now-r.lastAnswer < l.sysctls.InvalidRatelimit {
		return true
	}
	r.answered, r.lastAnswer = true, now
	return false
}

// pawsReject reports whether the timestamp is older than the client's latest one
// (RFC 7323, section 5.3; tcp_paws_reject).
func (l *Listener) pawsReject(r *request, seg *Segment) bool {
	return r.timestamps && seg.Options.Timestamps && r.tsRecent != 0 && before(seg.Options.TSVal, r.tsRecent)
}
