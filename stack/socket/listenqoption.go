//go:build linux

package socket

import (
	"fmt"
	"strings"

	"github.com/ulisten/ulisten/listenq"
)

// SOL_LISTENQ is the level of the options that the kernel has not: what package
// listenq knows about a socket that listens. They are EINVAL for one that does not.
const SOL_LISTENQ = 0x6c71

// The options of SOL_LISTENQ.
const (
	// LISTENQ_LIMIT is an int: what listen(2) made of the backlog. The accept
	// queue is full when it is longer than this. Read only.
	LISTENQ_LIMIT = 1 + iota
	// LISTENQ_WHY is text: how the limit came from the backlog, one step a line.
	// Read only.
	LISTENQ_WHY
	// LISTENQ_OVERFLOW is text: what a full queue answers, by name. TCP takes the
	// names of listenq.Overflow, unix sockets those of listenq.LocalOverflow. It
	// may be set before listen.
	LISTENQ_OVERFLOW
	// LISTENQ_COUNTERS is text: a line "name=value" for each of listenq.Counters.
	// Read only.
	LISTENQ_COUNTERS
	// LISTENQ_PROFILE is text: the platform whose rules the queue follows. It is
	// set before listen; unix sockets do not have it.
	LISTENQ_PROFILE
)

// counterLines is the value of LISTENQ_COUNTERS.
func counterLines(c listenq.Counters) []byte {
	var b strings.Builder
	c.Each(func(name string, value uint64) {
		fmt.Fprintf(&b, "%s=%d\n", name, value)
	})
	return []byte(b.String())
}
