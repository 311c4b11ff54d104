//go:build linux

package socket

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What the table says of an option is what getsockopt and setsockopt do: one that a
// socket does not know is refused by both, one that it knows by at most one.
func TestOptionsAreAsListed(t *testing.T) {
	p := tcpProcess(t)
	for _, o := range Options() {
		for _, s := range []struct {
			name        string
			domain, typ int
			known       bool
		}{
			{"TCP", unix.AF_INET6, unix.SOCK_STREAM, o.TCP},
			{"UDP", unix.AF_INET6, unix.SOCK_DGRAM, o.UDP},
			{"unix", unix.AF_UNIX, unix.SOCK_STREAM, o.Unix},
		} {
			fd, err := p.Socket(s.domain, s.typ, 0)
			require.NoError(t, err)
			_, get := p.Getsockopt(fd, o.Level, o.Name, make([]byte, 256))
			set := p.SetsockoptInt(fd, o.Level, o.Name, 1)
			refused := func(err error) bool { return err == unix.ENOPROTOOPT || err == unix.EOPNOTSUPP }
			if s.known {
				require.False(t, refused(get) && refused(set), "%s %s", s.name, o.NameText)
			} else {
				require.True(t, refused(get), "getsockopt %s %s: %v", s.name, o.NameText, get)
				require.True(t, refused(set), "setsockopt %s %s: %v", s.name, o.NameText, set)
			}
			require.NotEmpty(t, o.LevelText)
			require.NoError(t, p.Close(fd))
		}
	}

	// Nothing that a socket knows is missing from the list.
	listed := make(map[optionName]bool)
	for _, o := range Options() {
		listed[optionName{o.Level, o.Name}] = true
	}
	for key := range tcpOptionTable {
		require.True(t, listed[key], key)
	}
	for key := range udpOptionTable {
		require.True(t, listed[key], key)
	}
}
