package stack_test

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// scaled returns both ends of a connection with window scaling, and the shift of
// the stack's windows.
func scaled(lab *stacktest.Lab) (*stacktest.Peer, *stacktest.Conn, uint8) {
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("alice", l)
	p.Send(stacktest.Segment{Flags: stacktest.SYN, Options: listenq.Options{MSS: 1460, WindowScaling: true}})
	scale := p.Expect("SYN-ACK ws").Options.WindowScale
	p.ACK()
	return p, l.Accept(), scale
}

// edges returns the right edge of the window in everything that the stack has sent.
func edges(p *stacktest.Peer, scale uint8) []int64 {
	var all []int64
	for _, r := range p.Received() {
		shift := scale
		if r.Segment.Flags.Has(stacktest.SYN) {
			shift = 0
		}
		all = append(all, r.Segment.Ack+int64(r.Segment.Window)<<shift)
	}
	return all
}

// The right edge of a window never moves to the left (RFC 9293, section 3.8.6), however
// the sizes of what arrives fit the unit of the window.
func TestTheWindowNeverShrinks(t *testing.T) {
	for _, size := range []int{1, 3, 127, 129, 524, 576, 1460} {
		lab := stacktest.New(t, stacktest.Config{})
		p, c, scale := scaled(lab)
		seq := int64(1)
		for i := range 700 {
			told := edges(p, scale)
			if seq+int64(size) > told[len(told)-1] {
				break // the window is used up
			}
			p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1, Payload: make([]byte, size)})
			seq += int64(size)
			if i%50 == 49 {
				c.TryRead(make([]byte, 100))
			}
		}
		told := edges(p, scale)
		for i := 1; i < len(told); i++ {
			require.GreaterOrEqual(t, told[i], told[i-1], "segments of %d bytes: answer %d", size, i)
		}
		require.Equal(t, seq, p.Received()[len(told)-1].Segment.Ack, "segments of %d bytes: all was taken", size)
		lab.ExpectCounter("TCPRcvQDrop", 0)
	}
}

// A peer that fills the window with small segments finds room for all of them, and
// then a window that is shut.
func TestWhatIsOfferedFits(t *testing.T) {
	for _, size := range []int{100, 300, 524, 1460} {
		lab := stacktest.New(t, stacktest.Config{})
		p, c, scale := scaled(lab)
		sent := 0
		for sent < 4<<20 {
			told := edges(p, scale)
			n := min(size, int(slices.Max(told))-1-sent)
			if n == 0 {
				break
			}
			p.Send(stacktest.Segment{Flags: ack, Seq: int64(1 + sent), Ack: 1, Payload: make([]byte, n)})
			sent += n
		}
		lab.ExpectCounter("TCPRcvQDrop", 0)
		require.Equal(t, int64(1+sent), p.Received()[len(p.Received())-1].Segment.Ack, "all was taken")
		require.Less(t, sent, 1<<20, "and it ended")

		read := 0
		for read < sent {
			n, err := c.TryRead(make([]byte, 1<<16))
			require.NoError(t, err)
			read += n
		}
		told := edges(p, scale)
		require.Greater(t, told[len(told)-1], int64(1+sent), "the window is open again")
	}
}

// Data for which a smaller buffer has no memory is answered with a window that is
// shut, while what it acknowledges counts (tcp_data_queue, TCPRcvQDrop): a kernel does
// so.
func TestNoMemoryShutsTheWindow(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := established(lab)
	c.Write(strings.Repeat("x", 1000))
	p.Expect("ACK seq=1 len=1000")
	require.NoError(t, c.Stack().SetReadBuffer(1000))
	seq := int64(1)
	taken := 0
	for range 2 {
		p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1, Payload: []byte(strings.Repeat("y", 1000))})
		seq += 1000
		taken++
		p.Expect("ACK seq=1001 len=0")
	}
	p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1001, Payload: []byte(strings.Repeat("y", 1000))})
	p.Expect("ACK seq=1001 len=0 win=0")
	require.Equal(t, int64(1+1000*taken), p.Received()[len(p.Received())-1].Segment.Ack)
	lab.ExpectCounter("TCPRcvQDrop", 1)

	p.Send(stacktest.Segment{Flags: ack, Seq: seq + 1000, Ack: 1001, Payload: []byte("beyond")})
	p.Expect("ACK seq=1001 len=0 win=0")
	lab.ExpectCounter("BeyondWindow", 1)
	lab.Advance(10e9)
	p.ExpectNothing() // the acknowledgment has counted

	c.Write("z")
	p.Expect("ACK seq=1001 len=1 win=0")
	p.Send(stacktest.Segment{Flags: ack, Seq: seq + 1000, Ack: 1002}) // as after the data refused
	lab.Advance(10e9)
	p.ExpectNothing() // this one, too

	require.Equal(t, 1000*taken, len(c.Read()))
	require.Greater(t, p.Expect("ACK seq=1002 len=0").Window, uint16(0))
	p.Send(stacktest.Segment{Flags: ack, Seq: int64(1 + 1000*taken), Ack: 1002, Payload: []byte("again")})
	require.Equal(t, "again", c.Read())
}

