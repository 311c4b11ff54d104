package listenq

import "time"

// lwip is lwIP's socket layer, built with TCP_LISTEN_BACKLOG 1.
func lwip() *Profile {
	p := &Profile{
		Name:  "lwip",
		Title: "lwIP, TCP_LISTEN_BACKLOG 1",
		Backlog: BacklogRules{
			Negative: TakeOne,
			Zero:     TakeOne,
			Maximum:  255,
		},
		AcceptQueue: AcceptQueueRules{
			Counts:  CountHalfOpen,
			AtSYN:   Formula{Times: 1},
			AtACK:   Formula{Plus: 127},
			FullSYN: SYNDropped,
			FullACK: ACKReset,
		},
		SYNQueue: SYNQueueRules{
			Capacity: Formula{Unlimited: true},
			Full:     SYNDropped,
		},
		SYNACK: SYNACKRules{
			Waits:   []time.Duration{3 * time.Second, 6 * time.Second, 11500 * time.Millisecond},
			Retries: 2,
		},
		HalfOpen: HalfOpenRules{
			DuplicateSYN:   AnswerSYNACK,
			DuplicateTimer: TimerFromZero,
			SYNBelow:       AnswerNothing,
			SYNInside:      AnswerNothing,
			SYNBeyond:      AnswerNothing,
			RSTRemoves:     RSTAtNext,
			RSTInWindow:    AnswerACK,
			BadACK:         AnswerRST,
			OutOfWindow:    AnswerACK,
		},
		ICMP: ICMPRules{
			Errors: 1,
		},
		Socket: SocketRules{
			QueuedReset:   ResetReleased,
			ListenAgain:   AgainNewLimit,
			CloseHalfOpen: CloseGoesOn,
		},
	}
	p.cite(citations{
		"backlog":                   {Measured, "Debian's lwIP 2.1.3, tests/platforms; lwip_listen, src/api/sockets.c", "without TCP_LISTEN_BACKLOG, the default and how Debian builds the library, there is no limit"},
		"backlog.maximum":           {FromSource, "lwIP 2.1.3: lwip_listen, src/api/sockets.c; TCP_DEFAULT_LISTEN_BACKLOG, src/include/lwip/opt.h", ""},
		"accept-queue":              {Measured, "Debian's lwIP 2.1.3, tests/platforms; tcp_listen_input, src/core/tcp_in.c; tcp_backlog_delayed, src/core/tcp.c", ""},
		"accept-queue.at-ack":       {Measured, "Debian's lwIP 2.1.3, tests/platforms; accept_function, src/api/api_msg.c; SYS_MBOX_SIZE 128, port/sys_arch.c", "DEFAULT_ACCEPTMBOX_SIZE of other ports; set it here"},
		"syn-queue":                 {Measured, "Debian's lwIP 2.1.3, tests/platforms; tcp_listen_input, src/core/tcp_in.c", "requests take places of the accept queue"},
		"syn-ack":                   {Measured, "Debian's lwIP 2.1.3, tests/platforms; tcp_slowtmr, TCP_SYN_RCVD_TIMEOUT, src/core/tcp.c", "in ticks of 500 ms; the end comes 20.5 s after the last segment"},
		"half-open":                 {Measured, "Debian's lwIP 2.1.3, tests/platforms; tcp_process, src/core/tcp_in.c", ""},
		"half-open.duplicate-timer": {Measured, "Debian's lwIP 2.1.3, tests/platforms; tcp_process, src/core/tcp_in.c", "the end is put off as here; the SYN-ACKs in between go on with doubled waits"},
		"half-open.rate-limit":      {FromSource, "lwIP 2.1.3: tcp_process, src/core/tcp_in.c", "none"},
		"icmp":                      {Measured, "Debian's lwIP 2.1.3, tests/platforms; icmp_input, src/core/ipv4/icmp.c", "errors are not looked at"},
		"icmp.ipv6":                 {FromSource, "lwIP 2.1.3: icmp6_input, src/core/ipv6/icmp6.c", "errors are not looked at"},
		"cookies":                   {Measured, "Debian's lwIP 2.1.3, tests/platforms", "there are none"},
		"socket":                    {Measured, "Debian's lwIP 2.1.3, tests/platforms; src/core/tcp.c, src/api/api_msg.c", ""},
		"socket.queued-reset":       {Measured, "Debian's lwIP 2.1.3, tests/platforms; lwip_accept, src/api/sockets.c", "accept fails with ENOTCONN if it is asked for the peer's address"},
		"socket.defer-accept":       {FromSource, "lwIP 2.1.3: src/include/lwip/sockets.h", "there is none"},
		"tools":                     {FromSource, "lwIP 2.1.3: src/include/lwip/stats.h", "no queue is shown"},
	})
	return p
}
