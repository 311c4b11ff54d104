package memnet_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain looks for goroutines that the tests left in this package.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftovers(); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "after the last test: %d goroutines:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// leftovers waits for goroutines of this package to end and returns those that
// do not.
func leftovers() (left []string) {
	const patience = 5 * time.Second
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if left = ours(); len(left) == 0 {
			return nil
		}
	}
	return left
}

func ours() (found []string) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for i, g := range strings.Split(string(stacks), "\n\n") {
		if i > 0 && strings.Contains(g, "listenq/memnet") { // the first is this one
			found = append(found, g)
		}
	}
	return found
}
