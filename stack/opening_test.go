package stack_test

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack/stacktest"
)

// However much of what a connection being opened gets is wrong, its SYN is repeated
// once at once and then in its own time, and all that was sent is counted.
func TestWrongAnswersToASYN(t *testing.T) {
	for _, server := range []string{"192.0.2.9:80", "[2001:db8::9]:80"} {
		t.Run(server, func(t *testing.T) {
			lab, remote := stacktest.New(t, stacktest.Config{}), netip.MustParseAddrPort(server)
			c, err := lab.Stack().NewEndpoint(remote.Addr().Is6())
			require.NoError(t, err)
			require.Equal(t, syscall.EINPROGRESS, c.Connect(nil, remote))
			lab.Advance(0)
			p := lab.PeerAt("server", remote, c.Local())
			for range 100 {
				p.Send(stacktest.Segment{Flags: stacktest.SYN | stacktest.ACK, Ack: 5})
			}
			lab.Advance(500 * time.Millisecond)
			lab.ExpectCounter("OutRsts", 100)
			lab.ExpectCounter("RetransSegs", 1)
			require.Len(t, p.Received(), 101)
		})
	}
}
