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
		Socket: SocketRules{
			QueuedReset:   ResetReleased,
			ListenAgain:   AgainNewLimit,
			CloseHalfOpen: CloseGoesOn,
		},
	}
	p.cite(citations{
		"backlog":                   {FromSource, "lwIP 3d896ba0: lwip_listen, src/api/sockets.c; TCP_DEFAULT_LISTEN_BACKLOG, src/include/lwip/opt.h", "without TCP_LISTEN_BACKLOG, the default, there is no limit"},
		"accept-queue":              {FromSource, "lwIP 3d896ba0: tcp_listen_input, src/core/tcp_in.c; tcp_backlog_delayed, src/core/tcp.c", ""},
		"accept-queue.at-ack":       {FromSource, "lwIP: accept_function, src/api/api_msg.c 3d896ba0; SYS_MBOX_SIZE 128, contrib/ports/unix/port/sys_arch.c", "the accept mailbox of the Unix port; others use DEFAULT_ACCEPTMBOX_SIZE"},
		"syn-queue":                 {FromSource, "lwIP 3d896ba0: tcp_listen_input, src/core/tcp_in.c", "requests take places of the accept queue"},
		"syn-ack":                   {FromSource, "lwIP 3d896ba0: tcp_slowtmr, TCP_SYN_RCVD_TIMEOUT, src/core/tcp.c", "in ticks of 500 ms; the end comes 20.5 s after the last segment"},
		"half-open":                 {FromSource, "lwIP 3d896ba0: tcp_process, src/core/tcp_in.c", ""},
		"half-open.duplicate-timer": {FromSource, "lwIP 3d896ba0: tcp_process, src/core/tcp_in.c", "the end is put off as here, the SYN-ACKs in between differ"},
		"half-open.out-of-window":   {Guess, "RFC 9293", ""},
		"cookies":                   {FromSource, "lwIP 3d896ba0: src/core", "there are none"},
		"socket":                    {FromSource, "lwIP 3d896ba0: src/core/tcp.c, src/api/api_msg.c", ""},
		"tools":                     {FromSource, "lwIP 3d896ba0: src/include/lwip/stats.h", "no queue is shown"},
	})
	return p
}
