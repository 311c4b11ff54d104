package listenq

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// How many connections fit, as Linux 6.18 has it for AF_UNIX; the socket tests
// ask the running kernel.
func TestLocalCapacity(t *testing.T) {
	for _, c := range []struct{ backlog, fit int }{
		{-1, 4097}, {math.MinInt32, 4097}, {0, 1}, {1, 2}, {5, 6}, {4096, 4097}, {5000, 4097},
	} {
		l := NewLocal(LocalConfig{Backlog: c.backlog, Somaxconn: 4096})
		require.Equal(t, c.backlog, l.Backlog())
		require.Equal(t, c.fit-1, l.Limit())
		for i := range c.fit {
			require.False(t, l.Full())
			out := l.Connect()
			requireOutcome(t, out, Promote, LocalConnect)
			require.Equal(t, i+1, out.AcceptQueue)
			require.Equal(t, ConnID(i+1), out.Conn)
		}
		require.True(t, l.Full())
		requireOutcome(t, l.Connect(), Wait, AcceptQueueFull)
		require.Equal(t, c.fit, l.AcceptQueueLen())
		require.Equal(t, Counters{PassiveOpens: uint64(c.fit), ListenOverflows: 1}, l.Counters())
	}
}

// The rule is read when the queue is found full; a refusal is a drop.
func TestLocalOverflow(t *testing.T) {
	l := NewLocal(LocalConfig{Backlog: 0, Somaxconn: 4096, Overflow: RefuseWhenFull})
	require.Equal(t, RefuseWhenFull, l.Overflow())
	l.Connect()
	out := l.Connect()
	requireOutcome(t, out, Refuse, AcceptQueueFull)
	require.Equal(t, "refuse  synq=0 acceptq=1  accept queue full", out.String())
	l.SetOverflow(WaitForRoom)
	requireOutcome(t, l.Connect(), Wait, AcceptQueueFull)
	require.Equal(t, Counters{PassiveOpens: 1, ListenOverflows: 2, ListenDrops: 1}, l.Counters())
	id, ok := l.Accept()
	require.True(t, ok)
	require.Equal(t, ConnID(1), id)
	requireOutcome(t, l.Connect(), Promote, LocalConnect)
}

func TestLocalOverflowText(t *testing.T) {
	for o, name := range map[LocalOverflow]string{WaitForRoom: "wait", RefuseWhenFull: "refuse"} {
		text, err := json.Marshal(o)
		require.NoError(t, err)
		require.Equal(t, `"`+name+`"`, string(text))
		var back LocalOverflow
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, o, back)
	}
	var o LocalOverflow
	require.EqualError(t, o.UnmarshalText([]byte("drop")), `unknown overflow rule "drop": use wait or refuse`)
	require.NoError(t, o.UnmarshalText([]byte("REFUSE")))
	require.Equal(t, RefuseWhenFull, o)
}

// listen again changes the limit and nothing else; close returns the queue, and
// listen after it starts anew.
func TestLocalListenAgainAndClose(t *testing.T) {
	l := NewLocal(LocalConfig{Backlog: 2, Somaxconn: 4096})
	for range 3 {
		l.Connect()
	}
	l.Listen(0, 4096)
	require.Equal(t, 3, l.AcceptQueueLen())
	l.Accept()
	l.Accept()
	require.True(t, l.Full(), "one is as many as fit now")
	l.Listen(1, 4096)
	requireOutcome(t, l.Connect(), Promote, LocalConnect)

	require.Equal(t, []ConnID{3, 4}, l.Close())
	require.Empty(t, l.Close())
	_, ok := l.Accept()
	require.False(t, ok)
	requireOutcome(t, l.Connect(), Refuse, ListenerClosed)
	require.Zero(t, l.Counters().ListenOverflows)
	l.Listen(0, 4096)
	out := l.Connect()
	requireOutcome(t, out, Promote, LocalConnect)
	require.Equal(t, ConnID(5), out.Conn, "no number twice")
}

// Against a plain list: order, bounds and counters under any sequence of calls.
func TestLocalProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		somaxconn := rapid.IntRange(0, 5).Draw(t, "somaxconn")
		backlog := rapid.IntRange(-2, 6)
		l := NewLocal(LocalConfig{Backlog: backlog.Draw(t, "backlog"), Somaxconn: somaxconn})
		var list []ConnID
		var want Counters
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "call") {
			case 0:
				l.Listen(backlog.Draw(t, "backlog"), somaxconn)
			case 1, 2, 3:
				id, ok := l.Accept()
				require.Equal(t, len(list) > 0, ok)
				if ok {
					require.Equal(t, list[0], id)
					list = list[1:]
				}
			default:
				full := len(list) > l.Limit()
				require.Equal(t, full, l.Full())
				if out := l.Connect(); full {
					require.Equal(t, Wait, out.Verdict)
					want.ListenOverflows++
				} else {
					require.Equal(t, Promote, out.Verdict)
					want.PassiveOpens++
					list = append(list, out.Conn)
				}
			}
			require.LessOrEqual(t, l.Limit(), somaxconn)
			require.LessOrEqual(t, l.AcceptQueueLen(), somaxconn+1)
			require.Equal(t, len(list), l.AcceptQueueLen())
			require.Equal(t, want, l.Counters())
		}
	})
}
