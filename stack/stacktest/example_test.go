package stacktest_test

import (
	"fmt"
	"syscall"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// In a test, lab is stacktest.New(t, stacktest.Config{}).
func play(script func(lab *stacktest.Lab)) {
	if err := stacktest.Play(stacktest.Config{}, script); err != nil {
		fmt.Println(err)
	}
}

// The accept queue is full when carol's final ACK arrives. Linux forgets the ACK,
// so her SYN-ACK comes again a second later; by then there is room.
func Example_finalACK() {
	play(func(lab *stacktest.Lab) {
		l := lab.Listen(":80", 1, nil) // two connections fit
		alice, bob, carol := lab.Peer("alice", l), lab.Peer("bob", l), lab.Peer("carol", l)
		alice.Handshake()
		carol.SYN()
		bob.Handshake()
		carol.ACK()
		l.ExpectQueues(1, 2)
		l.ExpectCounter("ListenOverflows", 1)
		l.Accept()
		lab.Advance(time.Second)
		carol.Expect("SYN-ACK seq=0 ack=1 mss=1460")
		carol.Expect("SYN-ACK")
		carol.ACK()
		l.ExpectQueues(0, 2)
		fmt.Print(lab.Ladder())
	})
	// Output:
	//           client               listener  synq  acceptq
	//  0.000 s    |---- SYN -------------->|       1      0/2   alice: new request
	//             |<--- SYN-ACK -----------|       1      0/2
	//  0.000 s    |---- ACK -------------->|       0      1/2   alice: promoted: final ACK
	//  0.000 s    |---- SYN -------------->|       1      1/2   carol: new request
	//             |<--- SYN-ACK -----------|       1      1/2
	//  0.000 s    |---- SYN -------------->|       2      1/2   bob: new request
	//             |<--- SYN-ACK -----------|       2      1/2
	//  0.000 s    |---- ACK -------------->|       1      2/2   bob: promoted: final ACK
	//  0.000 s    |---- ACK -------------->x       1      2/2   carol: ignored: accept queue full
	//  1.000 s    |<--- SYN-ACK -----------|       1      1/2   carol: retransmission timeout
	//  1.000 s    |---- ACK -------------->|       0      2/2   carol: promoted: final ACK
}

// A SYN that finds the accept queue full can be refused at once, instead of being
// ignored as on Linux.
func Example_refuse() {
	play(func(lab *stacktest.Lab) {
		l := lab.Listen(":80", 0, &stack.ListenOptions{Overflow: listenq.Overflow{ResetSYN: true}})
		first, second := lab.Dial("first", l), lab.Dial("second", l)
		first.ExpectConnected()
		second.ExpectError(syscall.ECONNREFUSED)
		fmt.Print(lab.Ladder())
	})
	// Output:
	//           client               listener  synq  acceptq
	//  0.000 s    |---- SYN -------------->|       1      0/1   first: new request
	//             |<--- SYN-ACK -----------|       1      0/1
	//  0.000 s    |---- ACK -------------->|       0      1/1   first: promoted: final ACK
	//  0.000 s    |---- SYN -------------->|       0      1/1   second: accept queue full
	//             |<--- RST-ACK -----------|       0      1/1
}

// A Linux client whose SYN is dropped does not notice; it sends another a second
// later, which finds room.
func Example_retry() {
	play(func(lab *stacktest.Lab) {
		l := lab.Listen(":80", 0, nil)
		lab.Dial("early", l).ExpectConnected()
		late := lab.Dial("late", l)
		late.ExpectConnecting()
		l.Accept()
		lab.Advance(time.Second)
		late.ExpectConnected()
		l.ExpectCounter("ListenDrops", 1)
		fmt.Print(lab.Ladder())
	})
	// Output:
	//           client               listener  synq  acceptq
	//  0.000 s    |---- SYN -------------->|       1      0/1   early: new request
	//             |<--- SYN-ACK -----------|       1      0/1
	//  0.000 s    |---- ACK -------------->|       0      1/1   early: promoted: final ACK
	//  0.000 s    |---- SYN -------------->x       0      1/1   late: ignored: accept queue full
	//  1.000 s    |---- SYN -------------->|       1      0/1   late: new request
	//             |<--- SYN-ACK -----------|       1      0/1
	//  1.000 s    |---- ACK -------------->|       0      1/1   late: promoted: final ACK
}
