package listenq

import (
	"math"
	"time"
)

// What Linux compiles in (include/net/tcp.h, 6.18).
const (
	initialRTO = 1 * time.Second   // TCP_TIMEOUT_INIT
	maxRTO     = 120 * time.Second // TCP_RTO_MAX
	// rtoLevels is how many different timeouts exist: 1, 2, 4 ... 64 s and
	// then 120 s for ever.
	rtoLevels = 8
	// shedFloor is the least backlog that the shedding of old requests reckons
	// with (reqsk_timer_handler).
	shedFloor = 8
	// minRetries is what shedding leaves to an old request.
	minRetries = 2
	// defaultMSS stands for an absent MSS option (TCP_MSS_DEFAULT).
	defaultMSS = 536
	// maxWindow is the largest window field, hence the largest window of a
	// SYN-ACK, which is never scaled (RFC 7323, section 2.2).
	maxWindow = math.MaxUint16
	// maxWindowScale is the largest shift of RFC 7323, section 2.3.
	maxWindowScale = 14
)

func rtoLevel(timeouts uint8) int { return min(int(timeouts), rtoLevels-1) }

// rto is how long a request waits after its SYN-ACK was sent for the
// (timeouts+1)th time (reqsk_timeout).
func rto(timeouts uint8) time.Duration {
	return min(initialRTO<<rtoLevel(timeouts), maxRTO)
}

// Limit returns what listen(2) makes of a backlog: Linux compares it as an
// unsigned number with somaxconn, so that negative and too large values both
// become somaxconn; 0 stays 0 (__sys_listen_socket).
//
// A queue is full when it is longer than the limit, hence limit+1 connections
// complete, and limit+1 requests are kept (sk_acceptq_is_full,
// inet_csk_reqsk_queue_is_full).
func Limit(backlog, somaxconn int) int {
	if backlog < 0 || backlog > somaxconn {
		return somaxconn
	}
	return backlog
}

// deferTimeouts turns the seconds of TCP_DEFER_ACCEPT into a number of SYN-ACK
// timeouts (secs_to_retrans): 1 s is 1, 2 and 3 s are 2, 4 to 7 s are 3 ...
func deferTimeouts(d time.Duration) uint8 {
	if d <= 0 {
		return 0
	}
	var n uint8 = 1
	for period := initialRTO; d > period && n < math.MaxUint8; n++ {
		period += rto(n)
	}
	return n
}
