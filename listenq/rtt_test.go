package listenq

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// What the handshake has learned of the path, as tests/handshake has it from the
// kernel.
func TestRTT(t *testing.T) {
	stamps := Options{MSS: 1460, Timestamps: true, TSVal: 7}
	dup := func(p *peer, at time.Duration, l *Listener) { p.syn(at, l) }
	timer := func(p *peer, at time.Duration, l *Listener) {
		l.Advance(at, func(o Outcome) {
			if o.Verdict == SendSYNACK {
				p.out = o
			}
		})
	}
	bare := func(p *peer, at time.Duration, l *Listener) {
		requireOutcome(t, p.finish(at, l), Drop, DeferAccept)
	}
	type event struct {
		at time.Duration
		do func(*peer, time.Duration, *Listener)
	}
	const begin = 5 * time.Second
	for _, c := range []struct {
		name   string
		opts   Options
		change func(*Config, *Sysctls)
		events []event
		finish time.Duration
		ago    uint32 // the echo is so much older than the latest timestamp
		rtt    time.Duration
		lossy  bool
	}{
		{name: "at once", finish: 500*ms + 1, rtt: 500*ms + 1},
		{name: "in no time", finish: 0, rtt: 1},
		{name: "timestamps do not count", opts: stamps, finish: 500*ms + 1, rtt: 500*ms + 1},
		{name: "repeated", events: []event{{time.Second, timer}}, finish: 1300 * ms},
		{name: "repeated, echoed", opts: stamps, events: []event{{time.Second, timer}}, finish: 1300 * ms, rtt: 300 * ms},
		{name: "repeated, the first echoed", opts: stamps, events: []event{{time.Second, timer}}, finish: 1300 * ms, ago: 1000, rtt: 1300 * ms},
		{name: "repeated, echoed at once", opts: stamps, events: []event{{time.Second, timer}}, finish: time.Second, rtt: ms},
		{name: "twice", events: []event{{time.Second, timer}, {3 * time.Second, timer}}, finish: 4 * time.Second, lossy: true},
		{name: "twice, the last echoed", opts: stamps, events: []event{{time.Second, timer}, {3 * time.Second, timer}}, finish: 4 * time.Second, rtt: time.Second, lossy: true},
		{name: "twice, the first echoed", opts: stamps, events: []event{{time.Second, timer}, {3 * time.Second, timer}}, finish: 4 * time.Second, ago: 3000, rtt: 4 * time.Second},
		{name: "duplicate SYN", events: []event{{300 * ms, dup}}, finish: 500 * ms},
		{name: "two duplicate SYNs", events: []event{{300 * ms, dup}, {850 * ms, dup}}, finish: 900 * ms},
		{name: "deferred", change: func(c *Config, _ *Sysctls) { c.DeferAccept = time.Second }, events: []event{{100 * ms, bare}}, finish: 500 * ms, rtt: 500 * ms},
		{name: "deferred, timers in silence", change: func(c *Config, _ *Sysctls) { c.DeferAccept = 7 * time.Second },
			events: []event{{100 * ms, bare}, {2900 * ms, timer}}, finish: 2950*ms + 3, rtt: 2950*ms + 3},
		{name: "cookie", change: func(_ *Config, s *Sysctls) { s.Syncookies = 2 }, finish: 500 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listenWith(1, c.change)
			p := client4(1)
			if c.opts != (Options{}) {
				p.opts = c.opts
			}
			p.syn(begin, l)
			for _, e := range c.events {
				e.do(p, begin+e.at, l)
			}
			seg := p.ack()
			seg.Len = 1
			seg.Options.TSEcr -= c.ago
			out := l.Segment(begin+c.finish, seg)
			require.Equal(t, Promote, out.Verdict, out)
			require.Equal(t, c.rtt, out.Handshake.RTT)
			require.Equal(t, c.lossy, out.Handshake.Lossy)
		})
	}
}

// The timestamp of a cookie is up to 63 ms older than the cookie, since its low
// bits say something else.
func TestRTTOfCookie(t *testing.T) {
	l := listenWith(1, func(_ *Config, s *Sysctls) { s.Syncookies = 2 })
	p := client4(1)
	p.opts = Options{MSS: 1460, Timestamps: true, TSVal: 7}
	p.syn(5*time.Second, l)
	late := 5000 - time.Duration(p.out.Handshake.TSVal-p.out.Handshake.TSOffset)
	require.Equal(t, time.Duration(5000%64+64-15), late, "a SYN without window scale and SACK leaves 15")
	require.Equal(t, 500*ms+late*ms, p.finish(5500*ms, l).Handshake.RTT)

	for _, c := range []struct {
		ago  uint32
		want time.Duration
	}{{0, ms}, {longestEcho - 1, (longestEcho - 1) * ms}, {longestEcho, 0}, {1 << 31, 0}} {
		seg := p.ack()
		seg.Options.TSEcr = p.out.Handshake.TSOffset + 5500 - c.ago
		require.Equal(t, c.want, l.Segment(5500*ms, seg).Handshake.RTT, c.ago)
		l.Accept()
	}
}
