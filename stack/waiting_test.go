package stack_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// What a client can make a listener hold that nobody accepts from is small, whatever the
// size of its segments; once it is accepted, the window opens as ever.
func TestWaitingConnectionsHoldLittle(t *testing.T) {
	for _, size := range []int{1, 100, 1460} {
		lab := stacktest.New(t, stacktest.Config{})
		l := lab.Listen(":80", 5, nil)
		p := lab.Peer("alice", l)
		p.Send(stacktest.Segment{Flags: stacktest.SYN, Options: listenq.Options{MSS: 1460, WindowScaling: true}})
		scale := p.Expect("SYN-ACK ws").Options.WindowScale
		p.ACK()
		seq := int64(1)
		for range 2000 {
			n := min(int64(size), slices.Max(edges(p, scale))-seq)
			if n == 0 {
				break
			}
			p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1, Payload: make([]byte, n)})
			seq += n
		}
		c := l.Accept()
		// One segment may be taken while there is less room than it needs.
		require.LessOrEqual(t, stack.ReceiveMemory(c.Stack()), 131072+2048, "segments of %d bytes", size)
		require.Greater(t, stack.ReceiveMemory(c.Stack()), 30000, "segments of %d bytes", size)

		got := 0
		for got == 0 || p.Received()[len(p.Received())-1].Segment.Ack > int64(1+got) {
			got += len(c.Read())
		}
		seq = int64(1 + got)
		for range 300 {
			p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1, Payload: make([]byte, 1460)})
			seq += 1460
			c.TryRead(make([]byte, 1<<16))
		}
		require.Greater(t, slices.Max(edges(p, scale)), seq+131072, "segments of %d bytes: the window has opened", size)
	}
}
