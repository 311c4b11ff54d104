package listenq

import (
	"math"
	"time"
)

// What Linux compiles in (include/net/tcp.h, 6.18).
const (
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

// linux6 is Linux 6.18, whose rules were all measured.
func linux6() *Profile {
	return &Profile{
		Name:  "linux-6",
		Title: "Linux 6.18",
		Backlog: BacklogRules{
			Negative: TakeMaximum,
			Zero:     TakeZero,
			Maximum:  4096,
			Setting:  "net.core.somaxconn",
		},
		AcceptQueue: AcceptQueueRules{
			Counts:         CountQueued,
			AtSYN:          Formula{Times: 1, Plus: 1},
			AtACK:          Formula{Times: 1, Plus: 1},
			FullSYN:        SYNDropped,
			FullACK:        ACKIgnored,
			FullACKSetting: "net.ipv4.tcp_abort_on_overflow",
		},
		SYNQueue: SYNQueueRules{
			Capacity:    Formula{Times: 1, Plus: 1},
			Full:        SYNGetsCookie,
			LastQuarter: true,
			Shed:        ShedAboveHalf,
		},
		SYNACK: SYNACKRules{
			Waits: []time.Duration{
				1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
				16 * time.Second, 32 * time.Second, 64 * time.Second, 120 * time.Second,
			},
			Retries: 5,
			Setting: "net.ipv4.tcp_synack_retries",
		},
		HalfOpen: HalfOpenRules{
			DuplicateSYN:   AnswerSYNACK,
			DuplicateTimer: TimerRestarts,
			SYNBelow:       AnswerACK,
			SYNInside:      AnswerRSTClose,
			SYNBeyond:      AnswerACK,
			RSTRemoves:     RSTAtNext,
			RSTInWindow:    AnswerACK,
			BadACK:         AnswerRST,
			OutOfWindow:    AnswerACK,
			RateLimit:      500 * time.Millisecond,
			Setting:        "net.ipv4.tcp_invalid_ratelimit",
		},
		Cookies: CookieRules{
			Use:      CookiesWhenFull,
			Setting:  "net.ipv4.tcp_syncookies",
			Options:  CookieKeepsStamped,
			Period:   60 * time.Second,
			Periods:  2,
			Remember: 120 * time.Second,
			FullACK:  ACKIgnored,
		},
		Socket: SocketRules{
			QueuedReset:   ResetKept,
			ListenAgain:   AgainNewLimit,
			CloseHalfOpen: CloseLeaves,
			DeferAccept:   DeferTimeouts,
		},
		Tools: Tools{
			Queues:    "ss -ltn: Recv-Q queued, Send-Q limit",
			Overflows: "ListenOverflows",
			Drops:     "ListenDrops",
			Cookies:   "SyncookiesSent",
		},
	}
}

// Limit returns what listen(2) of Linux makes of a backlog; see Profile.Limit for
// other platforms. A queue is full when it is longer than the limit, hence limit+1
// connections complete, and limit+1 requests are kept (sk_acceptq_is_full,
// inet_csk_reqsk_queue_is_full).
func Limit(backlog, somaxconn int) int {
	limit, err := defaultProfile.Limit(backlog, max(somaxconn, 0))
	if err != nil {
		panic(err) // Linux refuses no backlog
	}
	return limit
}
