// Package stacktest is a laboratory for listen queues: a stack on a link of its
// own, clients at the other end, and time that passes only when the test says so.
//
//	func TestFullAcceptQueueDropsTheFinalACK(t *testing.T) {
//		lab := stacktest.New(t, stacktest.Config{})
//		l := lab.Listen(":80", 1, nil) // two connections fit
//		alice, bob, carol := lab.Peer("alice", l), lab.Peer("bob", l), lab.Peer("carol", l)
//		alice.Handshake()
//		carol.SYN()
//		bob.Handshake()
//		carol.ACK() // finds the accept queue full, and is forgotten
//		l.ExpectQueues(1, 2)
//		l.ExpectCounter("ListenOverflows", 1)
//		lab.Advance(time.Second)
//		carol.Expect("SYN-ACK seq=0 ack=1")
//		carol.Expect("SYN-ACK") // again, after a second
//	}
//
// Nothing sleeps and nothing is left to chance: a test of a minute takes
// milliseconds, and the same calls with the same Config.Seed give the same
// packets, byte for byte, on any machine and under any load.
//
// The time is the lab's own; testing/synctest is neither needed nor possible (netstack's
// workers hang in its bubbles, so that New fails there). Package listenq/memnet works in
// them.
//
// # Clients
//
// A Peer sends exactly the segments that it is told to, with numbers relative to
// the initial sequence numbers, and keeps those that it gets for Expect. A Client
// behaves like a Linux socket: it repeats its SYN and its data on Linux's
// schedule, answers what is to be answered, and ends with ECONNREFUSED, ETIMEDOUT
// or ECONNRESET.
//
// # Expectations
//
// What a method expects and does not find ends the test, with a sentence, the
// packet ladder of all decisions so far and a trace of all packets. Lab.Golden
// compares a Ladder or a Trace with a file in testdata; go test
// -stacktest.update writes the file.
//
// # Time
//
// A call returns when the stack has nothing left to do at that moment;
// Lab.Advance lets time pass. So nothing here waits: Accept on an empty queue, or
// Read without data, could only hang, and fails the test at once instead.
//
// # Contract
//
// One goroutine drives a lab and everything that belongs to it; a second one
// panics. Blocking calls of the stack itself, such as those of the listener that
// Listener.Stack returns, may be used from other goroutines, which then depend on
// the scheduler: what they do is up to them, and the promise of equal packets is
// gone.
package stacktest
