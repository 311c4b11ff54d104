package listenq_test

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

// A mutation is one entry of testdata/mutations.txt.
type mutation struct {
	title, file, line, bug, test string
}

func mutations(t *testing.T) (all []mutation) {
	data, err := os.ReadFile("testdata/mutations.txt")
	require.NoError(t, err)
	for _, entry := range strings.Split(string(data), "\n\n") {
		if strings.HasPrefix(entry, "#") {
			continue
		}
		lines := strings.Split(strings.TrimSpace(entry), "\n")
		require.Len(t, lines, 5, entry)
		m := mutation{title: lines[0]}
		for i, field := range []struct {
			prefix string
			value  *string
		}{{"file ", &m.file}, {"- ", &m.line}, {"+", &m.bug}, {"test ", &m.test}} {
			value, ok := strings.CutPrefix(lines[i+1], field.prefix)
			require.True(t, ok, lines[i+1])
			*field.value = strings.TrimSpace(value)
		}
		all = append(all, m)
	}
	return all
}

// apply returns the file with the bug in it.
func (m mutation) apply(t *testing.T) string {
	data, err := os.ReadFile(m.file)
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	found := 0
	for i, line := range lines {
		if strings.TrimSpace(line) == m.line {
			lines[i] = m.bug
			found++
		}
	}
	require.Equal(t, 1, found, "%s: %q must stand there exactly once", m.file, m.line)
	return strings.Join(lines, "\n")
}

// Every bug of testdata/mutations.txt makes the test fail that is named beside
// it. Compiling the package once for each takes a minute, so without
// ULISTEN_MUTATE=1 only the list itself is checked.
func TestBugsAreCaught(t *testing.T) {
	for _, m := range mutations(t) {
		t.Run(m.title, func(t *testing.T) {
			mutant := m.apply(t)
			requireTestExists(t, m.test)
			if os.Getenv("ULISTEN_MUTATE") != "1" {
				return
			}
			dir := t.TempDir()
			copied := filepath.Join(dir, m.file)
			require.NoError(t, os.WriteFile(copied, []byte(mutant), 0o600))
			original, err := filepath.Abs(m.file)
			require.NoError(t, err)
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: copied}})
			require.NoError(t, err)
			overlayFile := filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(overlayFile, overlay, 0o600))

			pattern := "^" + strings.ReplaceAll(m.test, "/", "$/^") + "$"
			out, err := exec.Command("go", "test", "-vet=off", "-timeout=60s", "-overlay", overlayFile, "-run", pattern, ".").CombinedOutput()
			require.Error(t, err, "nobody noticed:\n%s", out)
			require.Contains(t, string(out), "--- FAIL: "+m.test, "%s", out)
		})
	}
}

// requireTestExists looks for the test's function, and for the recording if the
// test is one.
func requireTestExists(t *testing.T, name string) {
	name, scenario, isRecording := strings.Cut(name, "/")
	if isRecording {
		require.FileExists(t, filepath.Join("testdata/linux", scenario+".json"))
	}
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		if strings.Contains(string(data), fmt.Sprintf("\nfunc %s(t *testing.T)", name)) {
			return
		}
	}
	t.Fatalf("no test %s", name)
}
