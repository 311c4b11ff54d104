//go:build linux

package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARevisionIsComparedWithinARound(t *testing.T) {
	what, err := chooseMeasurements([]string{"bulk-in", "echo"})
	require.NoError(t, err)
	now := contestant{name: "ulisten"}
	before := against("abc", "program")
	r := newResults()
	for round, speed := range []float64{1, 0.5} {
		r.add(what[0], now, round, values{rate: 11 * speed})
		r.add(what[0], before, round, values{rate: 10 * speed})
	}
	r.add(what[1], now, 0, values{rate: 5})
	r.miss(what[1], before, errors.New("unknown service"))
	r.miss(what[1], before, errors.New("once more"))
	out := r.report(facts{}, []contestant{now, before})
	require.Contains(t, out.Ratios, ratio{"bulk-in", rate, "ulisten", "ulisten@abc", spread{1.1, 1.1, 1.1}})
	require.Equal(t, []miss{{"echo", "ulisten@abc", "unknown service"}}, out.Missed)
	var text strings.Builder
	require.NoError(t, out.print(&text))
	require.Contains(t, text.String(), "1.1 x ulisten@abc [1.1..1.1]")
	require.Contains(t, text.String(), "ulisten@abc took no part in echo: unknown service")
}

func TestAnUnknownRevisionIsRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, _, err := buildRevision("no-such-revision")
	require.ErrorContains(t, err, "--against no-such-revision: no such revision here: name a commit")
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left)
}
