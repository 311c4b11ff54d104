//go:build linux

package packets

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

const (
	folder = "testdata"
	// openFile lists what does not pass on our stack yet: a line "NAME: REASON", or
	// "NAME/ip6: REASON" for one version of IP.
	openFile = "open.txt"
	// attempts are how often the kernel may try: it is the script that is tested
	// there, and a machine that stands still for a moment says nothing about it.
	attempts = 10
	// playedAtOnce bounds the scripts under way: nearly all of their time is
	// waiting.
	playedAtOnce = 96
)

// A played is a script in one version of IP.
type played struct {
	*Script
	version int
	err     error
}

func (p *played) name() string { return fmt.Sprintf("%s/ip%d", p.Name, p.version) }

// scripts loads all scripts, in each version that they can be played over.
func scripts(t *testing.T) (all []*played) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.pkt"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		s, err := Load(file)
		require.NoError(t, err)
		for _, version := range s.Versions() {
			all = append(all, &played{Script: s, version: version})
		}
	}
	return all
}

func TestScriptsOnTheKernel(t *testing.T) {
	netlab.RequireTUN(t)
	all := scripts(t)
	untilItHolds(all)
	for _, p := range all {
		t.Run(p.name(), func(t *testing.T) {
			if p.err != nil {
				t.Error(p.err)
			}
		})
	}
}

// untilItHolds plays scripts on the kernel, those that fail again and again, and
// returns the ones that never held.
func untilItHolds(all []*played) []*played {
	left := all
	for range attempts {
		playOnKernel(left)
		left = slices.DeleteFunc(slices.Clone(left), func(p *played) bool { return p.err == nil })
	}
	return left
}

// playOnKernel plays scripts, several at a time.
func playOnKernel(all []*played) {
	next := make(chan *played)
	var wg sync.WaitGroup
	for range min(playedAtOnce, len(all)) {
		wg.Go(func() {
			for p := range next {
				p.err = PlayOnKernel(p.Script, p.version)
			}
		})
	}
	for _, p := range all {
		next <- p
	}
	close(next)
	wg.Wait()
}

func TestScriptsOnOurs(t *testing.T) {
	reasons := openScripts(t)
	for _, p := range scripts(t) {
		t.Run(p.name(), func(t *testing.T) {
			t.Parallel()
			err := PlayOnOurs(p.Script, p.version)
			reason := cmp.Or(reasons[p.Name], reasons[p.name()])
			switch {
			case reason == "" && err != nil:
				t.Error(err)
			case reason != "" && err == nil:
				t.Errorf("it passes: remove it from %s", openFile)
			}
		})
	}
}

// openEntries are the lines of openFile: reasons by name.
type openEntries map[string]string

func openScripts(t *testing.T) openEntries {
	text, err := os.ReadFile(filepath.Join(folder, openFile))
	require.NoError(t, err)
	entries := openEntries{}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, ": ")
		require.True(t, ok, "%s:%d: expected NAME: REASON", openFile, i+1)
		script, _, _ := strings.Cut(name, "/")
		require.FileExists(t, filepath.Join(folder, script+".pkt"), "%s:%d", openFile, i+1)
		require.NotContains(t, entries, name, "%s:%d", openFile, i+1)
		entries[name] = reason
	}
	return entries
}
