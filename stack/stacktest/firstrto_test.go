package stacktest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

const ms = time.Millisecond

// A path is a handshake, and what the connection knows of the round trip after it.
// tests/handshake plays the same to the kernel.
type path struct {
	name    string
	options listenq.Options // of the client, besides its segment size
	listen  stack.ListenOptions
	cookies bool
	repeats int           // SYN-ACKs that are lost
	early   time.Duration // of a bare ACK, which TCP_DEFER_ACCEPT passes over; 0 for none
	answer  time.Duration // from the last SYN-ACK to the segment that completes the handshake
	echo    bool          // of the first timestamp, not of the last
	// slack is how much later rto may be.
	rto, slack time.Duration
	flight     int // segments in the first flight, of 1000 bytes
}

var stamps = listenq.Options{Timestamps: true, TSVal: 1000}

var paths = []path{
	{name: "measured", answer: 500 * ms, rto: 1500 * ms, flight: 10},
	{name: "measured, timestamps", options: stamps, answer: 500 * ms, rto: 1500 * ms, flight: 10},
	{name: "short", answer: 20 * ms, rto: 200 * ms, flight: 10},
	{name: "repeated", repeats: 1, answer: 300 * ms, rto: 3 * time.Second, flight: 10},
	{name: "repeated, timestamps", options: stamps, repeats: 1, answer: 400 * ms, rto: 1200 * ms, flight: 10},
	{name: "repeated, first echoed", options: stamps, repeats: 1, answer: 400 * ms, echo: true, rto: 4200 * ms, flight: 10},
	{name: "repeated twice", repeats: 2, answer: 300 * ms, rto: 3 * time.Second, flight: 1},
	{name: "repeated twice, timestamps", options: stamps, repeats: 2, answer: 400 * ms, rto: 1200 * ms, flight: 1},
	{name: "repeated twice, first echoed", options: stamps, repeats: 2, answer: 400 * ms, echo: true, rto: 10200 * ms, flight: 10},
	{name: "deferred", listen: stack.ListenOptions{DeferAccept: time.Second}, early: 100 * ms, answer: 500 * ms, rto: 1500 * ms, flight: 10},
	{name: "deferred in silence", listen: stack.ListenOptions{DeferAccept: 7 * time.Second}, early: 100 * ms, answer: 1500 * ms, rto: 4500 * ms, flight: 10},
	{name: "cookie", cookies: true, answer: 500 * ms, rto: 3 * time.Second, flight: 10},
	{name: "cookie, timestamps", options: stamps, cookies: true, answer: 500 * ms, rto: 1500 * ms, slack: 3 * 64 * ms, flight: 10},
}

// What the handshake has measured is what the connection begins with: its first
// retransmission timeout (RFC 6298, sections 2.2 and 5.7) and its first flight (RFC
// 5681, section 3.1).
func TestFirstRTO(t *testing.T) {
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		for _, c := range paths {
			t.Run(c.name+" "+address, func(t *testing.T) {
				lab := stacktest.New(t, stacktest.Config{})
				if c.cookies {
					lab.SetSysctl("net.ipv4.tcp_syncookies", "2")
				}
				l := lab.Listen(address, 1, &c.listen)
				p := lab.Peer("alice", l)
				p.Send(stacktest.Segment{Flags: stacktest.SYN, Options: optionsOf(c, 0)})
				first := p.Expect("SYN-ACK").Options.TSVal
				for n := range c.repeats {
					lab.Advance(time.Second << n)
					p.Expect("SYN-ACK")
				}
				if c.early != 0 {
					lab.Advance(c.early)
					p.ACK()
				}
				lab.Advance(c.answer - c.early)
				echo := p.Timestamp()
				if c.echo {
					echo = first
				}
				p.Send(stacktest.Segment{Flags: stacktest.ACK | stacktest.PSH, Seq: 1, Ack: 1, Payload: []byte("x"), Options: optionsOf(c, echo)})
				p.Expect("ACK seq=1 ack=2")
				conn := l.Accept()
				wrote := lab.Now()
				conn.Write(strings.Repeat("x", 20000))
				for range c.flight {
					p.Expect("ACK ack=2")
				}
				p.ExpectNothing()
				lab.Advance(c.rto - ms)
				p.ExpectNothing()
				lab.Advance(c.slack + 2*ms)
				p.Expect("ACK seq=1")
				again := p.Received()[len(p.Received())-1]
				require.WithinRange(t, time.Unix(0, int64(again.At)), time.Unix(0, int64(wrote+c.rto)), time.Unix(0, int64(wrote+c.rto+c.slack+ms)))
			})
		}
	}
}

// optionsOf are those of a client's segment.
func optionsOf(c path, echo uint32) listenq.Options {
	o := c.options
	o.MSS, o.TSEcr = 1000, echo
	return o
}

// No tail loss probe leaves before twice the round trip (RFC 8985, section 7.2),
// and an acknowledgment that comes in time repairs nothing.
func TestNoProbeWithinTheRoundTrip(t *testing.T) {
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		lab := stacktest.New(t, stacktest.Config{})
		l := lab.Listen(address, 1, nil)
		p := lab.Peer("alice", l)
		p.Send(stacktest.Segment{Flags: stacktest.SYN, Options: listenq.Options{MSS: 1000, SACKPermitted: true}})
		p.Expect("SYN-ACK sack")
		lab.Advance(100 * ms)
		p.ACK()
		c := l.Accept()
		c.Write(strings.Repeat("x", 3000))
		for range 4 { // 964 bytes each: room for SACK blocks is kept
			p.Expect("ACK")
		}
		lab.Advance(110 * ms)
		p.ExpectNothing()
		p.ACK()
		e, err := c.Stack().Endpoint()
		require.NoError(t, err)
		info := e.Info()
		require.GreaterOrEqual(t, info.CongestionWindow, uint32(10))
		require.InDelta(t, 100*ms, info.RTT, float64(2*ms))
		lab.Advance(time.Minute)
		p.ExpectNothing()
	}
}
