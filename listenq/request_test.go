package listenq

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func stamped(n int, tsval uint32) *peer {
	p := client4(n)
	p.opts.Timestamps, p.opts.TSVal = true, tsval
	return p
}

// A segment older than the SYN is answered by an ACK (RFC 7323, section 5.3).
func TestOldTimestamp(t *testing.T) {
	for _, c := range []struct {
		syn, ack uint32
		taken    bool
	}{
		{1000, 1000, true},
		{1000, 1001, true},
		{1000, 999, false},
		{1<<32 - 1, 0, true},
		{0, 1<<32 - 1, true}, // some systems send 0 in the SYN
		{1, 1<<31 + 1, false},
	} {
		l := listenWith(8, nil)
		p := stamped(1, c.syn)
		p.syn(0, l)
		seg := p.ack()
		seg.Options.TSVal = c.ack
		out := l.Segment(0, seg)
		if c.taken {
			requireOutcome(t, out, Promote, FinalACK)
			require.Equal(t, c.ack, out.Handshake.Peer.TSVal)
			continue
		}
		requireOutcome(t, out, SendACK, OutOfWindow)
		require.Equal(t, uint64(1), l.Counters().PAWSEstab)
		require.Equal(t, p.out.Seq+1, out.Seq)
		require.Equal(t, p.irs+1, out.Ack)
		requireOutcome(t, l.Segment(0, seg), Drop, RateLimited)
		require.Equal(t, uint64(2), l.Counters().PAWSEstab)

		rst := *seg
		rst.Flags = RST
		requireOutcome(t, l.Segment(0, &rst), Drop, RSTIgnored)
	}
}

// A duplicate SYN with an old timestamp is no duplicate.
func TestOldTimestampOnSYN(t *testing.T) {
	l := listenWith(8, nil)
	p := stamped(1, 1000)
	p.syn(0, l)
	p.opts.TSVal = 999
	requireOutcome(t, p.syn(time.Second/2, l), SendACK, OutOfWindow)
	require.Zero(t, l.Counters().TCPSynRetrans)
}

// The echo must lie between the first and the latest SYN-ACK's timestamp; 0 is
// no echo.
func TestTimestampEchoRange(t *testing.T) {
	for _, c := range []struct {
		delta int // from the first SYN-ACK, in milliseconds
		taken bool
	}{{-1, false}, {0, true}, {500, true}, {1000, true}, {1001, false}} {
		l := listenWith(8, nil)
		p := stamped(1, 1000)
		p.syn(0, l)
		l.Advance(time.Second, func(o Outcome) { requireOutcome(t, o, SendSYNACK, RetransmitTimeout) })
		seg := p.ack()
		seg.Options.TSEcr += uint32(c.delta)
		if out := l.Segment(2*time.Second, seg); c.taken {
			requireOutcome(t, out, Promote, FinalACK)
		} else {
			requireOutcome(t, out, SendACK, OutOfWindow)
			require.Equal(t, uint64(1), l.Counters().TSEcrRejected)
		}
	}
	l := listenWith(8, nil)
	p := stamped(1, 1000)
	p.syn(0, l)
	seg := p.ack()
	seg.Options.TSEcr = 0
	requireOutcome(t, l.Segment(0, seg), Promote, FinalACK)
}

// An ACK that is dropped leaves no timestamp behind: since Linux 6.14 only the
// connection takes it.
func TestDroppedACKKeepsTimestamp(t *testing.T) {
	l := listenWith(1, nil)
	late := stamped(1, 1000)
	late.syn(0, l)
	for i := range 2 {
		p := client4(2 + i)
		p.syn(0, l)
		requireOutcome(t, p.finish(0, l), Promote, FinalACK)
	}
	seg := late.ack()
	seg.Options.TSVal = 5000
	requireOutcome(t, l.Segment(0, seg), Drop, AcceptQueueFull)
	l.Accept()
	seg.Options.TSVal = 4000
	out := l.Segment(0, seg)
	requireOutcome(t, out, Promote, FinalACK)
	require.Equal(t, uint32(4000), out.Handshake.Peer.TSVal)
}

// Data ahead of the window's start does not carry the connection's timestamp.
func TestOutOfOrderDataKeepsTimestamp(t *testing.T) {
	l := listenWith(8, nil)
	p := stamped(1, 1000)
	p.syn(0, l)
	seg := p.ack()
	seg.Seq, seg.Len, seg.Options.TSVal = seg.Seq+100, 10, 2000
	out := l.Segment(0, seg)
	requireOutcome(t, out, Promote, FinalACK)
	require.Equal(t, uint32(1000), out.Handshake.Peer.TSVal)
}

