package memnet_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq/memnet"
)

func TestBusyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		l, _ := n.Listen("tcp", "shop:80", 0, nil) // room for one
		n.Dial("tcp", "shop:80")                   // takes it
		time.AfterFunc(1500*time.Millisecond, func() { l.Accept() })

		start := time.Now()
		n.Dial("tcp", "shop:80") // SYNs at 0 s, 1 s and 2 s
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("connected after %v", took)
		}
	})
}

// The documentation shows this test, and the README the example, as they are.
func TestDocumentationShowsWhatRuns(t *testing.T) {
	const readme = "../../README.md"
	shown := strings.NewReplacer("//\t", "", "//\n", "\n").Replace(read(t, "doc.go"))
	require.Contains(t, shown, function(t, "doc_test.go", "TestBusyServer"))
	require.Contains(t, read(t, readme), function(t, "example_test.go", "Example"))
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// function returns the source of a top-level function.
func function(t *testing.T, file, name string) string {
	t.Helper()
	_, text, ok := strings.Cut(read(t, file), "\nfunc "+name+"(")
	require.True(t, ok)
	body, _, ok := strings.Cut(text, "\n}\n")
	require.True(t, ok)
	return "func " + name + "(" + body + "\n}\n"
}