// The window of a connection that the stack opens does not depend on where the peer's
// numbers begin.
func TestTheFirstWindowOfADialedConnection(t *testing.T) {
	for _, isn := range []uint32{0, 1, 1 << 31, 1<<31 + 1, 0xf0000000, 0xffffffff} {
		clock := stack.NewVirtualClock()
		r := &ipRecorder{wire: newWire()}
		s, err := stack.New(stack.Config{Link: r, Addresses: []netip.Prefix{serverPrefix4}, Clock: clock, Random: zeros{}})
		require.NoError(t, err)
		peer := netip.MustParseAddrPort("198.51.100.7:80")
		e, err := s.NewEndpoint(false)
		require.NoError(t, err)
		require.ErrorIs(t, e.Connect(nil, peer), syscall.EINPROGRESS)
		clock.Settle()
		r.deliver(stacktest.Segment{Flags: stacktest.SYN | ack, Window: 65535, Options: listenq.Options{MSS: 1460, WindowScaling: true}}.
			Packet(peer, e.Local(), isn, r.iss+1))
		clock.Settle()
		r.deliver(stacktest.Segment{Flags: ack, Window: 65535, Payload: make([]byte, 100)}.Packet(peer, e.Local(), isn+1, r.iss+1))
		clock.Settle()
		last := r.segments[len(r.segments)-1]
		require.Equal(t, isn+101, last.AckNumber())
		require.Less(t, int(last.WindowSize())<<7, 1<<20)
		require.Greater(t, int(last.WindowSize())<<7, 20000)
		require.NoError(t, s.Close())
	}
}

// An answer to data that there is no memory for has a timestamp where others have one.
func TestAShutWindowHasATimestamp(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := stamped(lab)
	require.NoError(t, c.Stack().SetReadBuffer(1000))
	for i := range 3 {
		p.Send(at(p, 500002, stacktest.Segment{Flags: ack, Seq: int64(1 + 1000*i), Ack: 1, Payload: make([]byte, 1000)}))
	}
	p.Expect("ACK ack=1001 ts")
	p.Expect("ACK ack=2001 ts")
	s := p.Expect("ACK seq=1 ack=2001 win=0 ts")
	require.Equal(t, uint32(500002), s.Options.TSEcr)
}

// What probes a window that is shut says what it acknowledges.
func TestAProbeAcknowledges(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := established(lab)
	c.Write("x")
	p.Expect("ACK seq=1 len=1")
	seq := int64(1)
	for edge := int64(-1); edge != seq; {
		told := edges(p, 0)
		edge = slices.Max(told)
		if n := min(1460, edge-seq); n > 0 {
			p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1, Payload: make([]byte, n)})
			seq += n
		}
	}
	n := len(p.Received())
	p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 2, Payload: []byte("p")})
	require.Len(t, p.Received(), n+1, "the probe is answered")
	lab.Advance(10e9)
	require.Len(t, p.Received(), n+1, "the byte is not repeated")
}

// A single small segment does not keep the window small for ever.
func TestTheWindowFollowsWhatArrives(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c, scale := scaled(lab)
	p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Payload: make([]byte, 10)})
	seq := int64(11)
	for range 100 {
		p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1, Payload: make([]byte, 1460)})
		seq += 1460
		c.TryRead(make([]byte, 1<<16))
	}
	told := edges(p, scale)
	require.Greater(t, told[len(told)-1], seq+200_000)
}

// A segment whose window was changed keeps a checksum that holds.
func TestTheWindowChangesTheChecksum(t *testing.T) {
	r, _, _, deliver := bareListener(t)
	deliver(stacktest.Segment{Flags: stacktest.SYN, Window: 65535, Options: listenq.Options{MSS: 1460, WindowScaling: true}}.Packet(bareClient, bareServer, 1000, 0))
	deliver(stacktest.Segment{Flags: ack, Window: 65535}.Packet(bareClient, bareServer, 1001, r.iss+1))
	for i := range 300 {
		deliver(stacktest.Segment{Flags: ack, Window: 65535, Payload: make([]byte, 127)}.Packet(bareClient, bareServer, uint32(1001+127*i), r.iss+1))
	}
	require.Zero(t, r.damaged)
}

// What lies between the edge that was told and the one that netstack keeps loses
// nothing of what it acknowledges.
func TestAcknowledgmentsAtTheEdgeCount(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c, scale := scaled(lab)
	c.Write("x")
	p.Expect("ACK seq=1 len=1")
	seq := int64(1)
	for {
		told := edges(p, scale)
		n := min(1459, told[len(told)-1]-seq)
		if n == 0 {
			break
		}
		p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 1, Payload: make([]byte, n)})
		seq += n
	}
	p.Send(stacktest.Segment{Flags: ack, Seq: seq, Ack: 2})
	n := len(p.Received())
	lab.Advance(10e9)
	require.Len(t, p.Received(), n, "the byte is not repeated")
}

// A receive buffer that is made smaller than what has arrived out of order still takes
// what is missing before that.
func TestASmallerBufferTakesWhatIsMissing(t *testing.T) {
	const size, count = 1000, 30
	lab := stacktest.New(t, stacktest.Config{})
	p, c, _ := scaled(lab)
	send := func(i int) {
		p.Send(stacktest.Segment{Flags: ack, Seq: int64(1 + i*size), Ack: 1, Payload: make([]byte, size)})
	}
	for i := range count {
		send(1 + i)
	}
	require.NoError(t, c.Stack().SetReadBuffer(2048))
	send(0)
	read := 0
	for buf := make([]byte, 1500); ; {
		n, err := c.TryRead(buf)
		if err != nil {
			break
		}
		read += n
	}
	require.Equal(t, (count+1)*size, read)
	lab.ExpectCounter("TCPRcvQDrop", 0)
}
