//go:build linux

package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

// Every trial of every contestant comes to an end and gives every metric that
// the contestant can tell. How large the figures are is not a matter of tests.
func TestTrialsGiveAllMetrics(t *testing.T) {
	netlab.RequireTUN(t)
	setup := trialSetup{seconds: 100 * time.Millisecond, floodSize: 1000, fetchSize: 64 << 10, profileDir: t.TempDir()}
	for _, c := range contestants {
		for _, m := range measurements {
			t.Run(c.name+"/"+m.name, func(t *testing.T) {
				v, err := trial(m, c, 0, setup)
				require.NoError(t, err)
				for _, x := range m.metrics {
					if c.network == overVeth && (x.Name == cpuPerUnit || x.Name == heapPerUnit) {
						require.NotContains(t, v, x.Name)
						continue
					}
					require.Positive(t, v[x.Name], x.Name)
				}
			})
		}
	}
}

func TestOrdinaryUserCanRunTrials(t *testing.T) {
	netlab.RequireTUN(t)
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=TestTrialsGiveAllMetrics/^ulisten$/half-open")
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, netlab.AsPlainUser(cmd), out.String())
	if strings.Contains(out.String(), "no private network namespace") {
		t.Skip("this machine gives ordinary users no namespaces: " + out.String())
	}
	require.Contains(t, out.String(), "--- PASS: TestTrialsGiveAllMetrics/ulisten/half-open")
}

func TestTrialReportsAServerThatCannotStart(t *testing.T) {
	netlab.RequireTUN(t)
	_, err := trial(measurements[0], contestant{name: "nobody", network: overTUN}, 0, trialSetup{})
	require.ErrorContains(t, err, `server: no contestant "nobody"`)
}
