package listenq_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

func flowFrom(remote string) listenq.Flow {
	return listenq.NewFlow(netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort(remote))
}

func synFrom(remote string) *listenq.Segment {
	return &listenq.Segment{Flow: flowFrom(remote), Flags: listenq.SYN, Seq: 1000}
}

// ackFrom acknowledges the SYN-ACK that out stands for.
func ackFrom(out listenq.Outcome) *listenq.Segment {
	return &listenq.Segment{Flow: out.Flow, Flags: listenq.ACK, Seq: out.Ack, Ack: out.Seq + 1}
}

// A backlog of 0 leaves room for one connection and one request. Client a is
// accepted at once. While b holds the request, c gets a cookie and comes in first;
// then b's final ACK is ignored, although its connect(2) has succeeded, and so is
// d's SYN. After accept(2), the repeated SYN-ACK brings b in.
func Example() {
	l := listenq.MustNew(listenq.Config{Backlog: 0, Window: 64240})
	at := func(now time.Duration, who string, out listenq.Outcome) listenq.Outcome {
		fmt.Printf("%2.0fs  %-8s %v\n", now.Seconds(), who, out)
		return out
	}
	a := at(0, "a SYN", l.Segment(0, synFrom("198.51.100.1:1111")))
	at(0, "a ACK", l.Segment(0, ackFrom(a)))
	l.Accept()
	b := at(0, "b SYN", l.Segment(0, synFrom("198.51.100.2:2222")))
	c := at(0, "c SYN", l.Segment(0, synFrom("198.51.100.3:3333")))
	at(0, "c ACK", l.Segment(0, ackFrom(c)))
	at(0, "b ACK", l.Segment(0, ackFrom(b)))
	at(0, "d SYN", l.Segment(0, synFrom("198.51.100.4:4444")))
	l.Accept()
	l.Advance(time.Second, func(o listenq.Outcome) { at(time.Second, "b timer", o) })
	at(time.Second, "b ACK", l.Segment(time.Second, ackFrom(b)))
	fmt.Println("ListenOverflows", l.Counters().ListenOverflows)
	// Output:
	//  0s  a SYN    SYN-ACK synq=1 acceptq=0  new request
	//  0s  a ACK    promote synq=0 acceptq=1  final ACK
	//  0s  b SYN    SYN-ACK synq=1 acceptq=0  new request
	//  0s  c SYN    cookie  synq=1 acceptq=0  SYN queue full, cookie
	//  0s  c ACK    promote synq=1 acceptq=1  valid cookie
	//  0s  b ACK    drop    synq=1 acceptq=1  accept queue full
	//  0s  d SYN    drop    synq=1 acceptq=1  accept queue full
	//  1s  b timer  SYN-ACK synq=1 acceptq=0  retransmission timeout
	//  1s  b ACK    promote synq=0 acceptq=1  final ACK
	// ListenOverflows 2
}

// A request that nobody completes is answered again after 1, 3, 7, 15 and 31 s
// and forgotten after 63 s.
func ExampleListener_Advance() {
	l := listenq.MustNew(listenq.Config{Backlog: 128, Window: 64240})
	l.Segment(0, synFrom("198.51.100.1:1111"))
	for at, ok := l.NextTimeout(); ok; at, ok = l.NextTimeout() {
		l.Advance(at, func(o listenq.Outcome) { fmt.Printf("%2.0fs  %v\n", at.Seconds(), o) })
	}
	// Output:
	//  1s  SYN-ACK synq=1 acceptq=0  retransmission timeout
	//  3s  SYN-ACK synq=1 acceptq=0  retransmission timeout
	//  7s  SYN-ACK synq=1 acceptq=0  retransmission timeout
	// 15s  SYN-ACK synq=1 acceptq=0  retransmission timeout
	// 31s  SYN-ACK synq=1 acceptq=0  retransmission timeout
	// 63s  expire  synq=0 acceptq=0  retries exhausted
}

func ExampleProfile_Limit() {
	linux, err := listenq.ProfileNamed("linux-6")
	if err != nil {
		panic(err)
	}
	for _, backlog := range []int{0, 128, 10_000, -1} {
		limit, _ := linux.Limit(backlog, -1)
		fmt.Printf("listen(%d) holds %d connections\n", backlog, linux.AcceptQueue.AtACK.Of(limit))
	}
	// Output:
	// listen(0) holds 1 connections
	// listen(128) holds 129 connections
	// listen(10000) holds 4097 connections
	// listen(-1) holds 4097 connections
}

// A policy can change while the listener runs.
func ExampleListener_SetOverflow() {
	l := listenq.MustNew(listenq.Config{Backlog: 0, Window: 64240})
	l.Segment(0, ackFrom(l.Segment(0, synFrom("198.51.100.1:1111"))))
	fmt.Println(l.Segment(0, synFrom("198.51.100.2:2222")).Verdict)
	l.SetOverflow(listenq.Overflow{ResetSYN: true})
	fmt.Println(l.Segment(0, synFrom("198.51.100.2:2222")).Verdict)
	// Output:
	// drop
	// RST
}

// A transport that cannot retransmit has nobody to try again for it: a full
// queue makes connect wait, as on Linux, or refuses, as on the BSDs.
func ExampleLocal() {
	l := listenq.NewLocal(listenq.LocalConfig{Backlog: 1, Somaxconn: 4096})
	for range 3 {
		fmt.Println(l.Connect())
	}
	l.SetOverflow(listenq.RefuseWhenFull)
	fmt.Println(l.Connect())
	id, _ := l.Accept()
	fmt.Println("accepted", id)
	fmt.Println(l.Connect())
	// Output:
	// promote synq=0 acceptq=1  local connect
	// promote synq=0 acceptq=2  local connect
	// wait    synq=0 acceptq=2  accept queue full
	// refuse  synq=0 acceptq=2  accept queue full
	// accepted 1
	// promote synq=0 acceptq=2  local connect
}
