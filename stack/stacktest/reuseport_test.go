package stacktest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// A request stays with the listener that has answered its SYN when others come
// and go on the port, and only new clients are shared among all.
func TestRequestStaysWithItsListener(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	share := &stack.ListenOptions{ReusePort: true}
	first := lab.Listen(":80", 20, share)
	peers := make([]*stacktest.Peer, 10)
	for i := range peers {
		peers[i] = lab.Peer(string(rune('a'+i)), first)
		peers[i].SYN()
		peers[i].Expect("SYN-ACK")
	}
	first.ExpectQueues(10, 0)

	// One for the same addresses, and better ones for the clients' address.
	others := []*stacktest.Listener{
		lab.Listen(":80", 20, share),
		lab.Listen("192.0.2.1:80", 20, share),
		lab.Listen("192.0.2.1:80", 20, share),
	}
	for _, p := range peers[:5] {
		p.ACK()
		p.ExpectNothing()
	}
	first.ExpectQueues(5, 5)
	others[1].Close()
	for _, p := range peers[5:] {
		p.ACK()
		p.ExpectNothing()
	}
	first.ExpectQueues(0, 10)
	for i := range 10 {
		require.Equal(t, peers[i].Name(), first.Accept().Client())
	}
	for _, l := range others {
		l.ExpectCounter("OutRsts", 0)
		l.ExpectCounter("PassiveOpens", 0)
	}

	// A new client reaches the one that is left for its address.
	p := lab.Peer("new", first)
	p.Handshake()
	others[2].ExpectQueues(0, 1)
}
