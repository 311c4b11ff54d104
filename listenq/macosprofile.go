package listenq

import "time"

// macos is macOS 15, whose kernel is XNU 11417.
func macos() *Profile {
	p := &Profile{
		Name:  "macos",
		Title: "macOS 15",
		Backlog: BacklogRules{
			Negative: TakeMaximum,
			Zero:     TakeMaximum,
			Maximum:  128,
			Setting:  "kern.ipc.somaxconn",
		},
		AcceptQueue: AcceptQueueRules{
			Counts:  CountHalfOpen,
			AtSYN:   Formula{Times: 1},
			AtACK:   Formula{Unlimited: true},
			FullSYN: SYNEvictsOldest,
			FullACK: ACKReset,
		},
		SYNQueue: SYNQueueRules{
			Capacity: Formula{Unlimited: true},
			Full:     SYNDropped,
		},
		SYNACK: SYNACKRules{
			Waits: []time.Duration{
				1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
				16 * time.Second, 32 * time.Second, 12 * time.Second,
			},
			Retries: 6,
			End:     EndReset,
		},
		HalfOpen: HalfOpenRules{
			DuplicateSYN:   AnswerACK,
			DuplicateTimer: TimerGoesOn,
			SYNBelow:       AnswerRST,
			SYNInside:      AnswerACK,
			SYNBeyond:      AnswerACK,
			RSTRemoves:     RSTAtNextOrLess,
			RSTInWindow:    AnswerACK,
			BadACK:         AnswerRST,
			OutOfWindow:    AnswerACK,
		},
		ICMP: ICMPRules{
			IPv4:    kinds("3/0-1 3/5-8 3/11-12 3/14-15 12/0-1"),
			IPv6:    kinds("1/0 1/3 4"),
			Errors:  2,
			Retries: 4,
			End:     EndReset,
		},
		Socket: SocketRules{
			QueuedReset:   ResetKept,
			ListenAgain:   AgainNewLimit,
			CloseHalfOpen: CloseResets,
		},
		Tools: Tools{
			Queues: "netstat -L: queued/incomplete/limit",
		},
	}
	p.cite(citations{
		"backlog":                 {FromSource, "xnu-11417.101.15: solisten, bsd/kern/uipc_socket.c", ""},
		"accept-queue":            {FromSource, "xnu-11417.101.15: sonewconn_internal, bsd/kern/uipc_socket2.c", "kern.ipc.soqlencomp 0 and soqlimitcompat 1, the defaults"},
		"accept-queue.full-syn":   {FromSource, "xnu-11417.101.15: tcp_dropdropablreq, bsd/netinet/tcp_input.c", "one that is dead goes first, a random one if SYNs come fast; here always the oldest"},
		"accept-queue.full-ack":   {FromSource, "xnu-11417.101.15: sonewconn_internal, bsd/kern/uipc_socket2.c", "cannot happen: the SYN has reserved the place"},
		"syn-queue":               {FromSource, "xnu-11417.101.15: sonewconn_internal, bsd/kern/uipc_socket2.c", "a half-open connection is a socket and takes a place"},
		"syn-ack":                 {FromSource, "xnu-11417.101.15: bsd/netinet/tcp_timer.c", "keep-init, 75 s, cuts the last wait to 12 s"},
		"half-open":               {FromSource, "xnu-11417.101.15: tcp_input, bsd/netinet/tcp_input.c", ""},
		"half-open.duplicate-syn": {FromSource, "xnu-11417.101.15: tcp_input, bsd/netinet/tcp_input.c", "read with medium confidence"},
		"half-open.syn-beyond":    {Guess, "RFC 9293", ""},
		"half-open.out-of-window": {Guess, "RFC 9293", ""},
		"half-open.rate-limit":    {Guess, "", "there is a limit, how long is not known"},
		"icmp":                    {FromSource, "xnu: tcp_notify, tcp_ctlinput, bsd/netinet/tcp_subr.c 1031c584", "port and protocol unreachable end a connect alone (tcp_drop_syn_sent)"},
		"icmp.ipv4":               {FromSource, "xnu: tcp_ctlinput, bsd/netinet/tcp_subr.c 1031c584; icmp_input, bsd/netinet/ip_icmp.c 5c2921b0", ""},
		"icmp.ipv6":               {Guess, "xnu: tcp6_ctlinput, bsd/netinet/tcp_subr.c 1031c584", "icmp6_input was not read"},
		"cookies":                 {FromSource, "xnu-11417.101.15: bsd/netinet", "there are none"},
		"socket":                  {FromSource, "xnu-11417.101.15: soclose, bsd/kern/uipc_socket.c; accept_nocancel, bsd/kern/uipc_syscalls.c", ""},
		"socket.queued-reset":     {FromSource, "xnu-11417.101.15: accept_nocancel, bsd/kern/uipc_syscalls.c", "the address may be empty; Go's accept skips such a connection"},
		"tools":                   {Documented, "netstat(1)", ""},
	})
	return p
}
