// Package mutation puts bugs into a copy of the code, one at a time, and sees to it
// that a test notices.
package mutation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Mutation is a line of code and the bug that takes its place.
type Mutation struct {
	Title string
	File  string // relative to the package whose test must notice
	Line  string // as it is, without indentation
	Bug   string
	Test  string // that must fail
}

// Read reads a list. Entries are five lines each, with an empty line in between:
//
//	what is wrong
//	file ../../stack/gate.go
//	- the line
//	+ the bug
//	test TestThatNotices
//
// A bug that is empty leaves the line out. An entry that begins with # is a comment.
func Read(t *testing.T, path string) (all []Mutation) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for entry := range strings.SplitSeq(string(data), "\n\n") {
		if strings.HasPrefix(entry, "#") {
			continue
		}
		lines := strings.Split(strings.TrimSpace(entry), "\n")
		require.Len(t, lines, 5, entry)
		m := Mutation{Title: lines[0]}
		for i, field := range []struct {
			prefix string
			value  *string
		}{{"file ", &m.File}, {"- ", &m.Line}, {"+", &m.Bug}, {"test ", &m.Test}} {
			value, ok := strings.CutPrefix(lines[i+1], field.prefix)
			require.True(t, ok, lines[i+1])
			*field.value = strings.TrimSpace(value)
		}
		all = append(all, m)
	}
	return all
}

// Catch runs the named tests of this package on each mutation of a list. It takes
// minutes, so without ULISTEN_MUTATE=1 it only checks that the list fits the code.
func Catch(t *testing.T, path string) {
	for _, m := range Read(t, path) {
		t.Run(m.Title, func(t *testing.T) {
			mutant := m.apply(t)
			if os.Getenv("ULISTEN_MUTATE") != "1" {
				return
			}
			out, err := m.test(t, mutant)
			require.Error(t, err, "nobody noticed:\n%s", out)
			require.Contains(t, string(out), "--- FAIL: "+m.Test, "%s", out)
		})
	}
}

// apply returns the file with the bug in it.
func (m Mutation) apply(t *testing.T) string {
	data, err := os.ReadFile(m.File)
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	found := 0
	for i, line := range lines {
		if strings.TrimSpace(line) == m.Line {
			lines[i] = m.Bug
			found++
		}
	}
	require.Equal(t, 1, found, "%s: %q must stand there exactly once", m.File, m.Line)
	return strings.Join(lines, "\n")
}

// test runs the test that must fail.
func (m Mutation) test(t *testing.T, mutant string) ([]byte, error) {
	dir := t.TempDir()
	copied := filepath.Join(dir, filepath.Base(m.File))
	require.NoError(t, os.WriteFile(copied, []byte(mutant), 0o600))
	original, err := filepath.Abs(m.File)
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: copied}})
	require.NoError(t, err)
	overlayFile := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlayFile, overlay, 0o600))
	pattern := fmt.Sprintf("^%s$", strings.ReplaceAll(m.Test, "/", "$/^"))
	cmd := exec.Command("go", "test", "-count=1", "-vet=off", "-timeout=300s", "-overlay", overlayFile, "-run", pattern, ".")
	return cmd.CombinedOutput()
}
