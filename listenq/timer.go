package listenq

import (
	"math"
	"time"
)

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
func (l *Listener) timeout(at time.Duration, s slot) (out Outcome) {
	r := l.syn.at(s)
	out.Flow = r.flow
	if l.closed {
		l.expire(r, s, ListenerClosed, &out)
	} else {
		l.counters.TCPTimeouts++
		l.repeatOrExpire(at, r, s, &out)
	}
	l.depths(&out)
	return out
}

// repeatOrExpire is what syn_ack_recalc and its caller do.
func (l *Listener) repeatOrExpire(at time.Duration, r *request, s slot, out *Outcome) {
	retries, shed := l.retries()
	if r.timeouts >= retries && (l.deferTimes == 0 || !r.acked || r.timeouts >= l.deferTimes) {
		why := RetriesExhausted
		if shed {
			why = OldRequestShed
		}
		l.expire(r, s, why, out)
		return
	}
	resend := l.deferTimes == 0 || !r.acked || r.timeouts >= l.deferTimes-1

	if r.timeouts == 0 {
		l.syn.young--
	}
	l.syn.disarm(s)
	r.timeouts++
	l.syn.arm(s, at+rto(r.timeouts))
	if resend {
		l.repeatSYNACK(at, r, RetransmitTimeout, out)
		return
	}
	out.decide(Drop, DeferAcceptWait)
	out.Timeouts = int(r.timeouts)
}

func (l *Listener) expire(r *request, s slot, why Reason, out *Outcome) {
	out.decide(Expire, why)
	out.Timeouts = int(r.timeouts)
	l.removeRequest(s, out)
}

// retries returns how many retransmissions a request gets. While the SYN queue
// is more than half full the number shrinks, the faster the fewer requests are
// young: half of the room is kept for clients that will answer.
func (l *Listener) retries() (n uint8, shed bool) {
	most := l.cfg.SYNCount
	if most == 0 {
		most = l.sysctls.SYNACKRetries
	}
	n = uint8(min(max(most, 0), math.MaxUint8))
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
