package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEveryChangeIsKept(t *testing.T) {
	g := newGauge(time.Minute, 100)
	g.record(0, 1, 0)
	g.record(0, 2, 0)             // at the same time: only the last counts
	g.record(time.Second, 2, 0)   // no change
	g.record(2*time.Second, 0, 2) // both queues at once
	g.record(3*time.Second, 0, 0)
	require.Equal(t, []Depth{{0, 2, 0}, {2 * time.Second, 0, 2}, {3 * time.Second, 0, 0}}, g.finish(time.Minute))
	require.Equal(t, 2, g.mostSYN)
	require.Equal(t, 2, g.mostAccept)
}

// A gauge that has run full keeps the bound and the greatest depths, and in
// every period agrees with one that keeps everything.
func TestDepthsBeyondTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bound, duration = 64, 64 * time.Millisecond
		full, exact := newGauge(duration, bound), newGauge(duration, 1<<20)
		var now time.Duration
		for range rapid.IntRange(0, 1000).Draw(t, "changes") {
			now += time.Duration(rapid.IntRange(1, int(duration)/2000).Draw(t, "wait"))
			syn, accept := rapid.IntRange(0, 5).Draw(t, "syn"), rapid.IntRange(0, 5).Draw(t, "accept")
			full.record(now, syn, accept)
			exact.record(now, syn, accept)
		}
		kept, all := full.finish(duration), exact.finish(duration)
		require.LessOrEqual(t, len(kept), bound)
		require.Equal(t, exact.mostSYN, full.mostSYN)
		require.Equal(t, exact.mostAccept, full.mostAccept)
		require.Equal(t, Steps(all, duration, bound/4), Steps(kept, duration, bound/4))
	})
}

func TestStepsAreTheGreatestDepths(t *testing.T) {
	depths := []Depth{{0, 0, 0}, {5, 3, 0}, {6, 0, 1}, {10, 0, 2}, {39, 0, 9}}
	require.Equal(t, []Depth{{0, 3, 1}, {10, 0, 2}, {20, 0, 2}, {30, 0, 9}}, Steps(depths, 40, 4))
	require.Nil(t, Steps(depths, 40, 0))
	require.Nil(t, Steps(depths, 0, 4))
}
