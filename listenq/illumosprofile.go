package listenq

import "time"

// illumos is illumos of 2023, the heir of Solaris.
func illumos() *Profile {
	p := &Profile{
		Name:  "illumos",
		Title: "illumos",
		Backlog: BacklogRules{
			Negative: TakeNone,
			Zero:     TakeNone,
			Maximum:  128,
			Setting:  "_conn_req_max_q",
			Minimum:  1,
		},
		AcceptQueue: AcceptQueueRules{
			Counts:  CountQueued,
			AtSYN:   Formula{Times: 1},
			AtACK:   Formula{Times: 1, Plus: 1024},
			FullSYN: SYNDropped,
			FullACK: ACKReset,
		},
		SYNQueue: SYNQueueRules{
			Capacity: Formula{Times: 1, Plus: 1024},
			Full:     SYNEvictsTimedOut,
		},
		SYNACK: SYNACKRules{
			Waits: []time.Duration{
				1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
				16 * time.Second, 32 * time.Second, 60 * time.Second,
			},
			Retries: 7,
			End:     EndReset,
		},
		HalfOpen: HalfOpenRules{
			DuplicateSYN:   AnswerSYNACK,
			DuplicateTimer: TimerGoesOn,
			SYNBelow:       AnswerACK,
			SYNInside:      AnswerACK,
			SYNBeyond:      AnswerACK,
			RSTRemoves:     RSTAtNext,
			RSTInWindow:    AnswerACK,
			BadACK:         AnswerRST,
			OutOfWindow:    AnswerACK,
		},
		ICMP: ICMPRules{
			IPv4:   kinds("3/2-3"),
			IPv6:   kinds("1/4 4/1"),
			Errors: 1,
		},
		Socket: SocketRules{
			QueuedReset:   ResetAborted,
			ListenAgain:   AgainNewLimit,
			CloseHalfOpen: CloseResets,
		},
		Tools: Tools{
			Drops:     "tcpListenDrop",
			Evictions: "tcpHalfOpenDrop",
		},
	}
	p.cite(citations{
		"backlog":             {FromSource, "illumos: tcp_do_listen, tcp_listen, usr/src/uts/common/inet/tcp/tcp.c 012f57fd, tcp_socket.c 0588e7f3", "surprising enough to check on a machine"},
		"accept-queue":        {FromSource, "illumos: tcp_input_listener, inet/tcp/tcp_input.c ee89680c", ""},
		"accept-queue.at-ack": {FromSource, "illumos: so_newconn, fs/sockfs/sockcommon_sops.c 0250c53a", "TLI listeners wait for room instead"},
		"syn-queue":           {FromSource, "illumos: tcp_input_listener, tcp_drop_q0, inet/tcp/tcp_input.c ee89680c", "_conn_req_max_q0 is 1024; the SYN defence is left out"},
		"syn-ack":             {FromSource, "illumos: inet/tcp/tcp_timers.c, tcp_tunables.c", "ends at the first timer at which _ip_abort_linterval, 180 s, is over"},
		"half-open":           {Guess, "RFC 9293, RFC 5961", "what SYN-RECEIVED does was not read"},
		"icmp":                {FromSource, "illumos: tcp_icmp_input, tcp_icmp_error_ipv6, tcp_verifyicmp, inet/tcp/tcp_input.c 012f57fd", "net and host unreachable too while the SYN defence is on, which is left out"},
		"icmp.end":            {Guess, "", "whether tcp_clean_death sends a RST was not read"},
		"cookies":             {FromSource, "illumos: inet/tcp", "there are none"},
		"socket":              {FromSource, "illumos: tcp_accept, tcp_do_listen, inet/tcp/tcp_socket.c 0588e7f3", ""},
		"socket.defer-accept": {FromSource, "illumos: datafilt, httpfilt", "socket filters are another thing"},
		"tools":               {FromSource, "illumos: inet/tcp/tcp_input.c ee89680c", ""},
		"tools.queues":        {Guess, "", "what netstat shows was not read"},
	})
	return p
}
