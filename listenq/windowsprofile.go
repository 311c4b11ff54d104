package listenq

import "time"

// windows is Windows as its documents describe it. Nothing of it was measured, and
// its source is not public; the citations say what is a guess. No document tells
// the releases of today apart.
func windows() *Profile {
	p := &Profile{
		Name:  "windows",
		Title: "Windows",
		Backlog: BacklogRules{
			Negative:     TakeHint,
			Zero:         TakeOne,
			Maximum:      200,
			PlainMaximum: 200,
			Sentinel:     0x7fffffff,
			HintMinimum:  200,
			HintMaximum:  65535,
		},
		AcceptQueue: AcceptQueueRules{
			Counts:  CountHalfOpen,
			AtSYN:   Formula{Times: 1},
			AtACK:   Formula{Unlimited: true},
			FullSYN: SYNReset,
			FullACK: ACKReset,
		},
		SYNQueue: SYNQueueRules{
			Capacity: Formula{Unlimited: true},
			Full:     SYNReset,
		},
		SYNACK: SYNACKRules{
			Waits:   []time.Duration{3 * time.Second, 6 * time.Second, 12 * time.Second},
			Retries: 2,
			Setting: "TcpMaxConnectResponseRetransmissions",
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
			Errors: 1,
		},
		Socket: SocketRules{
			QueuedReset:   ResetKept,
			ListenAgain:   AgainUnchanged,
			CloseHalfOpen: CloseResets,
		},
	}
	p.cite(citations{
		"backlog":                {Documented, "listen (winsock2.h), sdk-api nf-winsock2-listen", "illegal values are corrected without an error"},
		"backlog.zero":           {Guess, "", "corrected to the nearest permitted value, taken to be 1"},
		"backlog.negative":       {Documented, "SOMAXCONN_HINT, sdk-api nf-winsock2-listen", "-n asks for n, adjusted to 200..65535"},
		"backlog.maximum":        {Guess, "knowledge base 127144: 200 on Windows NT 4.0 Server", "SOMAXCONN is a maximum reasonable value; hints begin at 200"},
		"backlog.plain-maximum":  {Documented, "openjdk/jdk pull request 25819, CUBRID/cubrid pull request 4512; knowledge base 127144", ""},
		"accept-queue":           {Guess, "", "whether one more fits is not known"},
		"accept-queue.counts":    {Guess, "knowledge base 113576: the 7th or 8th of simultaneous SYNs is reset at a backlog of 5", ""},
		"accept-queue.full-syn":  {Documented, "knowledge base 113576", "the client repeats its SYN before connect fails"},
		"syn-queue":              {Guess, "", "attack protection (TcpMaxHalfOpen) is left out"},
		"syn-ack":                {Documented, "TCP/IP parameters of Windows Server 2003: TcpMaxConnectResponseRetransmissions 2, from 3 s", "not documented for releases of today"},
		"half-open":              {Guess, "RFC 9293, RFC 5961", ""},
		"icmp":                   {Guess, "RFC 1122, section 4.2.3.9", "no document says what ends a half-open connection"},
		"cookies":                {Guess, "", "no document mentions them"},
		"socket.queued-reset":    {Guess, "", "or accept fails with WSAECONNRESET"},
		"socket.listen-again":    {Documented, "listen (winsock2.h), sdk-api nf-winsock2-listen", ""},
		"socket.close-half-open": {Guess, "", ""},
		"socket.defer-accept":    {Documented, "AcceptEx, sdk-api nf-mswsock-acceptex", "AcceptEx can wait for data, which is another thing"},
		"tools":                  {Guess, "", "none shows the queue of a listener"},
		"tools.queues":           {Documented, "listen (winsock2.h)", "there is no way to obtain the backlog in force"},
	})
	return p
}

// windowsNT4Workstation differs in what a backlog can be.
func windowsNT4Workstation() *Profile {
	p := windows()
	p.Name, p.Title = "windows-nt4-workstation", "Windows NT 4.0 Workstation"
	p.Backlog = BacklogRules{Negative: TakeOne, Zero: TakeOne, Maximum: 5, Sentinel: 0x7fffffff}
	p.cite(citations{
		"backlog":          {Documented, "knowledge base 127144", "5 on the workstation, 200 on the server"},
		"backlog.zero":     {Guess, "knowledge base 127144", "taken to be corrected to 1"},
		"backlog.negative": {Guess, "knowledge base 127144", "taken to be corrected to 1"},
	})
	return p
}
