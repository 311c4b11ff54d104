package listenq

import "time"

// freebsd is FreeBSD 14.
func freebsd() *Profile {
	p := &Profile{
		Name:  "freebsd",
		Title: "FreeBSD 14",
		Backlog: BacklogRules{
			Negative: TakeMaximum,
			Zero:     TakeZero,
			Maximum:  128,
			Setting:  "kern.ipc.soacceptqueue",
		},
		AcceptQueue: AcceptQueueRules{
			Counts:         CountQueued,
			AtSYN:          Formula{Unlimited: true},
			AtACK:          Formula{Times: 3, Over: 2, Plus: 1},
			FullSYN:        SYNDropped,
			FullACK:        ACKReset,
			FullACKSetting: "net.inet.tcp.syncache.rst_on_sock_fail",
		},
		SYNQueue: SYNQueueRules{
			Capacity:  Formula{Plus: 512 * 30},
			Scope:     ScopeSystem,
			Buckets:   512,
			PerBucket: 30,
			Full:      SYNEvictsOldest,
		},
		SYNACK: SYNACKRules{
			Waits: []time.Duration{
				1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
				16 * time.Second, 32 * time.Second, 64 * time.Second,
			},
			Retries: 3,
			Setting: "net.inet.tcp.syncache.rexmtlimit",
		},
		HalfOpen: HalfOpenRules{
			DuplicateSYN:   AnswerSYNACK,
			DuplicateTimer: TimerFromZero,
			SYNBelow:       AnswerSYNACK,
			SYNInside:      AnswerSYNACK,
			SYNBeyond:      AnswerSYNACK,
			RSTRemoves:     RSTAtNext,
			RSTInWindow:    AnswerACK,
			BadACK:         AnswerRSTClose,
			OutOfWindow:    AnswerRSTClose,
		},
		ICMP: ICMPRules{
			IPv4:    kinds("3/0-15 11/0 12/0-1"),
			IPv6:    kinds("1/0-4 2 3/0 4"),
			Errors:  2,
			Retries: 3,
		},
		Cookies: CookieRules{
			Use:           CookiesWhenFull,
			Setting:       "net.inet.tcp.syncookies",
			InEverySYNACK: true,
			Options:       CookieKeepsAll,
			Period:        15 * time.Second,
			Periods:       2,
			Remember:      15 * time.Second,
			FullACK:       ACKReset,
		},
		Socket: SocketRules{
			QueuedReset:   ResetAborted,
			ListenAgain:   AgainNewLimit,
			CloseHalfOpen: CloseGoesOn,
		},
		Tools: Tools{
			Queues:    "netstat -L: queued/incomplete/limit",
			Overflows: "listen queue overflows",
			Evictions: "bucket overflow",
			Cookies:   "cookies sent",
		},
	}
	p.cite(citations{
		"backlog":             {FromSource, "FreeBSD: solisten_proto, sys/kern/uipc_socket.c", ""},
		"accept-queue":        {FromSource, "FreeBSD: solisten_clone, sys/kern/uipc_socket.c; syncache_socket, sys/netinet/tcp_syncache.c", ""},
		"accept-queue.at-syn": {FromSource, "FreeBSD: syncache_add, sys/netinet/tcp_syncache.c", "releases before 7 tested the queue at the SYN"},
		"syn-queue":           {FromSource, "FreeBSD: syncache_insert, sys/netinet/tcp_syncache.c, 003f1ebc", "the pause into cookies alone after an overflow is left out"},
		"syn-ack":             {FromSource, "FreeBSD: syncache_timeout, syncache_timer, sys/netinet/tcp_syncache.c, 003f1ebc", ""},
		"half-open":           {FromSource, "FreeBSD: syncache_add, syncache_expand, syncache_chkrst, sys/netinet/tcp_syncache.c, 003f1ebc", ""},
		"icmp":                {FromSource, "FreeBSD: syncache_unreach, sys/netinet/tcp_syncache.c; tcp_ctlinput_with_port, sys/netinet/tcp_subr.c; icmp_errmap, sys/netinet/ip_icmp.c", "tcps_sc_unreach counts them"},
		"icmp.ipv6":           {Guess, "FreeBSD: tcp6_ctlinput_with_port, sys/netinet/tcp_subr.c", "icmp6_errmap was not read"},
		"cookies":             {FromSource, "FreeBSD: syncookie_generate, syncookie_lookup, sys/netinet/tcp_syncache.c, 003f1ebc", "sizes are rounded as on Linux"},
		"cookies.remember":    {FromSource, "FreeBSD: syncache_expand, sch_last_overflow, sys/netinet/tcp_syncache.c", "kept for each bucket there, for the listener here"},
		"socket":              {FromSource, "FreeBSD: soclose, sys/kern/uipc_socket.c; tcp_usr_accept, sys/netinet/tcp_usrreq.c", ""},
		"socket.defer-accept": {FromSource, "FreeBSD: accf_data, accf_http", "accept filters are another thing"},
		"tools":               {Documented, "netstat(1)", ""},
	})
	return p
}
