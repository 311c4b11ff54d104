package listenq

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLimit(t *testing.T) {
	for _, c := range []struct{ backlog, somaxconn, want int }{
		{0, 4096, 0},
		{1, 4096, 1},
		{4095, 4096, 4095},
		{4096, 4096, 4096},
		{4097, 4096, 4096},
		{-1, 4096, 4096},
		{math.MinInt32, 128, 128},
		{math.MaxInt32, 128, 128},
		{5, 0, 0},
		{-5, 0, 0},
	} {
		got, err := linux6().Limit(c.backlog, c.somaxconn)
		require.NoError(t, err)
		require.Equal(t, c.want, got, c)
	}
}

// Nothing, or one timeout more than fit into the time (platforms: 1 s is 1, 2
// and 3 s are 2, 4 to 7 s are 3).
func TestDeferTimeouts(t *testing.T) {
	s := newSchedule(linux6().SYNACK.Waits)
	for seconds, want := range map[float64]uint8{
		-1: 0, 0: 0, 0.001: 1, 1: 1, 1.5: 2, 2: 2, 3: 2, 4: 3, 7: 3, 8: 4, 15: 4, 16: 5, 31: 5, 63: 6, 64: 7, 127: 7,
		128: 8, 247: 8, 248: 9, 367: 9, 1e9: 255,
	} {
		require.Equal(t, want, s.deferTimeouts(time.Duration(seconds*float64(time.Second))), "%v s", seconds)
	}
}

func TestSchedule(t *testing.T) {
	s := newSchedule(linux6().SYNACK.Waits)
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 120, 120}
	for timeouts, seconds := range want {
		require.Equal(t, seconds*time.Second, s.wait(uint8(timeouts)))
	}
	require.Equal(t, 120*time.Second, s.wait(255))
}

// TCP_SYNCNT goes before tcp_synack_retries.
func TestSYNCount(t *testing.T) {
	l := listenWith(8, func(c *Config, s *Sysctls) { c.SYNCount, s.SYNACKRetries = 1, 5 })
	client4(1).syn(0, l)
	var got []Outcome
	l.Advance(time.Hour, func(o Outcome) { got = append(got, o) })
	require.Len(t, got, 2)
	requireOutcome(t, got[0], SendSYNACK, RetransmitTimeout)
	require.Equal(t, 1, got[0].Timeouts)
	requireOutcome(t, got[1], Expire, RetriesExhausted)
	require.Equal(t, uint64(2), l.Counters().TCPTimeouts)
	require.Equal(t, uint64(1), l.Counters().TCPSynRetrans)
	require.Equal(t, uint64(1), l.Counters().RetransSegs)
}
