//go:build linux

package syscalls

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

// The kernel agrees with itself: what differs between two runs of a script would
// be a fault of the comparison.
func TestKernelAgreesWithItself(t *testing.T) {
	one, two := newKernelMachine(t), newKernelMachine(t)
	for seed := range uint64(300) {
		script := RandomScript(seed, 40)
		first, err := one.Play(script, false)
		require.NoError(t, err)
		second, err := two.Play(script, false)
		require.NoError(t, err)
		require.Empty(t, Compare(script, first, second), "seed %d:\n%s", seed, script)
	}
}

func TestRandomScriptsParse(t *testing.T) {
	for seed := range uint64(300) {
		script := RandomScript(seed, 40)
		again, err := ParseScript("random", script.String())
		require.NoError(t, err)
		require.Equal(t, script, again)
	}
}
