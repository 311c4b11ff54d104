// Package listenq is the listen queue of one TCP socket as a pure state machine.
//
// It decides everything that happens on the passive side before a connection is
// accepted: what the number handed to listen(2) becomes, which SYNs enter the
// SYN queue, which requests become connections in the accept queue, what a full
// queue answers, when a SYN-ACK is repeated and when a request is given up. It
// sends nothing, reads no clock, starts no goroutine and draws no random number;
// the caller hands in segments and the time, and carries out the outcomes:
//
//	l, err := listenq.New(listenq.Config{Backlog: 2, Window: 64240, Secret: secret})
//	out := l.Segment(now, &seg) // out.Verdict: send a SYN-ACK, a RST, nothing ...
//	conn, ok := l.Accept()      // first in, first out
//	if at, ok := l.NextTimeout(); ok { /* arm one timer */ }
//	l.Advance(now, carryOut)    // SYN-ACKs to repeat, requests to forget
//
// # Contract
//
// Times are readings of one monotonic clock, as a duration since any fixed
// origin, not negative, and never decrease from call to call. One timer is
// enough: after every call that takes a time, NextTimeout says when Advance is
// due. Timers fire at their nominal time however late Advance comes, so call it
// before a Segment of the same moment. The same calls with the same arguments
// give the same outcomes, always.
//
// An Outcome carries the verdict, the rule that fired and both queue depths
// afterwards; that one value is what a stack executes, what a trace prints and
// what the counters count. Protocol outcomes are not Go errors.
//
// # Rules
//
// The rules are those of a Profile: data, with a Citation for each value. Without
// one they are those of Linux 6.18, checked against recordings of a live kernel
// (testdata/linux). Profiles has those of Linux 2.6, Windows, FreeBSD, macOS,
// OpenBSD, NetBSD, illumos, lwIP and gVisor; what each does in each situation is
// written down in testdata/platforms. A Listener decides by a profile's values and
// never by its name, so that a changed copy is a profile too:
//
//	p, err := listenq.ProfileNamed("freebsd")
//	p.SYNACK.Retries = 1
//	l, err := listenq.New(listenq.Config{Profile: p, Backlog: 5, Window: 64240, Secret: secret})
//
// Counters keep the kernel's names under every profile. Where a listener's
// Overflow asks for it, a full queue answers by RST instead of what the profile
// says. TCP Fast Open, SO_REUSEPORT migration, ECN, accept filters and what a
// profile's citations say is left out are not part of it.
//
// A Local is the accept queue alone, for a transport that cannot retransmit, as
// AF_UNIX: its full queue makes connect wait or refuses it.
//
// # Bounds
//
// The SYN queue holds what the profile allows, under Linux backlog+1 requests, and
// one more for each SYN that revives a connection in TIME-WAIT; the accept queue
// likewise, under Linux backlog+1 connections. A profile that bounds them not is
// refused. Nothing else grows. A request takes about 105 bytes, counting its share
// of the tables, and 8 more where old requests are evicted; what a flood needed is
// given back when the SYN queue is empty again.
//
// # Concurrency
//
// A Listener is not safe for concurrent use; guard it with one mutex. All other
// types are plain values.
package listenq
