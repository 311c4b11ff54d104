package oracle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The recordings say what was a reply and what a timer; made anew from the times
// at which packets were seen, they say the same.
func TestRecordTellsRepliesFromTimers(t *testing.T) {
	timers := 0
	for _, file := range scenarioFiles(t, recordings) {
		sc, err := Load(file)
		require.NoError(t, err)
		observed := make([]Observed, len(sc.Steps))
		for i := range sc.Steps {
			observed[i] = sc.Steps[i].Observed
		}
		again := sc.Record(observed, sc.Platform)
		for i := range sc.Steps {
			for j, want := range sc.Steps[i].Emitted {
				got := again.Steps[i].Emitted[j]
				require.Equal(t, want.When, got.When, "%s step %d", sc.ID, i+1)
				require.Equal(t, want.TNominal, got.TNominal, "%s step %d", sc.ID, i+1)
				require.Equal(t, want.TWindow[0], got.TWindow[0], "%s step %d", sc.ID, i+1)
				if want.When == "reply" {
					require.Equal(t, want.TWindow[1], got.TWindow[1])
					continue
				}
				timers++
				require.InDelta(t, want.TWindow[1].Duration().Seconds(), got.TWindow[1].Duration().Seconds(), 1, "%s step %d", sc.ID, i+1)
				require.Less(t, got.T, got.TWindow[1])
			}
		}
		require.Equal(t, sc.Totals.Counters, again.Totals.Counters, sc.ID)
		require.Equal(t, sc.Totals.Final, again.Totals.Final, sc.ID)
	}
	require.Greater(t, timers, 40)
}

func TestGranularityOfTheTimerWheel(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		100 * time.Millisecond: 4 * time.Millisecond,
		time.Second:            32 * time.Millisecond,
		2 * time.Second:        32 * time.Millisecond,
		4 * time.Second:        256 * time.Millisecond,
		16 * time.Second:       256 * time.Millisecond,
		32 * time.Second:       2048 * time.Millisecond,
	} {
		require.Equal(t, want, granularity(d, 250), d)
	}
	require.Equal(t, 8*time.Millisecond, granularity(time.Second/10, 1000))
}
