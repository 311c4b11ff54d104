package listenq

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func cookieListener() *Listener {
	return listenWith(8, func(c *Config, s *Sysctls) {
		s.Syncookies = 2
		c.Secret = Secret{1, 2, 3, 20: 4, 40: 5, 60: 6}
	})
}

// A cookie is good in the minute it was made in and in the next.
func TestCookieAge(t *testing.T) {
	const made = 90 * time.Second
	for _, c := range []struct {
		at   time.Duration
		good bool
	}{
		{made, true},
		{120*time.Second - 1, true},
		{120 * time.Second, true},
		{180*time.Second - 1, true},
		{180 * time.Second, false},
	} {
		l := cookieListener()
		p := client4(1)
		requireOutcome(t, p.syn(made, l), SendCookie, SYNQueueFullCookie)
		if c.good {
			requireOutcome(t, p.finish(c.at, l), Promote, ValidCookie)
			continue
		}
		requireOutcome(t, p.finish(c.at, l), SendRST, NoRequest)
		require.Equal(t, uint64(1), l.Counters().SyncookiesFailed)
	}
}

// Cookies are looked at only for 120 s after the last one was sent; later ACKs
// are not even counted.
func TestCookieRecentOverflow(t *testing.T) {
	const made = 60 * time.Second
	for after, failed := range map[time.Duration]uint64{
		120 * time.Second:   1,
		120*time.Second + 1: 0,
	} {
		l := cookieListener()
		p := client4(1)
		p.syn(made, l)
		requireOutcome(t, p.finish(made+after, l), SendRST, NoRequest)
		require.Equal(t, failed, l.Counters().SyncookiesFailed, after)
	}
	l := cookieListener()
	p := client4(1)
	requireOutcome(t, l.Segment(0, p.ack()), SendRST, NoRequest)
	require.Zero(t, l.Counters().SyncookiesFailed, "no cookie was ever sent")
}

// The segment size that comes back is the largest of the table that does not
// exceed the client's.
func TestCookieMSS(t *testing.T) {
	for _, c := range []struct {
		make        func(int) *peer
		offer, kept uint16
	}{
		{client4, 0, 536},
		{client4, 1, 536},
		{client4, 1299, 536},
		{client4, 1300, 1300},
		{client4, 1459, 1440},
		{client4, 9000, 1460},
		{client6, 1219, 1220},
		{client6, 1420, 1420},
		{client6, 1440, 1440},
		{client6, 8939, 1440},
		{client6, 8940, 8940},
	} {
		l := cookieListener()
		p := c.make(1)
		p.opts = Options{MSS: c.offer}
		p.syn(0, l)
		out := p.finish(0, l)
		requireOutcome(t, out, Promote, ValidCookie)
		require.Equal(t, c.kept, out.Handshake.Peer.MSS, "offered %d", c.offer)
	}
}

// Without a timestamp only the segment size survives; with one, window scale and
// SACK come back in its low bits.
func TestCookieOptions(t *testing.T) {
	all := Options{MSS: 1460, WindowScale: 7, WindowScaling: true, SACKPermitted: true, Timestamps: true, TSVal: 77}
	for _, now := range []time.Duration{0, 12_345 * time.Millisecond, 59_999 * time.Millisecond} {
		for _, scale := range []uint8{0, 7, 14} {
			l := cookieListener()
			p := client4(1)
			p.opts = all
			p.opts.WindowScale = scale
			out := p.syn(now, l)
			clock := out.Handshake.TSVal - out.Handshake.TSOffset
			require.LessOrEqual(t, int32(clock-milliseconds(now)), int32(0), "a timestamp from the future")
			require.Less(t, milliseconds(now)-clock, uint32(64))
			out = p.finish(now, l)
			requireOutcome(t, out, Promote, ValidCookie)
			require.Equal(t, p.opts, out.Handshake.Peer)
		}
	}

	l := cookieListener()
	p := client4(1)
	p.opts = all
	p.opts.Timestamps = false
	require.Equal(t, Options{MSS: 1460}, p.syn(0, l).Handshake.Peer)
	require.Equal(t, Options{MSS: 1460}, p.finish(0, l).Handshake.Peer)

	p.opts = Options{MSS: 1460, Timestamps: true, TSVal: 5}
	require.Equal(t, p.opts, p.syn(0, l).Handshake.Peer)
	require.Equal(t, p.opts, p.finish(0, l).Handshake.Peer)
}

