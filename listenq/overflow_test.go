package listenq

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// Both policies are read when the queue is found full, not when listen is called.
func TestOverflowPolicies(t *testing.T) {
	for _, c := range []struct {
		policy   Overflow
		syn, ack Verdict
	}{
		{Overflow{}, Drop, Drop},
		{Overflow{ResetSYN: true}, SendRST, Drop},
		{Overflow{ResetFinalACK: true}, Drop, SendRST},
		{Overflow{ResetSYN: true, ResetFinalACK: true}, SendRST, SendRST},
	} {
		t.Run(c.policy.String(), func(t *testing.T) {
			l := listenWith(2, nil)
			first, second := fill(t, l)
			requireOutcome(t, client4(9).syn(0, l), Drop, AcceptQueueFull)
			requireOutcome(t, first.finish(0, l), Drop, AcceptQueueFull)

			l.SetOverflow(c.policy)
			require.Equal(t, c.policy, l.Overflow())
			late := client4(10)
			out := late.syn(0, l)
			requireOutcome(t, out, c.syn, AcceptQueueFull)
			if c.syn == SendRST {
				require.True(t, out.RSTACK)
				require.Equal(t, late.irs+1, out.Ack, "RST acknowledges the SYN")
			}
			out = first.finish(0, l)
			requireOutcome(t, out, c.ack, AcceptQueueFull)
			require.Equal(t, c.ack == SendRST, out.Removed)
			require.Equal(t, c.ack != SendRST, l.Holds(first.flow))
			if c.ack == SendRST {
				require.False(t, out.RSTACK)
				require.Equal(t, first.out.Seq+1, out.Seq, "RST with the ACK's number")
			}

			l.SetOverflow(Overflow{})
			requireOutcome(t, client4(11).syn(0, l), Drop, AcceptQueueFull)
			requireOutcome(t, second.finish(0, l), Drop, AcceptQueueFull)

			got := l.Counters()
			require.Equal(t, uint64(6), got.ListenOverflows)
			require.Equal(t, uint64(6), got.ListenDrops)
			require.Equal(t, c.ack == SendRST, got.EmbryonicRsts == 1)
			require.Zero(t, got.AttemptFails)
		})
	}
}

// A SYN queue that is full, and the last quarter, answer as the accept queue does.
func TestResetSYNWhenSYNQueueFull(t *testing.T) {
	l := listenWith(1, func(c *Config, s *Sysctls) {
		s.Syncookies = 0
		c.Overflow = Overflow{ResetSYN: true}
	})
	requireOutcome(t, client4(1).syn(0, l), SendSYNACK, NewRequest)
	requireOutcome(t, client4(2).syn(0, l), SendSYNACK, NewRequest)
	requireOutcome(t, client4(3).syn(0, l), SendRST, SYNQueueFull)
	require.Equal(t, uint64(1), l.Counters().TCPReqQFullDrop)

	l = listenWith(100, func(c *Config, s *Sysctls) {
		s.Syncookies, s.MaxSYNBacklog = 0, 4
		c.Overflow = Overflow{ResetSYN: true}
	})
	for i := range 4 {
		requireOutcome(t, client4(i).syn(0, l), SendSYNACK, NewRequest)
	}
	requireOutcome(t, client4(5).syn(0, l), SendRST, LastQuarter)
	require.Equal(t, uint64(1), l.Counters().ListenDrops)
	require.Zero(t, l.Counters().ListenOverflows)
}

// tcp_abort_on_overflow does not answer an ACK that carries a cookie.
func TestCookieACKIsNeverReset(t *testing.T) {
	l := listenWith(0, func(c *Config, s *Sysctls) {
		s.Syncookies = 2
		s.AbortOnOverflow = true
		c.Overflow = Overflow{ResetFinalACK: true}
	})
	first, second := client4(1), client4(2)
	first.syn(0, l)
	second.syn(0, l)
	requireOutcome(t, first.finish(0, l), Promote, ValidCookie)
	requireOutcome(t, second.finish(0, l), Drop, AcceptQueueFull)
	l.Accept()
	requireOutcome(t, second.finish(0, l), Promote, ValidCookie)
}

func TestOverflowText(t *testing.T) {
	for text, policy := range map[string]Overflow{
		"drop":        {},
		"reset":       {ResetSYN: true},
		"abort":       {ResetFinalACK: true},
		"reset+abort": {ResetSYN: true, ResetFinalACK: true},
	} {
		require.Equal(t, text, policy.String())
		data, err := json.Marshal(policy)
		require.NoError(t, err)
		require.Equal(t, `"`+text+`"`, string(data))
		var got Overflow
		require.NoError(t, json.Unmarshal(data, &got))
		require.Equal(t, policy, got)
	}
	var got Overflow
	require.NoError(t, got.UnmarshalText([]byte("Reset+ABORT")))
	require.Equal(t, Overflow{ResetSYN: true, ResetFinalACK: true}, got)
	require.EqualError(t, got.UnmarshalText([]byte("refuse")),
		`unknown overflow policy "refuse": use drop, reset, abort or reset+abort`)
	require.Equal(t, Overflow{ResetSYN: true, ResetFinalACK: true}, got, "an error changes nothing")
}

// A SYN that replaces a connection in TIME-WAIT passes the SYN queue test and
// the last quarter, but not the accept queue test.
func TestTimeWaitSYN(t *testing.T) {
	l := listenWith(1, func(_ *Config, s *Sysctls) { s.Syncookies, s.MaxSYNBacklog = 0, 1 })
	revive := func(n int) Outcome {
		p := client4(n)
		return l.Segment(0, &Segment{Flow: p.flow, Flags: SYN, Seq: p.irs, TimeWait: true})
	}
	for i := range 5 {
		requireOutcome(t, revive(i), SendSYNACK, NewRequest)
	}
	require.Equal(t, 5, l.SYNQueueLen(), "as many as there are connections in TIME-WAIT")
	requireOutcome(t, client4(9).syn(0, l), Drop, SYNQueueFull)

	l = listenWith(2, nil)
	fill(t, l)
	requireOutcome(t, revive(20), Drop, AcceptQueueFull)
	l.Accept()
	requireOutcome(t, revive(20), SendSYNACK, NewRequest)
}
