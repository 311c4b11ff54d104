package listenq

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever happens to a listener of any platform, its queues stay within bounds,
// each flow is in one of them at most, and what it says agrees with what it holds.
func TestEveryProfileKeepsItsBounds(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { anyLife(t, p) })
		})
	}
}

// The same with rules mixed from several platforms, as in profiles of one's own.
func TestMixedProfilesKeepTheirBounds(t *testing.T) {
	all := Profiles()
	pick := rapid.IntRange(0, len(all)-1)
	rapid.Check(t, func(t *rapid.T) {
		p := all[0].Clone()
		p.Name = "mixed"
		p.Backlog = all[pick.Draw(t, "backlog")].Backlog
		p.AcceptQueue = all[pick.Draw(t, "accept queue")].AcceptQueue
		p.SYNQueue = all[pick.Draw(t, "SYN queue")].SYNQueue
		p.SYNACK = all[pick.Draw(t, "SYN-ACK")].SYNACK
		p.HalfOpen = all[pick.Draw(t, "half-open")].HalfOpen
		p.ICMP = all[pick.Draw(t, "ICMP")].ICMP
		p.Cookies = all[pick.Draw(t, "cookies")].Cookies
		p.Socket = all[pick.Draw(t, "socket")].Socket
		if p.Validate() != nil {
			t.Skip("contradictory")
		}
		anyLife(t, p)
	})
}

// A life is a listener of which everything is known that it has said.
type life struct {
	*rapid.T
	l       *Listener
	now     time.Duration
	iss     map[Flow]uint32
	queued  []ConnID
	atSYN   int // the largest rooms so far
	atACK   int
	syns    int
	revived int // SYNs for connections in TIME-WAIT, which pass the SYN queue's test
}

func anyLife(t *rapid.T, p *Profile) {
	p = p.Clone() // smaller, so that few segments fill every queue
	if p.SYNQueue.Buckets > 0 {
		p.SYNQueue.Buckets, p.SYNQueue.PerBucket, p.SYNQueue.Capacity = 3, 2, Formula{Plus: 5}
	}
	p.Backlog.Minimum = min(p.Backlog.Minimum, 1)
	l, err := New(Config{
		Profile:  p,
		Backlog:  rapid.IntRange(1, 4).Draw(t, "backlog"),
		Window:   1000,
		Overflow: Overflow{ResetSYN: rapid.Bool().Draw(t, "reset SYN"), ResetFinalACK: rapid.Bool().Draw(t, "reset ACK")},
	})
	require.NoError(t, err)
	v := &life{T: t, l: l, iss: map[Flow]uint32{}}
	v.remember()
	t.Repeat(map[string]func(*rapid.T){
		"": v.check,
		"SYN": func(t *rapid.T) {
			v.segment(Segment{
				Flags: SYN, Seq: rapid.SampledFrom([]uint32{1000, 1001, 999, 1500, 1 << 30}).Draw(t, "seq"),
				Flow: v.client(t), TimeWait: rapid.IntRange(0, 9).Draw(t, "TIME-WAIT") == 0, Options: v.options(t),
			})
		},
		"final ACK": func(t *rapid.T) {
			f := v.client(t)
			v.segment(Segment{Flags: ACK, Flow: f, Seq: 1001, Ack: v.iss[f] + 1, Len: rapid.IntRange(0, 1).Draw(t, "data"), Options: v.options(t)})
		},
		"anything": func(t *rapid.T) {
			f := v.client(t)
			v.segment(Segment{
				Flags: Flags(rapid.IntRange(0, 63).Draw(t, "flags")), Flow: f,
				Seq: 1000 + rapid.SampledFrom([]uint32{0, 1, 2, 900, 1001, 5000, 1 << 31}).Draw(t, "seq"),
				Ack: v.iss[f] + rapid.Uint32Range(0, 2).Draw(t, "ack"),
			})
		},
		"ICMP error": func(t *rapid.T) {
			f := v.client(t)
			v.icmp(ICMPError{
				Flow: f, Seq: v.iss[f] + rapid.Uint32Range(0, 1).Draw(t, "seq"),
				Type: rapid.SampledFrom([]uint8{3, 11, 12}).Draw(t, "type"), Code: rapid.Uint8Range(0, 4).Draw(t, "code"),
			})
		},
		"time": func(t *rapid.T) {
			v.now += rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 3 * time.Second, time.Minute}).Draw(t, "passes")
			v.l.Advance(v.now, v.timer)
			if at, ok := v.l.NextTimeout(); ok && at <= v.now {
				t.Fatalf("a timer is left at %v", at)
			}
		},
		"accept": func(t *rapid.T) {
			c, ok := v.l.Accept()
			require.Equal(t, len(v.queued) > 0, ok)
			if ok {
				require.Equal(t, v.queued[0], c.ID)
				v.queued = v.queued[1:]
			}
		},
		"peer resets": func(t *rapid.T) {
			if len(v.queued) > 0 {
				v.l.Aborted(v.queued[rapid.IntRange(0, len(v.queued)-1).Draw(t, "which")])
			}
			v.l.Aborted(12345)
		},
		"listen": func(t *rapid.T) {
			before := v.l.Limit()
			if err := v.l.Listen(rapid.IntRange(-1, 6).Draw(t, "backlog")); err != nil {
				require.ErrorIs(t, err, ErrBacklog)
				require.Equal(t, before, v.l.Limit())
			}
			v.remember()
		},
		"close": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "really") > 0 {
				return
			}
			queued := v.l.Close(v.now, v.closed)
			require.Len(t, queued, len(v.queued))
			v.queued = nil
			require.NoError(t, v.l.Listen(2))
			v.remember()
		},
	})
}