// A cookie whose options were switched off meanwhile is refused. Without
// timestamps they cannot be seen, and it is taken for one that has none.
func TestCookieOptionsSwitchedOff(t *testing.T) {
	finish := func(switchedOff string) (Outcome, Counters) {
		l := cookieListener()
		p := client4(1)
		p.opts = Options{MSS: 1460, WindowScaling: true, SACKPermitted: true, Timestamps: true, TSVal: 1}
		p.syn(0, l)
		s := DefaultSysctls()
		require.NoError(t, s.Set(switchedOff, "0"))
		l.SetSysctls(s)
		return p.finish(0, l), l.Counters()
	}
	for _, name := range []string{"net.ipv4.tcp_sack", "net.ipv4.tcp_window_scaling"} {
		out, counters := finish(name)
		requireOutcome(t, out, SendRST, NoRequest)
		require.Equal(t, uint64(1), counters.SyncookiesRecv)
	}
	out, _ := finish("net.ipv4.tcp_timestamps")
	requireOutcome(t, out, Promote, ValidCookie)
	require.Equal(t, Options{MSS: 1460}, out.Handshake.Peer)
}

// A socket that was shut down and listens again takes no cookie from before,
// until it has to send one itself.
func TestCookieFromAFormerLife(t *testing.T) {
	l := cookieListener()
	p := client4(1)
	p.syn(0, l)
	closeQuietly(t, l, 0)
	require.NoError(t, l.Listen(5))
	requireOutcome(t, p.finish(0, l), SendRST, NoRequest)
	client4(2).syn(0, l)
	requireOutcome(t, p.finish(0, l), Promote, ValidCookie)
}

// A cookie belongs to its flow, its client's number and its secret.
func TestCookieForged(t *testing.T) {
	for name, forge := range map[string]func(*Segment){
		"other client":   func(s *Segment) { s.Flow = client4(2).flow },
		"other number":   func(s *Segment) { s.Seq += 1 << 10 },
		"other ACK":      func(s *Segment) { s.Ack += 1 << 10 },
		"other age":      func(s *Segment) { s.Ack -= 1 << cookieBits },
		"IPv6 and not 4": func(s *Segment) { s.Flow = client6(1).flow },
		"with SYN":       func(s *Segment) { s.Flags |= SYN },
	} {
		l := cookieListener()
		p := client4(1)
		p.syn(0, l)
		seg := p.ack()
		forge(seg)
		requireOutcome(t, l.Segment(0, seg), SendRST, NoRequest)
		if name != "with SYN" {
			require.Equal(t, uint64(1), l.Counters().SyncookiesFailed, name)
		}
	}
	l, other := cookieListener(), MustNew(Config{Backlog: 8, Secret: Secret{63: 1}})
	p := client4(1)
	p.syn(0, l)
	mine := p.out.Seq
	s := DefaultSysctls()
	s.Syncookies = 2
	other.SetSysctls(s)
	require.NotEqual(t, mine, p.syn(0, other).Seq)
}

func TestCookieIPv6Flow(t *testing.T) {
	l := cookieListener()
	p := client6(1)
	require.False(t, p.flow.Is4())
	require.Equal(t, "[2001:db8::1]:80<-[2001:db8::1:1]:40000", p.flow.String())
	requireOutcome(t, p.syn(0, l), SendCookie, SYNQueueFullCookie)
	requireOutcome(t, p.finish(0, l), Promote, ValidCookie)
	c, ok := l.Accept()
	require.True(t, ok)
	require.Equal(t, p.flow, c.Flow)

	l = listenWith(8, nil)
	requireOutcome(t, p.syn(0, l), SendSYNACK, NewRequest)
	require.True(t, l.Holds(p.flow))
	requireOutcome(t, p.finish(0, l), Promote, FinalACK)

	four := client4(7).flow
	require.True(t, four.Is4())
	require.Equal(t, "192.0.2.1:80", four.Local().String())
	require.Equal(t, "198.51.100.7:40000", four.Remote().String())
}
