package listenq_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/mutation"
)

// Every bug of testdata/mutations.txt makes the test fail that is named beside it.
func TestBugsAreCaught(t *testing.T) {
	for _, m := range mutation.Read(t, "testdata/mutations.txt") {
		requireTestExists(t, m.Test)
	}
	mutation.Catch(t, "testdata/mutations.txt")
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
