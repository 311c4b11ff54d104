package stack

import (
	"reflect"
	"sync"
)

// ConnCounters count what became of connections and of segments without a
// listener, which is netstack's work, under the kernel's names. Those of the
// listen queues are in Stack.Counters; of names that exist in both, such as
// OutRsts, the kernel shows the sum.
type ConnCounters struct {
	EstabResets uint64 // from ESTABLISHED or CLOSE-WAIT straight to the end
	OutRsts     uint64 // RSTs sent, beyond those of the listeners
	RetransSegs uint64 // segments sent again
	TCPTimeouts uint64 // retransmission timers that fired

	TCPAbortOnTimeout uint64 // connections whose peer was silent, or kept its window shut, for too long
	TCPAbortOnLinger  uint64 // connections that were reset because TCP_LINGER2 is negative
	TCPAbortOnMemory  uint64 // closed connections beyond tcp_max_orphans, which were reset

	OutOfWindowIcmps uint64 // ICMP errors that quote a number not in flight
	PAWSEstab        uint64 // segments of connections with an old timestamp
	PAWSOldAck       uint64 // of these, ACKs that were overtaken, which are not answered
	TCPChallengeACK  uint64 // ACKs that answer an acknowledgment of what was not sent, or long ago
	TCPRcvQDrop      uint64 // segments for which a receive buffer had no memory
	BeyondWindow     uint64 // segments beyond a window that was shut for that

	// Answers that tcp_invalid_ratelimit held back, by what would have been answered:
	// an acknowledgment, an old timestamp, a number outside the window.
	TCPACKSkippedChallenge, TCPACKSkippedPAWS, TCPACKSkippedSeq uint64

	TW                    uint64 // connections that came to TIME-WAIT, or to FIN-WAIT-2 when closed
	TWKilled              uint64 // those in FIN-WAIT-2 for 4 s at most
	TWRecycled            uint64 // those that connect(2) replaced
	TCPTimeWaitOverflow   uint64 // those without TIME-WAIT, beyond tcp_max_tw_buckets
	PAWSTimewait          uint64 // segments for TIME-WAIT with an old timestamp
	TCPACKSkippedTimeWait uint64 // ACKs of TIME-WAIT that tcp_invalid_ratelimit held back
	TCPACKSkippedFinWait2 uint64 // the same of closed connections in FIN-WAIT-2
	TCPAbortOnData        uint64 // connections that data ended which nobody could read
}

// Each calls f with every counter's name and value, in the order of the fields.
func (c *ConnCounters) Each(f func(name string, value uint64)) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		f(v.Type().Field(i).Name, v.Field(i).Uint())
	}
}

// connCounts is the part of ConnCounters that is not netstack's to count.
type connCounts struct {
	mu sync.Mutex // a leaf
	c  ConnCounters
}

// count changes counters that are not netstack's.
func (s *Stack) count(change func(*ConnCounters)) {
	s.counted.mu.Lock()
	change(&s.counted.c)
	s.counted.mu.Unlock()
}

// ConnCounters returns what was counted so far.
func (s *Stack) ConnCounters() ConnCounters {
	s.counted.mu.Lock()
	c := s.counted.c
	s.counted.mu.Unlock()
	tcp := s.g.Stats().TCP
	c.EstabResets += tcp.EstablishedResets.Value()
	c.OutRsts += tcp.ResetsSent.Value()
	c.RetransSegs += tcp.Retransmits.Value()
	c.TCPTimeouts += tcp.Timeouts.Value()
	c.TCPAbortOnTimeout += tcp.EstablishedTimedout.Value()
	return c
}
