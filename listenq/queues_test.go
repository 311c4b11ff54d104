package listenq

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The ring grows wherever its first element stands, and keeps the order.
func TestAcceptQueueGrows(t *testing.T) {
	for start := range 8 {
		var q acceptQueue
		for range start {
			q.push(Conn{})
			q.pop()
		}
		for i := range 100 {
			require.Equal(t, i, q.len())
			q.push(Conn{ID: ConnID(i)})
		}
		for i := range 100 {
			front, ok := q.front()
			require.True(t, ok)
			c, ok := q.pop()
			require.True(t, ok)
			require.Equal(t, front, c)
			require.Equal(t, ConnID(i), c.ID)
		}
		_, ok := q.front()
		require.False(t, ok)
		_, ok = q.pop()
		require.False(t, ok)
		require.Zero(t, q.len())
	}
}

// However requests come and go, each is found, and nothing else is.
func TestSYNQueueFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	q := newSYNQueue()
	held := map[Flow]slot{}
	var flows []Flow
	hash := func(i int) uint32 { return uint32(i*2654435761) >> uint(i%20) } // some collide
	for i := range 3000 {
		f := benchFlow(i)
		flows = append(flows, f)
		if r.IntN(3) > 0 {
			_, s := q.add(&f, hash(i))
			q.arm(s, time.Duration(i))
			held[f] = s
		}
		if j := r.IntN(len(flows)); r.IntN(3) == 0 {
			if s, ok := held[flows[j]]; ok {
				q.remove(s)
				delete(held, flows[j])
			}
		}
	}
	require.Equal(t, len(held), q.len())
	for i, f := range flows {
		got, s := q.find(&f, hash(i))
		want, ok := held[f]
		require.Equal(t, ok, got != nil)
		if ok {
			require.Equal(t, want, s)
			require.Equal(t, f, got.flow)
		}
	}
	require.Equal(t, len(held), q.young)
}

// Requests of one deadline fire last in, first out; a late caller gets all that
// is due, in the order it was due.
func TestAdvanceOrder(t *testing.T) {
	l := listenWith(8, nil)
	fired := func(now time.Duration) (names []string) {
		l.Advance(now, func(o Outcome) { names = append(names, o.Flow.Remote().Addr().String()) })
		return names
	}
	client4(1).syn(0, l)
	client4(2).syn(0, l)
	client4(3).syn(1, l)
	require.Empty(t, fired(time.Second-1))
	require.Equal(t, []string{"198.51.100.2", "198.51.100.1"}, fired(time.Second))
	require.Equal(t, []string{"198.51.100.3"}, fired(time.Second+1))
	client4(4).syn(2*time.Second, l)
	require.Equal(t, []string{"198.51.100.4", "198.51.100.1", "198.51.100.2", "198.51.100.3"}, fired(3*time.Second+1),
		"of equal deadlines the timer that was armed last")
}

// A caller that comes late gets every timer, and time never runs backwards.
func TestLateTimers(t *testing.T) {
	l := listenWith(8, nil)
	first, second := stamped(1, 1), stamped(2, 1)
	first.syn(0, l)
	l.Advance(time.Second, func(Outcome) {})
	second.syn(time.Second, l)
	requireOutcome(t, first.syn(time.Hour, l), SendSYNACK, DuplicateSYN) // second's timer is long due
	var clock uint32
	for at, ok := l.NextTimeout(); ok; at, ok = l.NextTimeout() {
		l.Advance(max(at, time.Hour), func(o Outcome) {
			if o.Verdict == SendSYNACK {
				sent := o.Handshake.TSVal - o.Handshake.TSOffset
				require.GreaterOrEqual(t, sent, clock)
				clock = sent
			}
		})
	}
	require.Zero(t, l.SYNQueueLen())
	require.Equal(t, uint64(2*6), l.Counters().TCPTimeouts)
}

// Requests lists the flows by timeouts and age, and may be left early.
func TestRequests(t *testing.T) {
	l := listenWith(8, nil)
	old, young := client4(1), client4(2)
	old.syn(0, l)
	l.Advance(time.Second, func(Outcome) {})
	young.syn(time.Second, l)
	require.Equal(t, []Flow{young.flow, old.flow}, slices.Collect(l.Requests()))
	for f := range l.Requests() {
		require.Equal(t, young.flow, f)
		break
	}
}

// A closed listener keeps its requests until their timer or their next segment.
func TestClose(t *testing.T) {
	l := listenWith(2, nil)
	waiting, other := fill(t, l)
	front, ok := l.Front()
	require.True(t, ok)
	queued := closeQuietly(t, l, 0)
	require.Equal(t, front, queued[0])
	require.Len(t, queued, 3)
	require.True(t, slices.IsSortedFunc(queued, func(a, b Conn) int { return int(a.ID) - int(b.ID) }))
	require.Zero(t, l.AcceptQueueLen())
	out := waiting.finish(0, l)
	requireOutcome(t, out, SendRST, ListenerClosed)
	require.True(t, out.Removed)
	requireOutcome(t, client4(9).syn(0, l), SendRST, ListenerClosed)
	out = l.Segment(0, &Segment{Flow: client4(9).flow, Flags: FIN, Seq: 7, Len: 1})
	requireOutcome(t, out, SendRST, ListenerClosed)
	require.Equal(t, uint32(9), out.Ack, "FIN and payload acknowledged")
	requireOutcome(t, l.Segment(0, &Segment{Flow: waiting.flow, Flags: RST}), Drop, ListenerClosed)
	l.Advance(time.Second, func(o Outcome) {
		requireOutcome(t, o, Expire, ListenerClosed)
		require.Equal(t, other.flow, o.Flow)
	})
	require.Zero(t, l.SYNQueueLen())
	require.Zero(t, l.Counters().TCPTimeouts)
	require.Empty(t, closeQuietly(t, l, 0))
}

// The memory that a flood needed goes when the last of its requests does.
func TestFloodMemoryIsGivenBack(t *testing.T) {
	l := benchListener(100_000, 0)
	for i := range 50_000 {
		syn := benchSYN(i)
		l.Segment(0, &syn)
	}
	require.Len(t, l.syn.chunks, 50_000/chunkSize+1)
	l.Advance(time.Hour, func(Outcome) {})
	require.Zero(t, l.SYNQueueLen())
	require.Empty(t, l.syn.chunks)
	require.Len(t, l.syn.buckets, 1)
	requireOutcome(t, client4(1).syn(time.Hour, l), SendSYNACK, NewRequest)
}

// In steady state no decision allocates.
func TestNoAllocations(t *testing.T) {
	syns, acks := benchClients(0, 64, 128, 0)
	l := benchListener(128, 0)
	cookies := benchListener(0, 2)
	round := func() {
		for i := range syns {
			l.Segment(0, &syns[i])
			l.Segment(0, &acks[i])
			l.Accept()
			cookies.Segment(0, &syns[i])
			cookies.Segment(0, &acks[i])
		}
	}
	round()
	require.Zero(t, testing.AllocsPerRun(100, round))
}
