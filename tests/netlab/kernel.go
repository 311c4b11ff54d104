//go:build linux

package netlab

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// RequireKernel skips the test on a kernel older than a release, such as "6.18":
// one that cannot know what the test asks it.
func RequireKernel(t testing.TB, release string) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if running := unix.ByteSliceToString(u.Release[:]); Older(running, release) {
		t.Skipf("%s is older than the rules of our stack, which are those of %s", running, release)
	}
}

// Older compares kernel releases by their first two numbers.
func Older(a, b string) bool {
	numbers := func(release string) (n [2]int) {
		fmt.Sscanf(strings.ReplaceAll(release, ".", " "), "%d %d", &n[0], &n[1])
		return n
	}
	x, y := numbers(a), numbers(b)
	return slices.Compare(x[:], y[:]) < 0
}