// Options that a sysctl forbids are not agreed on, and timestamps that were not
// agreed on are not looked at.
func TestAgreedOptions(t *testing.T) {
	offer := Options{MSS: 0, WindowScale: 15, WindowScaling: true, SACKPermitted: true, Timestamps: true, TSVal: 9, TSEcr: 9}
	for name, want := range map[string]Options{
		"":                            {MSS: 536, WindowScale: 14, WindowScaling: true, SACKPermitted: true, Timestamps: true, TSVal: 9},
		"net.ipv4.tcp_window_scaling": {MSS: 536, SACKPermitted: true, Timestamps: true, TSVal: 9},
		"net.ipv4.tcp_sack":           {MSS: 536, WindowScale: 14, WindowScaling: true, Timestamps: true, TSVal: 9},
		"net.ipv4.tcp_timestamps":     {MSS: 536, WindowScale: 14, WindowScaling: true, SACKPermitted: true},
	} {
		l := listenWith(8, func(_ *Config, s *Sysctls) {
			if name != "" {
				require.NoError(t, s.Set(name, "0"))
			}
		})
		p := client4(1)
		p.opts = offer
		require.Equal(t, want, p.syn(0, l).Handshake.Peer, name)
		seg := p.ack()
		seg.Options = Options{Timestamps: true, TSVal: 1, TSEcr: 1}
		if name == "net.ipv4.tcp_timestamps" {
			requireOutcome(t, l.Segment(0, seg), Promote, FinalACK)
		} else {
			requireOutcome(t, l.Segment(0, seg), SendACK, OutOfWindow)
		}
	}
}

// The window that a SYN-ACK can offer ends at 65535, whatever is configured.
func TestWindowEdges(t *testing.T) {
	for _, c := range []struct {
		window uint32
		ahead  uint32
		size   int
		in     bool
	}{
		{0, 0, 0, true}, {0, 1, 0, false}, {0, 0, 1, true},
		{100, 99, 0, true}, {100, 100, 0, true}, {100, 101, 0, false}, {100, 100, 1, false}, {100, 99, 1, true},
		{1 << 20, 65535, 0, true}, {1 << 20, 65536, 0, false},
	} {
		l := listenWith(8, func(cfg *Config, _ *Sysctls) { cfg.Window = c.window })
		p := client4(1)
		p.syn(0, l)
		seg := p.ack()
		seg.Seq, seg.Len = seg.Seq+c.ahead, c.size
		if out := l.Segment(0, seg); c.in {
			requireOutcome(t, out, Promote, FinalACK)
		} else {
			requireOutcome(t, out, SendACK, OutOfWindow)
		}
	}
}

// The limit of one answer per tcp_invalid_ratelimit is per request, starts with
// the first answer and does not hold for data.
func TestInvalidRatelimit(t *testing.T) {
	l := listenWith(8, nil)
	p, q := client4(1), client4(2)
	p.syn(0, l)
	q.syn(0, l)
	requireOutcome(t, p.syn(0, l), SendSYNACK, DuplicateSYN)
	requireOutcome(t, q.syn(0, l), SendSYNACK, DuplicateSYN)
	requireOutcome(t, p.syn(500*time.Millisecond-1, l), Drop, RateLimited)
	requireOutcome(t, p.syn(500*time.Millisecond, l), SendSYNACK, DuplicateSYN)
	require.Equal(t, uint64(1), l.Counters().TCPACKSkippedSynRecv)

	seg := p.ack()
	seg.Seq -= 100
	requireOutcome(t, l.Segment(500*time.Millisecond, seg), Drop, RateLimited)
	seg.Len = 1
	requireOutcome(t, l.Segment(500*time.Millisecond, seg), SendACK, OutOfWindow)
	requireOutcome(t, l.Segment(500*time.Millisecond, seg), SendACK, OutOfWindow)
}

// A duplicate SYN starts the timer again without counting as a timeout.
func TestDuplicateSYNRestartsTimer(t *testing.T) {
	l := listenWith(8, nil)
	p := client4(1)
	p.syn(0, l)
	l.Advance(time.Second, func(Outcome) {})
	requireOutcome(t, p.syn(2*time.Second, l), SendSYNACK, DuplicateSYN)
	at, ok := l.NextTimeout()
	require.True(t, ok)
	require.Equal(t, 4*time.Second, at)
}

// A wrong acknowledgment number leaves the request alone.
func TestBadACK(t *testing.T) {
	l := listenWith(8, nil)
	p := client4(1)
	p.syn(0, l)
	for _, flags := range []Flags{ACK, ACK | FIN, ACK | SYN, ACK | PSH} {
		seg := p.ack()
		seg.Flags = flags
		seg.Ack += 5
		out := l.Segment(0, seg)
		requireOutcome(t, out, SendRST, BadACK)
		require.Equal(t, seg.Ack, out.Seq)
		require.False(t, out.Removed)
	}
	requireOutcome(t, p.finish(0, l), Promote, FinalACK)
}

// TCP_DEFER_ACCEPT and TCP_SYNCNT count from the moment on at which they are set, for
// the requests that are there too.
func TestOptionsSetWhileListening(t *testing.T) {
	l := listenWith(5, nil)
	c := client4(1)
	requireOutcome(t, c.syn(0, l), SendSYNACK, NewRequest)
	l.SetDeferAccept(time.Second)
	requireOutcome(t, c.finish(0, l), Drop, DeferAccept)
	l.SetDeferAccept(0)
	require.Equal(t, Promote, c.finish(0, l).Verdict)

	requireOutcome(t, client4(2).syn(0, l), SendSYNACK, NewRequest)
	l.SetSYNCount(1)
	l.Advance(time.Second, func(out Outcome) { require.Equal(t, SendSYNACK, out.Verdict) })
	l.Advance(3*time.Second, func(out Outcome) { require.True(t, out.Removed) })
	require.Zero(t, l.SYNQueueLen())
}
