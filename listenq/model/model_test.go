package model_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/model"
	"pgregory.net/rapid"
)

// The listener and the model agree on everything, whatever happens. A failure
// shrinks to the shortest script that shows it.
func TestListenerIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := model.NewScript(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") })
		s.Log = t.Logf
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			if err := s.Step(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The same over many long scripts, which together must reach every rule.
func TestScriptsReachEveryRule(t *testing.T) {
	reached := map[listenq.Reason]int{}
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := model.NewScript(r.IntN)
		for step := range 300 {
			if err := s.Step(); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
		for why, n := range s.Pair.Audit.Reasons {
			reached[why] += n
		}
	}
	for why := range listenq.ICMPIgnored + 1 {
		t.Logf("%7d %v", reached[why], why)
		require.NotZero(t, reached[why], why)
	}
}
