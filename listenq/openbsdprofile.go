package listenq

import "time"

// openbsd is OpenBSD of 2023.
func openbsd() *Profile {
	p := &Profile{
		Name:  "openbsd",
		Title: "OpenBSD",
		Backlog: BacklogRules{
			Negative: TakeMaximum,
			Zero:     TakeZero,
			Maximum:  128,
			Setting:  "kern.somaxconn",
			Minimum:  80,
		},
		AcceptQueue: AcceptQueueRules{
			Counts:  CountQueued,
			AtSYN:   Formula{Times: 1, Plus: 1},
			AtACK:   Formula{Times: 3, Plus: 1},
			FullSYN: SYNDropped,
			FullACK: ACKReset,
		},
		SYNQueue: SYNQueueRules{
			Capacity:  Formula{Plus: 10255},
			Scope:     ScopeSystem,
			Buckets:   293,
			PerBucket: 105,
			Full:      SYNEvictsOldest,
		},
		SYNACK: SYNACKRules{
			Waits: []time.Duration{
				3 * time.Second, 6 * time.Second, 12 * time.Second, 24 * time.Second, 48 * time.Second,
			},
			Retries: 4,
		},
		HalfOpen: HalfOpenRules{
			DuplicateSYN:   AnswerSYNACK,
			DuplicateTimer: TimerGoesOn,
			SYNBelow:       AnswerSYNACK,
			SYNInside:      AnswerSYNACK,
			SYNBeyond:      AnswerSYNACK,
			RSTRemoves:     RSTAtNextOrLess,
			RSTInWindow:    AnswerNothing,
			BadACK:         AnswerSYNACK,
			OutOfWindow:    AnswerSYNACK,
		},
		ICMP: ICMPRules{
			IPv4:    kinds("3/0-1 3/5-15"),
			IPv6:    kinds("1/0"),
			Errors:  2,
			Retries: 3,
		},
		Socket: SocketRules{
			QueuedReset:   ResetAborted,
			ListenAgain:   AgainNewLimit,
			CloseHalfOpen: CloseRemoves,
		},
	}
	p.cite(citations{
		"backlog":             {FromSource, "OpenBSD: solisten, sys/kern/uipc_socket.c", "kern.sominconn is the minimum"},
		"accept-queue":        {FromSource, "OpenBSD: tcp_input, sys/netinet/tcp_input.c, 00007ca3; sonewconn, sys/kern/uipc_socket2.c", ""},
		"syn-queue":           {FromSource, "OpenBSD: syn_cache_insert, sys/netinet/tcp_input.c, 00007ca3", ""},
		"syn-ack":             {FromSource, "OpenBSD: syn_cache_timer, sys/netinet/tcp_input.c, 00007ca3", "given up at the first timer at which 75 s, keep-init, are over"},
		"half-open":           {FromSource, "OpenBSD: syn_cache_add, syn_cache_get, syn_cache_reset, sys/netinet/tcp_input.c, 00007ca3", ""},
		"icmp":                {FromSource, "OpenBSD: syn_cache_unreach, sys/netinet/tcp_input.c; tcp_ctlinput, sys/netinet/tcp_subr.c", ""},
		"icmp.ipv4":           {FromSource, "OpenBSD: tcp_ctlinput, sys/netinet/tcp_subr.c; inetctlerrmap, sys/netinet/ip_input.c", "icmp_input was read in NetBSD"},
		"icmp.ipv6":           {FromSource, "OpenBSD: tcp6_ctlinput, sys/netinet/tcp_subr.c; icmp6_input, sys/netinet6/icmp6.c, 0039ae51", ""},
		"cookies":             {FromSource, "OpenBSD: sys/netinet/tcp_input.c, 00007ca3", "there are none"},
		"socket":              {FromSource, "OpenBSD: syn_cache_cleanup, sys/netinet/tcp_input.c, 00007ca3", ""},
		"socket.queued-reset": {FromSource, "OpenBSD: PR_ABRTACPTDIS, sys/netinet/in_proto.c", "the accept path itself was not read"},
		"tools":               {Guess, "", "not read"},
	})
	return p
}
