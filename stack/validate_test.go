package stack_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

const (
	ack = stacktest.ACK
	fin = stacktest.FIN
	psh = stacktest.PSH
)

// eachVersion runs a test over IPv4 and IPv6.
func eachVersion(t *testing.T, f func(t *testing.T, lab *stacktest.Lab)) {
	for name, prefix := range map[string]string{"IPv4": "192.0.2.2/24", "IPv6": "2001:db8::2/64"} {
		t.Run(name, func(t *testing.T) {
			f(t, stacktest.New(t, stacktest.Config{Addresses: []netip.Prefix{netip.MustParsePrefix(prefix)}}))
		})
	}
}

// established returns both ends of a connection.
func established(lab *stacktest.Lab) (*stacktest.Peer, *stacktest.Conn) {
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("alice", l)
	p.Handshake()
	return p, l.Accept()
}

// stamped returns both ends of a connection with timestamps; the client's last is
// 500001.
func stamped(lab *stacktest.Lab) (*stacktest.Peer, *stacktest.Conn) {
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("alice", l)
	p.Send(stacktest.Segment{Flags: stacktest.SYN, Options: listenq.Options{MSS: 1460, Timestamps: true, TSVal: 500000}})
	p.Expect("SYN-ACK ts")
	p.Send(at(p, 500001, stacktest.Segment{Flags: ack, Seq: 1, Ack: 1}))
	return p, l.Accept()
}

// at gives a segment a timestamp.
func at(p *stacktest.Peer, val uint32, s stacktest.Segment) stacktest.Segment {
	s.Options = listenq.Options{Timestamps: true, TSVal: val, TSEcr: p.Timestamp()}
	return s
}

// A segment whose acknowledgment cannot be is answered, at most twice a second, and
// nothing of it is taken (RFC 5961, section 5.2): the values are a kernel's.
func TestAcknowledgmentsAreChecked(t *testing.T) {
	for name, s := range map[string]stacktest.Segment{
		"data, not sent yet":          {Flags: psh | ack, Seq: 1, Ack: 2, Payload: []byte("EVIL")},
		"data, far beyond":            {Flags: psh | ack, Seq: 1, Ack: 1 << 30, Payload: []byte("EVIL")},
		"data, long ago":              {Flags: psh | ack, Seq: 1, Ack: -1 << 30, Payload: []byte("EVIL")},
		"data, one byte too old":      {Flags: psh | ack, Seq: 1, Ack: 0, Payload: []byte("EVIL")},
		"data out of order, not sent": {Flags: psh | ack, Seq: 51, Ack: 1000, Payload: []byte("EVIL")},
		"FIN, not sent yet":           {Flags: fin | ack, Seq: 1, Ack: 6},
		"FIN, long ago":               {Flags: fin | ack, Seq: 1, Ack: -50000},
		"pure, not sent yet":          {Flags: ack, Seq: 1, Ack: 2},
		"pure, long ago":              {Flags: ack, Seq: 1, Ack: -50000},
	} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
				p, c := established(lab)
				p.Send(s)
				p.Expect("ACK seq=1 ack=1 len=0")
				p.Send(s)
				lab.Advance(499 * time.Millisecond)
				p.Send(s)
				p.ExpectNothing()
				lab.ExpectCounter("TCPChallengeACK", 1)
				lab.ExpectCounter("TCPACKSkippedChallenge", 2)
				lab.Advance(2 * time.Millisecond)
				p.Send(s)
				p.Expect("ACK seq=1 ack=1 len=0")

				_, err := c.TryRead(make([]byte, 10))
				require.Error(t, err, "nothing was taken")
				p.Send(stacktest.Segment{Flags: psh | ack, Seq: 1, Ack: 1, Payload: []byte("good")})
				require.Equal(t, "good", c.Read())
			})
		})
	}
}

// What a peer has acknowledged before counts as long as it lies within the largest
// window that it has offered.
func TestOldAcknowledgmentsWithinTheWindowPass(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := established(lab)
	c.Write(strings.Repeat("x", 1000))
	p.Expect("ACK seq=1 len=1000")
	p.ACK()
	p.Send(stacktest.Segment{Flags: psh | ack, Seq: 1, Ack: 1, Payload: []byte("late")})
	require.Equal(t, "late", c.Read())
	p.Expect("ACK ack=5")
	p.Send(stacktest.Segment{Flags: psh | ack, Seq: 5, Ack: 0, Payload: []byte("older than all")})
	p.Expect("ACK seq=1001 ack=5 len=0")
	lab.ExpectCounter("TCPChallengeACK", 1)
}

// The largest window counts, whenever it was offered.
func TestTheLargestWindowCounts(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("alice", l)
	p.Send(stacktest.Segment{Flags: stacktest.SYN, Window: 100, Options: listenq.Options{MSS: 1460}})
	p.Expect("SYN-ACK")
	p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Window: 100})
	c := l.Accept()
	p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Window: 2000})
	c.Write(strings.Repeat("x", 1000))
	p.Expect("ACK seq=1 len=1000")
	p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1001, Window: 100})
	p.Send(stacktest.Segment{Flags: psh | ack, Seq: 1, Ack: 1, Window: 100, Payload: []byte("late")})
	require.Equal(t, "late", c.Read())
	lab.ExpectCounter("TCPChallengeACK", 0)
}

