package listenq

import (
	"math"
	"time"
)

// waitLevels is how many different waits a schedule can have: on Linux 1, 2,
// 4 ... 64 s and then 120 s for ever.
const waitLevels = 8

func waitLevel(timeouts uint8) int { return min(int(timeouts), waitLevels-1) }

// A schedule is how long a request waits after its SYN-ACK was sent for the first
// time, the second time ... (reqsk_timeout).
type schedule [waitLevels]time.Duration

func newSchedule(waits []time.Duration) (s schedule) {
	for i := range s {
		s[i] = waits[min(i, len(waits)-1)]
	}
	return s
}

func (s *schedule) wait(timeouts uint8) time.Duration { return s[waitLevel(timeouts)] }

// deferTimeouts turns the seconds of TCP_DEFER_ACCEPT into a number of SYN-ACK
// timeouts (secs_to_retrans): on Linux 1 s is 1, 2 and 3 s are 2, 4 to 7 s are 3 ...
func (s *schedule) deferTimeouts(d time.Duration) uint8 {
	if d <= 0 {
		return 0
	}
	var n uint8 = 1
	for period := s.wait(0); d > period && n < math.MaxUint8; n++ {
		period += s.wait(n)
	}
	return n
}

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
	if l.closed && l.profile.Socket.CloseHalfOpen == CloseLeaves {
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
	if r.timeouts >= retries && (l.deferTimes == 0 || !r.seen.has(seenACK) || r.timeouts >= l.deferTimes) {
		why := RetriesExhausted
		if shed {
			why = OldRequestShed
		}
		l.expire(r, s, why, out)
		if l.profile.SYNACK.End == EndReset {
			l.resetRequest(r, why, out)
		}
		return
	}
	resend := l.deferTimes == 0 || !r.seen.has(seenACK) || r.timeouts >= l.deferTimes-1

	if r.timeouts == 0 {
		l.syn.young--
	}
	l.syn.disarm(s)
	r.timeouts++
	l.syn.arm(s, at+l.schedule.wait(r.timeouts))
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
	if 2*length <= l.room.shed {
		return n, false
	}
	for young := 2 * l.syn.young; n > minRetries && length >= young; young *= 2 {
		n--
		shed = true
	}
	return n, shed
}
