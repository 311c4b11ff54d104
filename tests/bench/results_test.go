//go:build linux

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{3, 1}, spread{2, 1, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 3, 100}, spread{3.5, 1, 100}},
	} {
		require.Equal(t, tc.want, spreadOf(tc.values), "%v", tc.values)
	}
}

// twoRounds returns results in which the machine was twice as slow in the
// second round.
func twoRounds(t *testing.T) report {
	what, err := chooseMeasurements([]string{"bulk-in", "half-open"})
	require.NoError(t, err)
	who := []contestant{{name: "kernel"}, {name: "stock"}, {name: "ulisten"}}
	r := newResults()
	for round, speed := range []float64{1, 0.5} {
		r.add(what[0], who[0], round, values{rate: 20 * speed})
		r.add(what[0], who[1], round, values{rate: 2 * speed})
		r.add(what[0], who[2], round, values{rate: 14 * speed})
	}
	r.add(what[1], who[2], 0, values{heapPerUnit: 300, cpuPerUnit: 7})
	return r.report(facts{Kernel: "6.18"}, who)
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	r := twoRounds(t)
	require.Contains(t, r.Figures, figure{
		"bulk-in", "one stream towards the stack, MTU 1500", rate, "Gbit/s", "ulisten",
		[]float64{14, 7}, spread{10.5, 7, 14},
	})
	require.Contains(t, r.Ratios, ratio{"bulk-in", rate, "ulisten", "stock", spread{7, 7, 7}})
	require.Contains(t, r.Ratios, ratio{"bulk-in", rate, "ulisten", "kernel", spread{0.7, 0.7, 0.7}})
	require.Contains(t, r.Ratios, ratio{"bulk-in", rate, "stock", "kernel", spread{0.1, 0.1, 0.1}})
}

func TestTargetsKnowWhichWayIsUp(t *testing.T) {
	met := map[string]bool{}
	for _, v := range twoRounds(t).Targets {
		met[v.Measurement+" "+v.Metric+" "+v.Versus+" "+v.Relation] = v.Met
	}
	require.Equal(t, map[string]bool{
		"bulk-in rate stock at least":  true,
		"bulk-in rate kernel at least": true,
		"half-open cpu  at most":       true,
		"half-open heap  at most":      false,
	}, met)
}

func TestTargetsNameWhatExists(t *testing.T) {
	for _, target := range targets {
		found := false
		for _, m := range measurements {
			for _, x := range m.metrics {
				found = found || m.name == target.measurement && x.Name == target.metric
			}
		}
		require.True(t, found, "%+v", target)
		who := []string{target.contestant}
		if target.versus != "" {
			who = append(who, target.versus)
		}
		_, err := chooseContestants(who)
		require.NoError(t, err)
	}
}

func TestReportForReaders(t *testing.T) {
	var out strings.Builder
	require.NoError(t, twoRounds(t).print(&out))
	fields := strings.Join(strings.Fields(out.String()), " ")
	require.Contains(t, fields, "ulisten 10.5 Gbit/s [7..14] 0.7 x kernel [0.7..0.7] 7 x stock [7..7]")
	require.Contains(t, fields, "half-open ulisten at most 256 bytes/request 300 [300..300] missed")
	require.NotContains(t, fields, "%!")
}

func TestReportForPrograms(t *testing.T) {
	b, err := json.Marshal(twoRounds(t))
	require.NoError(t, err)
	var back report
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, twoRounds(t), back)
}