// What a damaged segment says is nobody's, and is not answered.
func TestDamagedSegmentsSayNothing(t *testing.T) {
	r, _, l, deliver := bareConnection(t)
	n := len(r.segments)
	bad := stacktest.Segment{Flags: ack, Window: 65535}.Packet(bareClient, bareServer, 1001, r.iss+1000)
	bad[len(bad)-4] ^= 0x80 // the checksum
	deliver(bad)
	require.Len(t, r.segments, n)
	_, err := l.TryAccept()
	require.NoError(t, err)
}

// A segment that arrives before netstack has the connection is checked like others.
func TestSegmentsHeldAreCheckedToo(t *testing.T) {
	r, s, l, deliver := bareListener(t)
	deliver(stacktest.Segment{Flags: stacktest.SYN, Window: 65535, Options: listenq.Options{MSS: 1460}}.Packet(bareClient, bareServer, 1000, 0))
	s.Netstack().Pause()
	r.deliver(stacktest.Segment{Flags: ack, Window: 65535}.Packet(bareClient, bareServer, 1001, r.iss+1))
	r.deliver(stacktest.Segment{Flags: ack, Window: 65535, Payload: []byte("EVIL")}.Packet(bareClient, bareServer, 1001, r.iss+1000))
	s.Netstack().Resume()
	deliver(stacktest.Segment{Flags: ack, Window: 65535, Payload: []byte("good")}.Packet(bareClient, bareServer, 1001, r.iss+1))
	c, err := l.TryAccept()
	require.NoError(t, err)
	b := make([]byte, 10)
	n, err := c.Read(b)
	require.NoError(t, err)
	require.Equal(t, "good", string(b[:n]))
}

var (
	bareServer = netip.AddrPortFrom(serverPrefix4.Addr(), 80)
	bareClient = netip.MustParseAddrPort("198.51.100.7:1234")
)

// bareListener returns a stack in virtual time whose link records, with a listener, and
// what delivers a packet and lets the stack come to rest.
func bareListener(t *testing.T) (*ipRecorder, *stack.Stack, *stack.Listener, func([]byte)) {
	clock := stack.NewVirtualClock()
	r := &ipRecorder{wire: newWire()}
	s, err := stack.New(stack.Config{Link: r, Addresses: []netip.Prefix{serverPrefix4}, Clock: clock, Random: zeros{}})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	l, err := s.Listen("tcp", ":80", 5, nil)
	require.NoError(t, err)
	return r, s, l, func(packet []byte) {
		r.deliver(packet)
		clock.Settle()
	}
}

// bareConnection is bareListener with a connection from bareClient, whose numbers begin
// at 1000.
func bareConnection(t *testing.T) (*ipRecorder, *stack.Stack, *stack.Listener, func([]byte)) {
	r, s, l, deliver := bareListener(t)
	deliver(stacktest.Segment{Flags: stacktest.SYN, Window: 65535, Options: listenq.Options{MSS: 1460}}.Packet(bareClient, bareServer, 1000, 0))
	deliver(stacktest.Segment{Flags: ack, Window: 65535}.Packet(bareClient, bareServer, 1001, r.iss+1))
	return r, s, l, deliver
}

// The limit is tcp_invalid_ratelimit, and 0 is none.
func TestChallengesFollowTheSysctl(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	lab.SetSysctl("net.ipv4.tcp_invalid_ratelimit", "0")
	p, _ := established(lab)
	for range 3 {
		p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 2})
		p.Expect("ACK seq=1 ack=1 len=0")
	}
}

// A segment from before the window is answered too, at the same pace.
func TestOldSegmentsAreAnsweredAtALimitedPace(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, _ := established(lab)
	p.Data("1234")
	p.Expect("ACK ack=5")
	for range 3 {
		p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1})
	}
	p.Expect("ACK seq=1 ack=5 len=0")
	p.ExpectNothing()
	lab.ExpectCounter("TCPACKSkippedSeq", 2)
	p.Send(stacktest.Segment{Flags: ack, Seq: 1 << 20, Ack: 1})
	p.ExpectNothing()
	lab.ExpectCounter("TCPACKSkippedSeq", 3)
	for range 2 { // data is no part of a loop
		p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Payload: []byte("1234")})
		p.Expect("ACK seq=1 ack=5 len=0")
	}
}

