//go:build linux

package syscalls

import (
	"fmt"
	"slices"
	"testing"
)

// kinds are the calls that make a socket a of each kind.
var kinds = []struct{ name, text string }{
	{"tcp", "a = socket inet stream|nonblock"},
	{"tcp listening", "a = socket inet stream|nonblock\nlisten a 5"},
	{"tcp connected", tcpPair},
	{"tcp6", "a = socket inet6 stream|nonblock"},
	{"udp", "a = socket inet dgram|nonblock"},
	{"udp connected", udpPair},
	{"udp6", "a = socket inet6 dgram|nonblock"},
	{"unix stream", "a b = socketpair unix stream|nonblock"},
	{"unix seqpacket", "a = socket unix seqpacket|nonblock"},
	{"unix dgram", "a = socket unix dgram|nonblock"},
}

// Each option on each kind of socket: read, set to what is right and to what is
// not, and read again.
func TestOptions(t *testing.T) {
	t.Parallel()
	pair := newPair(t)
	pair.Hasty = true
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			for _, level := range levels {
				names := options[level.number].names()
				slices.Sort(names)
				for _, name := range append(names, "9999") {
					at := fmt.Sprintf("%s\ngetsockopt a %s %s", kind.text, level.name, name)
					for _, length := range []string{"", "0", "1", "100"} {
						check(t, pair, at+" "+length)
					}
					for _, value := range []string{"", "bytes:01", "0", "1", "-1", "100", "100000", "long:0", "1,0", "long:0,long:0", "\"x\"", "fill*100"} {
						set := fmt.Sprintf("\nsetsockopt a %s %s %s\ngetsockopt a %s %s", level.name, name, value, level.name, name)
						check(t, pair, kind.text+set)
					}
				}
			}
		})
	}
}
