package oracle

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

const (
	// playedAtOnce bounds the scenarios under way: nearly all of their time is
	// waiting.
	playedAtOnce = 12
	// shortScenario is what a -short run still plays.
	shortScenario = 2 * time.Second
	// busy is how late a machine is that says nothing.
	busy = 20 * time.Millisecond
)

// played is one scenario against the running kernel.
type played struct {
	sc          *Scenario
	got         *Played
	differences []Difference
	err         error
}

func (p *played) play(jiffy time.Duration) {
	p.got, p.err = Play(p.sc)
	if p.err != nil {
		return
	}
	p.differences = Compare(p.sc, p.got.Observed, Tolerance{
		Late:  replyWindow + p.got.Late,
		Slack: 2*jiffy + p.got.Late,
		Full:  true,
	})
}

// The recordings are compared with the kernel that the tests run on, so that they
// stay true as kernels change.
func TestRecordingsOnTheRunningKernel(t *testing.T) {
	t.Parallel()
	netlab.RequireTUN(t)
	running, err := Running()
	require.NoError(t, err)
	var all []*played
	for _, file := range scenarioFiles(t, recordings) {
		sc, err := Load(file)
		require.NoError(t, err)
		switch {
		case testing.Short() && sc.Duration.Duration() > shortScenario:
		case slices.Contains(sc.Rules, "recent-kernel") && netlab.Older(running.Kernel, sc.Platform.Kernel):
			t.Logf("%s: not played: %s is older than %s", sc.ID, running.Kernel, sc.Platform.Kernel)
		default:
			all = append(all, &played{sc: sc})
		}
	}
	slices.SortFunc(all, func(a, b *played) int { return cmp.Compare(b.sc.Duration, a.sc.Duration) })

	start := time.Now()
	again := playAll(all)
	first := time.Since(start)
	for _, p := range again {
		t.Logf("%s: once more, it was late by %v: %v", p.sc.ID, p.got.Late, p.differences)
	}
	// Short ones get a third chance on a machine that is very busy.
	playAll(slices.DeleteFunc(playAll(again), func(p *played) bool {
		return p.sc.Duration.Duration() > shortScenario || p.got.Late < busy
	}))
	for _, p := range all {
		t.Run(p.sc.ID, func(t *testing.T) {
			require.NoError(t, p.err)
			if len(p.differences) > 0 {
				t.Errorf("late by %v: %s", p.got.Late, report(p.sc, p.differences, p.got.Observed, running.Kernel))
			}
		})
	}
	t.Logf("%d scenarios on %s in %v, %d of them twice", len(all), running.Kernel, first.Round(time.Millisecond), len(again))
}

// playAll plays scenarios, several at a time in the order given, and returns those
// that differ.
func playAll(all []*played) (differ []*played) {
	next := make(chan *played)
	var wg sync.WaitGroup
	for range min(playedAtOnce, len(all)) {
		wg.Go(func() {
			for p := range next {
				p.play(time.Second / time.Duration(max(p.sc.Platform.HZ, 1)))
			}
		})
	}
	for _, p := range all {
		next <- p
	}
	close(next)
	wg.Wait()
	for _, p := range all {
		if p.err == nil && len(p.differences) > 0 {
			differ = append(differ, p)
		}
	}
	return differ
}

// What was observed becomes a recording that our stack agrees with.
func TestANewRecording(t *testing.T) {
	t.Parallel()
	netlab.RequireTUN(t)
	sc, err := Load(filepath.Join(recordings, "synack-retries-1.json"))
	require.NoError(t, err)
	sc.ID = "new"
	got, err := Play(sc)
	require.NoError(t, err)
	platform, err := Running()
	require.NoError(t, err)
	platform.HZ = sc.Platform.HZ
	data, err := sc.Record(got.Observed, platform).Write()
	require.NoError(t, err)
	recorded, err := Parse("new.json", data)
	require.NoError(t, err)
	replayed, err := Replay(recorded)
	require.NoError(t, err)
	differences := Compare(recorded, replayed.Observed, Virtual)
	require.Empty(t, differences)
}
