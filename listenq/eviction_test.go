package listenq

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// illumos forgets the oldest request that has had a timeout, and none that has
// not, even if it is older.
func TestEvictsTimedOut(t *testing.T) {
	p := builtIn(t, "illumos")
	p.SYNQueue.Capacity = Formula{Plus: 3}
	p.HalfOpen.DuplicateTimer = TimerFromZero // so that an old request can be young again
	l := MustNew(Config{Profile: p, Backlog: 5, Window: 64240})
	clients := []*peer{client4(1), client4(2), client4(3), client4(4), client4(5)}
	clients[0].syn(0, l)
	clients[1].syn(100*time.Millisecond, l)
	clients[2].syn(900*time.Millisecond, l)
	requireOutcome(t, clients[3].syn(950*time.Millisecond, l), Drop, SYNQueueFull)

	const later = 1100 * time.Millisecond
	l.Advance(later, func(o Outcome) { requireOutcome(t, o, SendSYNACK, RetransmitTimeout) })
	requireOutcome(t, clients[0].syn(later, l), SendSYNACK, DuplicateSYN)
	out := clients[3].syn(later, l)
	requireOutcome(t, out, SendSYNACK, NewRequest)
	require.Equal(t, clients[1].flow, out.Evicted)
	require.Equal(t, 3, out.SYNQueue)
	out = clients[4].syn(later, l)
	requireOutcome(t, out, Drop, SYNQueueFull)
	require.Equal(t, Flow{}, out.Evicted)
	require.True(t, l.Holds(clients[0].flow))
	c := l.Counters()
	require.Equal(t, []uint64{1, 2, 2, 0}, []uint64{c.Evictions, c.TCPReqQFullDrop, c.ListenDrops, c.ListenOverflows})
}

// A bucket can be full while the queue is not; what it evicts, a cookie brings
// back.
func TestBucketEviction(t *testing.T) {
	p := builtIn(t, "freebsd")
	p.SYNQueue.Buckets, p.SYNQueue.PerBucket = 1, 2
	l := MustNew(Config{Profile: p, Backlog: 5, Window: 64240})
	first, second, third := stamped(1, 100), client4(2), client4(3)
	first.opts.SACKPermitted, first.opts.WindowScaling, first.opts.WindowScale = true, true, 9
	first.syn(0, l)
	second.syn(0, l)
	require.Equal(t, first.flow, third.syn(0, l).Evicted)
	require.False(t, l.Holds(first.flow))

	out := first.finish(time.Second, l)
	requireOutcome(t, out, Promote, ValidCookie)
	require.Equal(t, first.out.Handshake.Peer, out.Handshake.Peer, "the cookie has kept all options")
	requireOutcome(t, second.finish(time.Second, l), Promote, FinalACK)

	l = MustNew(Config{Profile: p, Backlog: 5, Window: 64240})
	first.syn(0, l)
	second.syn(0, l)
	third.syn(0, l)
	requireOutcome(t, first.finish(15*time.Second+1, l), SendRST, NoRequest)
}

// Without cookies the evicted client learns of it at its ACK.
func TestEvictionWithoutCookies(t *testing.T) {
	p := builtIn(t, "freebsd")
	p.SYNQueue.Buckets, p.SYNQueue.PerBucket = 1, 1
	s := p.Sysctls()
	s.Syncookies = 0
	l := MustNew(Config{Profile: p, Backlog: 5, Window: 64240, Sysctls: &s})
	first, second := client4(1), client4(2)
	first.syn(0, l)
	require.Equal(t, first.flow, second.syn(0, l).Evicted)
	requireOutcome(t, first.finish(0, l), SendRST, NoRequest)
}

// Where requests have a place in the accept queue, the client of a cookie, who has
// none, must find one.
func TestCookieNeedsPlace(t *testing.T) {
	p := builtIn(t, "macos")
	p.Cookies = linux6().Cookies
	p.Cookies.Use = CookiesAlways
	l := MustNew(Config{Profile: p, Backlog: 1, Window: 64240})
	first, second := client4(1), client4(2)
	requireOutcome(t, first.syn(0, l), SendCookie, SYNQueueFullCookie)
	requireOutcome(t, second.syn(0, l), SendCookie, SYNQueueFullCookie)
	requireOutcome(t, first.finish(0, l), Promote, ValidCookie)
	requireOutcome(t, second.finish(0, l), Drop, AcceptQueueFull)
	l.Accept()
	requireOutcome(t, second.finish(0, l), Promote, ValidCookie)
}

// The memory of the order goes with that of the requests.
func TestAgesAreGivenBack(t *testing.T) {
	p := builtIn(t, "openbsd")
	l := MustNew(Config{Profile: p, Backlog: 5, Window: 64240})
	for i := range 5000 {
		syn := benchSYN(i)
		l.Segment(0, &syn)
	}
	require.Len(t, l.syn.ages.links, 5000)
	l.Advance(time.Hour, func(Outcome) {})
	require.Zero(t, l.SYNQueueLen())
	require.Empty(t, l.syn.ages.links)
	first := client4(1)
	first.syn(time.Hour, l)
	requireOutcome(t, first.finish(time.Hour, l), Promote, FinalACK)
}

// BenchmarkEviction is a flood that finds every bucket full.
func BenchmarkEviction(b *testing.B) {
	p, err := ProfileNamed("freebsd")
	if err != nil {
		b.Fatal(err)
	}
	l := MustNew(Config{Profile: p, Backlog: 128, Window: 65535})
	segs := make([]Segment, 1<<16)
	for i := range segs {
		segs[i] = benchSYN(i)
		l.Segment(0, &segs[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		segs[i%len(segs)].Seq++
		if l.Segment(0, &segs[i%len(segs)]).Verdict != SendSYNACK {
			b.Fatal("not answered")
		}
	}
}
