package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func ExampleParseArrival() {
	for _, text := range []string{"burst", "burst=2/500ms", "uniform=2s", "poisson=4"} {
		a, _ := ParseArrival(text)
		fmt.Println(a, a.Times(4, 1))
	}
	// Output:
	// burst [0s 0s 0s 0s]
	// burst=2/500ms [0s 0s 500ms 500ms]
	// uniform=2s [0s 500ms 1s 1.5s]
	// poisson=4 [103.987209ms 705.8568ms 1.147065391s 1.580441446s]
}

func TestArrivalsReadWhatTheyWrite(t *testing.T) {
	for _, a := range []Arrival{{}, Bursts(3, time.Second), Uniform(1500 * time.Millisecond), Poisson(0.5)} {
		text, err := a.MarshalText()
		require.NoError(t, err)
		var back Arrival
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, a, back)
	}
}

func TestArrivalErrorsNameTheValueAndTheRemedy(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `unknown arrival "": use burst, burst=SIZE/PERIOD, uniform=PERIOD or poisson=PER-SECOND`,
		"crowd":                  `unknown arrival "crowd": use burst,`,
		"burst=4":                `arrival "burst=4": use burst=SIZE/PERIOD, like burst=4/500ms`,
		"burst=x/1s":             `arrival "burst=x/1s": use burst=SIZE/PERIOD`,
		"burst=4/soon":           `arrival "burst=4/soon": use burst=SIZE/PERIOD`,
		"burst=0/1s":             `arrival burst=0/1s: use bursts of 1 to 100000`,
		"burst=1/0s":             `arrival burst=1/0s: use a period of more than 0 and at most 24h0m0s`,
		"uniform":                `arrival "uniform": use uniform=PERIOD, like uniform=5s`,
		"uniform=-1s":            `arrival uniform=-1s: use a period from 0 to 24h0m0s`,
		"poisson=many":           `arrival "poisson=many": use poisson=PER-SECOND, like poisson=20`,
		"poisson=0":              `arrival poisson=0: use a rate from 0.001 to 1e+06 per second`,
		"poisson=NaN":            `arrival poisson=NaN: use a rate from 0.001 to 1e+06 per second`,
		"poisson=1e99":           `use a rate from 0.001 to 1e+06 per second`,
		"uniform=9999999999h":    `arrival "uniform=9999999999h"`,
		"burst=100001/1s":        `use bursts of 1 to 100000`,
		"uniform=24h0m0.000001s": `use a period from 0 to 24h0m0s`,
	} {
		_, err := ParseArrival(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestPoissonHasItsRate(t *testing.T) {
	const n = 50_000
	times := Poisson(100).Times(n, 7)
	require.True(t, slices.IsSorted(times))
	require.InEpsilon(t, n/100.0, times[n-1].Seconds(), 0.02)
	require.Equal(t, times, Poisson(100).Times(n, 7))
	require.NotEqual(t, times, Poisson(100).Times(n, 8))
}

func TestSilentClientsAreAShare(t *testing.T) {
	for share, want := range map[float64]int{0: 0, 0.25: 25, 0.999: 100, 1: 100} {
		n := 0
		for _, s := range silent(100, share, 3) {
			if s {
				n++
			}
		}
		require.Equal(t, want, n, share)
	}
}

func FuzzParseArrival(f *testing.F) {
	for _, text := range []string{"burst", "burst=2/500ms", "uniform=2s", "poisson=4", "poisson=-Inf"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseArrival(text)
		if err != nil {
			return
		}
		back, err := ParseArrival(a.String())
		require.NoError(t, err)
		require.Equal(t, a, back)
		require.True(t, slices.IsSorted(a.Times(50, 1)))
	})
}
