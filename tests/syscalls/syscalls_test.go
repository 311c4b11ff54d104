//go:build linux

package syscalls

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

// newPair returns the kernel and our sockets.
func newPair(t *testing.T) *Pair {
	t.Helper()
	known, err := LoadKnown("differences.txt")
	require.NoError(t, err)
	return &Pair{Kernel: newKernelMachine(t), Ours: ourMachine{}, Known: known}
}

// The kernel agrees with itself: what differs between two runs of a script would
// be a fault of the comparison.
func TestKernelAgreesWithItself(t *testing.T) {
	pair := Pair{Kernel: newKernelMachine(t), Ours: newKernelMachine(t)}
	for seed := range uint64(200) {
		script := RandomScript(seed, scriptLength)
		found, err := pair.Differences(script)
		require.NoError(t, err)
		require.Empty(t, found, "seed %d:\n%s", seed, script)
	}
}

func TestRandomScriptsParse(t *testing.T) {
	for seed := range uint64(200) {
		script := RandomScript(seed, scriptLength)
		again, err := ParseScript("random", script.String())
		require.NoError(t, err)
		require.Equal(t, script, again)
	}
}

const (
	// scriptLength is how many calls a random script has.
	scriptLength = 40
	// callsByDefault and callsVariable say how many random calls are compared.
	callsByDefault = 30_000
	callsVariable  = "ULISTEN_SYSCALLS"
	// seedVariable is the seed of the first random script.
	seedVariable = "ULISTEN_SYSCALLS_SEED"
	// enough is how many differences are shown.
	enough = 5
)

// fromEnvironment returns a number that is set in the environment, or what it is
// by default.
func fromEnvironment(t *testing.T, name string, byDefault uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n
}

// Random scripts do the same on the kernel and on our sockets.
func TestRandomCalls(t *testing.T) {
	t.Parallel()
	pair := newPair(t)
	first := fromEnvironment(t, seedVariable, 1)
	count := fromEnvironment(t, callsVariable, callsByDefault) / scriptLength
	explained := 0
	differed := 0
	for seed := first; seed < first+count; seed++ {
		script := RandomScript(seed, scriptLength)
		found, err := pair.Differences(script)
		require.NoError(t, err, "seed %d", seed)
		if len(found) > 0 {
			explained++
		}
		if _, differs := Unexplained(found, pair.Known); !differs {
			continue
		}
		explained--
		short, err := pair.Shrink(script)
		require.NoError(t, err)
		found, err = pair.Differences(short)
		require.NoError(t, err)
		d, again := Unexplained(found, pair.Known)
		require.True(t, again, "seed %d: differs in one run and not in the next:\n%s", seed, script)
		t.Errorf("seed %d: %v\n%s", seed, d, short)
		if differed++; differed == enough {
			break
		}
	}
	t.Logf("%d calls in %d scripts; %d scripts have a known difference", count*scriptLength, count, explained)
}

// The scripts in testdata do the same on both sides: what was found and mended,
// and what random scripts do not come upon.
func TestScripts(t *testing.T) {
	pair := newPair(t)
	for _, file := range glob(t, "testdata/*.txt") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			check(t, pair, read(t, file))
		})
	}
}

// Every known difference occurs in the script of its name, and nothing else does.
func TestKnownDifferencesOccur(t *testing.T) {
	pair := newPair(t)
	const scripts = "testdata/differences"
	var named []string
	for _, k := range pair.Known {
		file := filepath.Join(scripts, k.ID+".txt")
		named = append(named, file)
		t.Run(k.ID, func(t *testing.T) {
			script, err := ParseScript(file, read(t, file))
			require.NoError(t, err)
			found, err := pair.Differences(script)
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(found, k.explains), "does not occur any more: %v", found)
			d, differs := Unexplained(found, pair.Known)
			require.False(t, differs, "%v", d)
		})
	}
	slices.Sort(named)
	require.Equal(t, named, glob(t, scripts+"/*.txt"), "scripts and entries of differences.txt")
}

func glob(t *testing.T, pattern string) []string {
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

func read(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}
