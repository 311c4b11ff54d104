package listenq

import "time"

// longestEcho is the longest round trip that an echoed timestamp is believed to
// tell (tcp_rtt_tsopt_us: INT_MAX microseconds, in milliseconds).
const longestEcho = 2147483

// measure says what a handshake has learned of the path. seg completes it.
func (l *Listener) measure(now time.Duration, r *request, seg *Segment, h *Handshake) {
	stamped := r.timestamps && seg.Options.Timestamps
	switch {
	case r.repeats == 0:
		h.RTT = max(now-l.sent(r), 1)
	case stamped:
		h.RTT = echoed(h.TSVal, seg.Options.TSEcr)
	}
	// An echo of the first timestamp says that nothing was lost
	// (tcp_try_undo_spurious_syn).
	h.Lossy = r.repeats > 1 && r.timeouts > 0 && !(stamped && seg.Options.TSEcr == r.tsFirst)
}

// sent returns when the SYN-ACK of a request left that was never repeated: its
// deadline is all the waits later.
func (l *Listener) sent(r *request) time.Duration {
	at := r.deadline
	for n := range int(r.timeouts) + 1 {
		at -= l.schedule.wait(uint8(n))
	}
	return at
}

// echoed is the round trip that a timestamp tells, at least 1 ms; 0 if it tells
// none (tcp_rtt_tsopt_us).
func echoed(now, echo uint32) time.Duration {
	passed := now - echo
	if echo == 0 || passed >= longestEcho {
		return 0
	}
	return time.Duration(max(passed, 1)) * time.Millisecond
}
