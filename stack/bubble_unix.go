//go:build unix

package stack

import (
	"syscall"
	"time"
)

// inBubble reports whether the caller runs in a bubble of testing/synctest, whose time
// is not the system's.
func inBubble() bool {
	var now syscall.Timeval
	if err := syscall.Gettimeofday(&now); err != nil {
		return false
	}
	return time.Since(time.Unix(now.Unix())).Abs() > time.Hour
}