// A segment with an old timestamp is answered and not taken (RFC 7323, section 5.3):
// the values are a kernel's.
func TestOldTimestampsAreRefused(t *testing.T) {
	eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
		p, c := stamped(lab)
		data := stacktest.Segment{Flags: psh | ack, Seq: 1, Ack: 1, Payload: []byte("EVIL")}
		for range 2 {
			p.Send(at(p, 400000, data))
			p.Expect("ACK seq=1 ack=1 len=0 ts")
		}
		p.Send(at(p, 400000, stacktest.Segment{Flags: fin | ack, Seq: 1, Ack: 1}))
		p.Expect("ACK seq=1 ack=1 len=0 ts")
		lab.ExpectCounter("PAWSEstab", 3)

		pure := stacktest.Segment{Flags: ack, Seq: 1, Ack: 1}
		p.Send(at(p, 400000, pure))
		p.Expect("ACK seq=1 ack=1 len=0 ts")
		p.Send(at(p, 400000, pure))
		p.ExpectNothing()
		lab.ExpectCounter("TCPACKSkippedPAWS", 1)
		p.Send(at(p, 499901, pure)) // an ACK that was overtaken
		pure.Seq = 0
		p.Send(at(p, 499901, pure)) // and one that was overtaken by data, too
		p.ExpectNothing()
		lab.ExpectCounter("PAWSEstab", 5)
		lab.ExpectCounter("PAWSOldAck", 1)

		_, err := c.TryRead(make([]byte, 10))
		require.Error(t, err, "nothing was taken")
		data.Payload = []byte("good")
		p.Send(at(p, 500000, data)) // one tick is within the rounding
		require.Equal(t, "good", c.Read())
		p.Expect("ACK ack=5 ts")
		p.Send(stacktest.Segment{Flags: psh | ack, Seq: 5, Ack: 1, Payload: []byte("without")})
		require.Equal(t, "without", c.Read())
	})
}

// An old ACK that would change the window is not one that was overtaken
// (tcp_may_update_window).
func TestOldTimestampsChangeNoWindow(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("alice", l)
	p.Send(stacktest.Segment{Flags: stacktest.SYN, Window: 1000, Options: listenq.Options{MSS: 1460, Timestamps: true, TSVal: 500000}})
	p.Expect("SYN-ACK ts")
	p.Send(at(p, 500001, stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Window: 1000}))
	p.Send(at(p, 499901, stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Window: 1000}))
	lab.ExpectCounter("PAWSEstab", 0)
	p.Send(at(p, 499901, stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Window: 1001}))
	lab.ExpectCounter("PAWSEstab", 1)
	p.Send(at(p, 499901, stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, ZeroWindow: true}))
	lab.ExpectCounter("PAWSEstab", 2)
}

// The newest timestamp is that of segments in order, also of pure ACKs, and it
// proves nothing after 24 days.
func TestTheNewestTimestampCounts(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := stamped(lab)
	p.Send(at(p, 600000, stacktest.Segment{Flags: ack, Seq: 1, Ack: 1}))
	data := stacktest.Segment{Flags: psh | ack, Seq: 1, Ack: 1, Payload: []byte("data")}
	p.Send(at(p, 500002, data))
	p.Expect("ACK ack=1 len=0")
	p.Send(at(p, 900000, stacktest.Segment{Flags: ack, Seq: 2, Ack: 1, Payload: []byte("ata")})) // a hole before it
	p.Expect("ACK ack=1")
	p.Send(at(p, 600001, data))
	p.Expect("ACK ack=5")
	require.Equal(t, "data", c.Read())

	lab.Advance(24*24*time.Hour + time.Second)
	p.Send(at(p, 100, stacktest.Segment{Flags: psh | ack, Seq: 5, Ack: 1, Payload: []byte("new")}))
	require.Equal(t, "new", c.Read())
}

// Connections that the stack opened, and states after ESTABLISHED, are no different.
func TestClosingConnectionsAreCheckedToo(t *testing.T) {
	eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
		p, c := stamped(lab)
		c.Close()
		p.Expect("FIN-ACK seq=1")
		p.Send(at(p, 500002, stacktest.Segment{Flags: ack, Seq: 1, Ack: 5})) // FIN-WAIT-1: never sent
		p.Expect("ACK seq=2 ack=1 len=0")
		p.Send(at(p, 500003, stacktest.Segment{Flags: ack, Seq: 1, Ack: 2}))
		p.Send(at(p, 400000, stacktest.Segment{Flags: fin | ack, Seq: 1, Ack: 2})) // FIN-WAIT-2: old
		p.Expect("ACK seq=2 ack=1 len=0")
		p.Send(at(p, 500004, stacktest.Segment{Flags: fin | ack, Seq: 1, Ack: 2}))
		p.Expect("ACK seq=2 ack=2 len=0")
	})
	lab := stacktest.New(t, stacktest.Config{})
	p, c := stamped(lab)
	p.Send(at(p, 500002, stacktest.Segment{Flags: fin | ack, Seq: 1, Ack: 1}))
	p.Expect("ACK ack=2")
	c.Write("x") // CLOSE-WAIT
	p.Expect("ACK seq=1 len=1")
	p.Send(at(p, 500003, stacktest.Segment{Flags: ack, Seq: 2, Ack: 100}))
	p.Expect("ACK seq=2 ack=2 len=0")
	lab.Advance(time.Second)
	p.Expect("ACK seq=1 len=1") // it was not acknowledged
}
