//go:build linux

package socket

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The texts are libc's: those in testdata were written by strerror(3), and where
// there is a Python on the machine it is asked again.
func TestStrerror(t *testing.T) {
	golden, err := os.ReadFile("testdata/strerror.txt")
	require.NoError(t, err)
	var ours strings.Builder
	for errno := range unix.Errno(134) {
		fmt.Fprintf(&ours, "%d %s\n", errno, Strerror(errno))
	}
	require.Equal(t, string(golden), ours.String())
	require.Equal(t, "Unknown error 4095", Strerror(4095))
	require.Equal(t, "Unknown error -1", Strerror(^unix.Errno(0)))

	if python, err := exec.LookPath("python3"); err == nil {
		cmd := exec.Command(python, "-c", "import os\nfor n in range(134): print(n, os.strerror(n))")
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		live, err := cmd.Output()
		require.NoError(t, err)
		require.Equal(t, string(live), ours.String())
	}
}
