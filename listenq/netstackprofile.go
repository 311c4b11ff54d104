package listenq

import "time"

// netstack is gVisor's TCP as a library, without ulisten: the listener that this
// package replaces.
func netstack() *Profile {
	p := &Profile{
		Name:  "netstack",
		Title: "gVisor netstack",
		Backlog: BacklogRules{
			Negative: TakeZero,
			Zero:     TakeZero,
			Maximum:  1<<31 - 1,
		},
		AcceptQueue: AcceptQueueRules{
			Counts:  CountQueued,
			AtSYN:   Formula{Times: 1},
			AtACK:   Formula{Times: 1},
			FullSYN: SYNDropped,
			FullACK: ACKIgnored,
		},
		SYNQueue: SYNQueueRules{
			Capacity: Formula{Times: 1, Plus: -1},
			Full:     SYNGetsCookie,
		},
		SYNACK: SYNACKRules{
			Waits: []time.Duration{
				1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
				16 * time.Second, 32 * time.Second, 64 * time.Second,
			},
			Retries: 6,
		},
		HalfOpen: HalfOpenRules{
			DuplicateSYN:   AnswerACK,
			DuplicateTimer: TimerGoesOn,
			SYNBelow:       AnswerACK,
			SYNInside:      AnswerRSTClose,
			SYNBeyond:      AnswerACK,
			RSTRemoves:     RSTAnywhere,
			RSTInWindow:    AnswerNothing,
			BadACK:         AnswerRST,
			OutOfWindow:    AnswerACK,
			RateLimit:      500 * time.Millisecond,
		},
		ICMP: ICMPRules{
			IPv4:      kinds("3/0-3 3/5-15"),
			IPv6:      kinds("1/0 1/4"),
			AnyNumber: true,
			Errors:    1,
		},
		Cookies: CookieRules{
			Use:     CookiesWhenFull,
			Options: CookieKeepsNeither,
			Period:  64 * time.Second,
			Periods: 3,
			FullACK: ACKIgnored,
		},
		Socket: SocketRules{
			QueuedReset:   ResetKept,
			ListenAgain:   AgainNotBelowUse,
			CloseHalfOpen: CloseRemoves,
		},
		Tools: Tools{
			Overflows: "ListenOverflowAckDrop",
			Drops:     "ListenOverflowSynDrop",
			Cookies:   "ListenOverflowSynCookieSent",
		},
	}
	p.cite(citations{
		"backlog":              {Measured, "gVisor 160fafc42237, tests/platforms; Endpoint.listen, pkg/tcpip/transport/tcp/endpoint.go", "the argument is the capacity; 0 refuses every SYN"},
		"backlog.maximum":      {FromSource, "gVisor 160fafc42237: Endpoint.listen, pkg/tcpip/transport/tcp/endpoint.go", ""},
		"accept-queue":         {Measured, "gVisor 160fafc42237, tests/platforms; acceptQueue.isFull, handleListenSegment, pkg/tcpip/transport/tcp/accept.go", "connections that complete at once can exceed it by a few"},
		"syn-queue":            {Measured, "gVisor 160fafc42237, tests/platforms; handleListenSegment, pkg/tcpip/transport/tcp/accept.go", "an equality there: when the capacity was lowered below what is half-open, nothing limits it"},
		"syn-ack":              {Measured, "gVisor 160fafc42237, tests/platforms; retransmitHandlerLocked, pkg/tcpip/transport/tcp/connect.go", ""},
		"half-open":            {Measured, "gVisor 160fafc42237, tests/platforms; synRcvdState, pkg/tcpip/transport/tcp/connect.go", "a segment without the timestamp that was agreed on is dropped there"},
		"half-open.rate-limit": {FromSource, "gVisor 160fafc42237: allowOutOfWindowAck, TCPInvalidRateLimitOption", ""},
		"icmp":                 {Measured, "gVisor 160fafc42237, tests/platforms; handleICMP, pkg/tcpip/network/ipv4/icmp.go; Endpoint.onICMPError, pkg/tcpip/transport/tcp/endpoint.go", ""},
		"icmp.ipv6":            {FromSource, "gVisor 160fafc42237: handleICMP, pkg/tcpip/network/ipv6/icmp.go", ""},
		"cookies":              {FromSource, "gVisor 160fafc42237: createCookie, isCookieValid, pkg/tcpip/transport/tcp/accept.go", "TCPAlwaysUseSynCookies is an option"},
		"cookies.use":          {Measured, "gVisor 160fafc42237, tests/platforms; handleListenSegment, pkg/tcpip/transport/tcp/accept.go", "TCPAlwaysUseSynCookies is an option"},
		"cookies.full-ack":     {Measured, "gVisor 160fafc42237, tests/platforms; handleListenSegment, pkg/tcpip/transport/tcp/accept.go", ""},
		"socket":               {Measured, "gVisor 160fafc42237, tests/platforms; Endpoint.listen, Endpoint.Accept, closePendingAcceptableConnectionsLocked, pkg/tcpip/transport/tcp/endpoint.go", ""},
		"socket.defer-accept":  {FromSource, "gVisor 160fafc42237: synRcvdState, pkg/tcpip/transport/tcp/connect.go", "TCP_DEFER_ACCEPT is a time there, which is left out"},
		"tools":                {FromSource, "gVisor 160fafc42237: pkg/tcpip/tcpip.go", ""},
	})
	return p
}

// gvisor is netstack as programs in a gVisor sandbox see it.
func gvisor() *Profile {
	p := netstack()
	p.Name, p.Title = "gvisor", "gVisor sandbox"
	p.Backlog = BacklogRules{Negative: TakeMaximum, Zero: TakeZero, Maximum: 1024, Plus: 1}
	p.cite(citations{
		"backlog":      {FromSource, "gVisor 160fafc42237: Listen, pkg/sentry/syscalls/linux/sys_socket.go", "as unsigned, at most 1024, plus one"},
		"tools.queues": {FromSource, "gVisor 160fafc42237: pkg/tcpip/transport/tcp", "TCP_INFO of a listener says nothing"},
	})
	return p
}
