package listenq

import "time"

// NextTimeout returns when Advance is due next; false if nothing is waiting.
func (l *Listener) NextTimeout() (time.Duration, bool) {
	s, ok := l.syn.next()
	if !ok {
		return 0, false
	}
	return l.syn.at(s).deadline, true
}

// Advance fires every SYN-ACK timer that is due, earliest first, and hands what
// follows from each to carryOut. Of timers due at the same moment the one armed
// last fires first, as in the kernel's timer wheel. carryOut must not call the
// Listener.
func (l *Listener) Advance(now time.Duration, carryOut func(Outcome)) {
	for {
		head, ok := l.syn.next()
		if !ok || l.syn.at(head).deadline > now {
			return
		}
		at := l.syn.at(head).deadline
		last := head
		for s := head; s != none && l.syn.at(s).deadline == at; s = l.syn.at(s).next {
			last = s
		}
		for s := last; s != none; {
			prev := l.syn.at(s).prev
			carryOut(l.timeout(at, s))
			s = prev
		}
	}
}

// timeout is Linux reqsk_timer_handler.
func (l *Listener) timeout(at time.Duration, s slot) Outcome {
	r := l.syn.at(s)
	if l.closed {
		return l.expire(r, s, ListenerClosed)
	}
	l.counters.TCPTimeouts++

	retries, shed := l.retries()
	if r.timeouts >= retries && (l.deferTimes == 0 || !r.acked || r.timeouts >= l.deferTimes) {
		if shed {
			return l.expire(r, s, OldRequestShed)
		}
		return l.expire(r, s, RetriesExhausted)
	}
	resend := l.deferTimes == 0 || !r.acked || r.timeouts >= l.deferTimes-1

	if r.timeouts == 0 {
		l.syn.young--
	}
	l.syn.disarm(s)
	r.timeouts++
	l.syn.arm(s, at+rto(r.timeouts))
	if !resend {
		return l.outcome(Drop, DeferAcceptWait, r.flow)
	}
	return l.repeatSYNACK(at, r, RetransmitTimeout)
}

func (l *Listener) expire(r *request, s slot, why Reason) Outcome {
	flow, timeouts := r.flow, int(r.timeouts)
	l.syn.remove(s)
	out := l.outcome(Expire, why, flow)
	out.Removed = true
	out.Timeouts = timeouts
	return out
}

// retries returns how many retransmissions a request gets. While the SYN queue
// is more than half full the number shrinks, the faster the fewer requests are
// young: half of the room is kept for clients that will answer.
func (l *Listener) retries() (n uint8, shed bool) {
	most := l.cfg.SYNCount
	if most == 0 {
		most = l.sysctls.SYNACKRetries
	}
	n = uint8(most)
	length := l.syn.len()
	if 2*length <= max(shedFloor, l.limit) {
		return n, false
	}
	for young := 2 * l.syn.young; n > minRetries && length >= young; young *= 2 {
		n--
		shed = true
	}
	return n, shed
}