func (v *life) client(t *rapid.T) Flow {
	return client4(rapid.IntRange(1, 12).Draw(t, "client")).flow
}

func (v *life) options(t *rapid.T) Options {
	return Options{
		MSS: 1460, WindowScaling: rapid.Bool().Draw(t, "scaling"), WindowScale: 7, SACKPermitted: rapid.Bool().Draw(t, "SACK"),
		Timestamps: rapid.Bool().Draw(t, "timestamps"), TSVal: rapid.Uint32Range(0, 2).Draw(t, "TSVal"),
	}
}

// remember keeps the largest rooms, because nothing is thrown out when they shrink.
func (v *life) remember() {
	v.atSYN, v.atACK, v.syns = max(v.atSYN, v.l.room.atSYN), max(v.atACK, v.l.room.atACK), max(v.syns, v.l.room.requests)
}

func (v *life) segment(seg Segment) {
	v.l.Advance(v.now, v.timer)
	held, requests := v.l.Holds(seg.Flow), v.l.SYNQueueLen()
	out := v.l.Segment(v.now, &seg)
	require.Equal(v, seg.Flow, out.Flow)
	if out.Verdict == SendSYNACK || out.Verdict == SendCookie {
		v.iss[seg.Flow] = out.Seq
		require.Equal(v, out.Verdict == SendSYNACK || held, v.l.Holds(seg.Flow))
	}
	if out.Verdict == SendSYNACK && !held && seg.TimeWait {
		v.revived++
	}
	if out.Verdict == SendRST {
		require.False(v, seg.Flags.Has(RST), "a RST answered by a RST")
	}
	if out.Removed {
		require.True(v, held)
		require.False(v, v.l.Holds(seg.Flow))
	}
	if out.Evicted != (Flow{}) {
		require.False(v, v.l.Holds(out.Evicted))
		require.NotEqual(v, seg.Flow, out.Evicted)
		require.Equal(v, SendSYNACK, out.Verdict)
		requests--
	}
	if out.Verdict == Promote {
		v.queued = append(v.queued, out.Conn)
		if held && out.Reason == FinalACK {
			requests--
		}
	}
	if out.Verdict == SendSYNACK && !held {
		requests++
	}
	if out.Removed {
		requests--
	}
	require.Equal(v, requests, v.l.SYNQueueLen(), out)
	v.depths(out)
}

func (v *life) icmp(e ICMPError) {
	held, requests := v.l.Holds(e.Flow), v.l.SYNQueueLen()
	out := v.l.ICMP(&e)
	require.Equal(v, e.Flow, out.Flow)
	require.Contains(v, []Verdict{Drop, SendRST}, out.Verdict)
	require.True(v, held || !out.Removed && out.Reason == ICMPIgnored)
	if out.Removed {
		requests--
	}
	require.Equal(v, held && !out.Removed, v.l.Holds(e.Flow))
	require.Equal(v, requests, v.l.SYNQueueLen())
	v.depths(out)
}

func (v *life) timer(o Outcome) {
	if o.Verdict == Expire || o.Verdict == SendRST {
		require.True(v, o.Removed)
		require.False(v, v.l.Holds(o.Flow))
	}
}

func (v *life) closed(o Outcome) {
	require.True(v, o.Removed)
	require.Equal(v, ListenerClosed, o.Reason)
}

func (v *life) depths(o Outcome) {
	require.Equal(v, []int{v.l.SYNQueueLen(), v.l.AcceptQueueLen()}, []int{o.SYNQueue, o.AcceptQueue})
}

func (v *life) check(t *rapid.T) {
	l := v.l
	require.Equal(t, len(v.queued), l.AcceptQueueLen())
	if v.syns < unlimited {
		require.LessOrEqual(t, l.SYNQueueLen(), v.syns+v.revived)
	}
	if shared := l.profile.AcceptQueue.Counts == CountHalfOpen; shared {
		require.LessOrEqual(t, l.waiting(), v.atSYN, "requests and connections share one room")
	}
	require.LessOrEqual(t, l.AcceptQueueLen()-l.accept.released, max(v.atSYN, v.syns, v.atACK))
	require.LessOrEqual(t, l.AcceptQueueLen(), v.atACK)

	seen := map[Flow]bool{}
	for f := range l.Requests() {
		require.False(t, seen[f], "twice in the SYN queue")
		seen[f] = true
		require.True(t, l.Holds(f))
	}
	require.Len(t, seen, l.SYNQueueLen())
	_, armed := l.NextTimeout()
	require.Equal(t, len(seen) > 0, armed)
	if l.syn.ages != nil {
		v.ages()
	}
}

// ages looks at the order of requests by age.
func (v *life) ages() {
	o, count := v.l.syn.ages, 0
	for i, b := range o.buckets {
		n, last := 0, none
		for s := b.oldest; s != none; s = o.links[s].newer {
			require.Equal(v, last, o.links[s].older)
			require.Equal(v, i, o.index(v.l.syn.at(s).hash))
			last = s
			n++
		}
		require.Equal(v, last, b.newest)
		require.Equal(v, b.count, n)
		count += n
		if most := v.l.profile.SYNQueue.PerBucket; most > 0 {
			require.LessOrEqual(v, n, most+v.revived, fmt.Sprintf("bucket %d", i))
		}
	}
	require.Equal(v, count, v.l.SYNQueueLen())
}
