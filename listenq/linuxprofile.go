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

// linux6 is Linux 6.18. What is called measured is checked against recordings of
// a live kernel, in testdata/linux.
func linux6() *Profile {
	p := &Profile{
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
		ICMP: ICMPRules{
			IPv4:   kinds("3/0-1 11/0 11/2-255 12"),
			IPv6:   kinds("1/1 1/4-255 4"),
			Errors: 1,
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
	p.cite(citations{
		"backlog":               {Measured, "recordings backlog-*, somaxconn-*; __sys_listen_socket, net/socket.c", ""},
		"accept-queue":          {Measured, "recordings backlog-0 to -5, final-ack-full-*, abort-*; sk_acceptq_is_full, include/net/sock.h", ""},
		"syn-queue":             {Measured, "recordings syn-queue-*, last-quarter*, young-old-*; tcp_conn_request, net/ipv4/tcp_input.c", ""},
		"syn-queue.maximum":     {Measured, "recording last-quarter-cookies-1", "tcp_max_syn_backlog is not the size of the SYN queue"},
		"syn-ack":               {Measured, "recordings synack-*; reqsk_timer_handler, net/ipv4/inet_connection_sock.c", "the kernel's timer wheel is up to 12 % late"},
		"half-open":             {Measured, "recordings duplicate-syn*, syn-other-*, rst-*, bad-ack, ack-out-of-window; tcp_check_req, net/ipv4/tcp_minisocks.c", ""},
		"half-open.rst-removes": {Measured, "recordings rst-half-open, rst-ack-half-open", "the sources of 6.18.24 and 7.1.5 remove for every RST in the window"},
		"icmp":                  {Measured, "recordings icmp-*, icmp6-*; tcp_v4_err, tcp_req_err, net/ipv4/tcp_ipv4.c; icmpv6_err_convert, net/ipv6/icmp.c", ""},
		"cookies":               {Measured, "recordings cookie*, syncookies-2", ""},
		"cookies.period":        {FromSource, "Linux 6.18: TCP_SYNCOOKIE_PERIOD, include/net/tcp.h", ""},
		"cookies.periods":       {FromSource, "Linux 6.18: MAX_SYNCOOKIE_AGE, include/net/tcp.h", ""},
		"cookies.remember":      {FromSource, "Linux 6.18: TCP_SYNCOOKIE_VALID, include/net/tcp.h", ""},
		"socket":                {Measured, "recordings queued-*, relisten-*, close-listener*, defer-accept-*", ""},
		"tools":                 {Measured, "ss of iproute2, /proc/net/netstat", ""},
	})
	return p
}

// linux26 is Linux 2.6.32, the kernel of a generation of servers. What later
// releases changed: the accept queue is no bar to a SYN while the SYN queue is
// quiet, the SYN queue's size is a power of two, the first timeout is 3 s.
func linux26() *Profile {
	p := linux6()
	p.Name, p.Title = "linux-2.6", "Linux 2.6.32"
	p.Backlog.Maximum = 128
	p.AcceptQueue.FullSYN = SYNDroppedIfYoung
	p.SYNQueue.Capacity = Formula{Times: 1, Plus: 1, PowerOfTwo: true, AtLeast: 16}
	p.SYNQueue.Maximum = 1024
	p.SYNQueue.Setting = "net.ipv4.tcp_max_syn_backlog"
	p.SYNQueue.Shed = ShedFromHalf
	p.SYNACK.Waits = []time.Duration{
		3 * time.Second, 6 * time.Second, 12 * time.Second, 24 * time.Second,
		48 * time.Second, 96 * time.Second, 120 * time.Second,
	}
	p.HalfOpen.DuplicateTimer = TimerGoesOn
	p.HalfOpen.RSTRemoves = RSTAnywhere
	p.HalfOpen.RSTInWindow = AnswerNothing
	p.HalfOpen.RateLimit = 0
	p.HalfOpen.Setting = ""
	p.ICMP.IPv4, p.ICMP.IPv6 = kinds("3/0-3 3/5-15 11 12"), kinds("1 3 4")
	p.Cookies.Use = CookiesNever
	p.Cookies.Periods = 4
	p.Cookies.Remember = 3 * time.Second
	p.Socket.CloseHalfOpen = CloseRemoves
	p.Tools.Drops = "ListenDrops"
	p.cite(citations{
		"backlog":               {FromSource, "Linux 2.6.32: sys_listen, net/socket.c; SOMAXCONN, include/linux/socket.h", ""},
		"accept-queue":          {FromSource, "Linux 2.6.32: tcp_v4_syn_recv_sock, net/ipv4/tcp_ipv4.c; tcp_check_req, net/ipv4/tcp_minisocks.c", ""},
		"accept-queue.full-syn": {FromSource, "Linux 2.6.32: tcp_v4_conn_request, net/ipv4/tcp_ipv4.c", "the SYN is dropped only if inet_csk_reqsk_queue_young is above 1"},
		"syn-queue":             {FromSource, "Linux 2.6.32: tcp_v4_conn_request, net/ipv4/tcp_ipv4.c; inet_csk_reqsk_queue_prune", ""},
		"syn-queue.capacity":    {FromSource, "Linux 2.6.32: reqsk_queue_alloc, net/core/request_sock.c", "the kernel fixes it at the first listen; here listen again moves it"},
		"syn-queue.maximum":     {Documented, "Linux 2.6.32: Documentation/networking/ip-sysctl.txt", "1024 with more than 128 MB of memory, else 128"},
		"syn-ack":               {FromSource, "Linux 2.6.32: inet_csk_reqsk_queue_prune, net/ipv4/inet_connection_sock.c; TCP_TIMEOUT_INIT", "the kernel looks every 200 ms only"},
		"half-open":             {FromSource, "Linux 2.6.32: tcp_check_req, net/ipv4/tcp_minisocks.c", ""},
		"icmp":                  {FromSource, "Linux 3.0: tcp_v4_err, net/ipv4/tcp_ipv4.c", "nothing ticks there, here ListenDrops does"},
		"icmp.ipv6":             {Guess, "Linux 3.0: tcp_v4_err, net/ipv4/tcp_ipv4.c", "tcp_v6_err was not read"},
		"cookies":               {FromSource, "Linux 2.6.32: net/ipv4/syncookies.c", "its table has eight segment sizes, here four"},
		"cookies.use":           {FromSource, "Linux 2.6.32: SYNC_INIT, net/ipv4/tcp_minisocks.c", "distributions often switched them on"},
		"cookies.remember":      {FromSource, "Linux 2.6.32: tcp_synq_no_recent_overflow, include/net/tcp.h", ""},
		"socket":                {FromSource, "Linux 2.6.32: inet_csk_listen_stop, inet_csk_accept, net/ipv4/inet_connection_sock.c", ""},
		"tools":                 {FromSource, "Linux 2.6.32: net/ipv4/proc.c", ""},
		"tools.drops":           {FromSource, "Linux 2.6.32: tcp_v4_conn_request, tcp_v4_syn_recv_sock", "a SYN that is dropped ticks nothing there, here it does"},
	})
	return p
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
