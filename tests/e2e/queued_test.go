//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
	"github.com/ulisten/ulisten/tun"
)

// queued connects a client that nobody has accepted yet.
func (l *lab) queued(ln *stack.Listener, at netip.AddrPort) *net.TCPConn {
	l.t.Helper()
	depth := ln.Stats().AcceptQueue
	c := l.connected(netlab.ConnectConfig{Remote: at})
	l.depths(ln, 0, depth+1)
	return c.(*net.TCPConn)
}

// What the client writes before anybody accepts waits for the accepter.
func TestDataBeforeAcceptIsKept(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		for _, offload := range []tun.Offload{tun.OffloadOn, tun.OffloadOff} {
			t.Run("offload "+offload.String(), func(t *testing.T) {
				lab := newLab(t, labConfig{offload: offload})
				l := lab.listen(at, 5, nil)
				random := rand.NewChaCha8([32]byte{1})
				data := make([]byte, 300<<10) // more than the receive buffer takes unread
				random.Read(data)
				c := lab.queued(l, at)
				go func() {
					c.Write(data)
					c.CloseWrite()
				}()
				got, err := io.ReadAll(lab.accept(l))
				require.NoError(t, err)
				require.Equal(t, sha256.Sum256(data), sha256.Sum256(got))
			})
		}
	})
}

// Data that overtakes the final ACK, or comes with it, completes the handshake
// and is kept: the client writes the moment it is connected.
func TestDataWithTheFinalACKIsKept(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 50, nil)

		// The bare ACK is lost, the data segment takes its place.
		bare := func(h header.TCP) bool {
			return h.Flags() == header.TCPFlagAck && len(h.Payload()) == 0
		}
		for range 20 {
			lab.sluice.hold(bare)
			c := lab.connected(netlab.ConnectConfig{Remote: at})
			_, err := c.Write([]byte("first words"))
			require.NoError(t, err)
			accepted := lab.accept(l)
			expect(t, accepted, "first words")
			lab.sluice.open() // the old ACK is a duplicate now
			talk(t, c, accepted)
		}

		// Nothing is held: ACK and data arrive back to back.
		for range 50 {
			c := lab.connected(netlab.ConnectConfig{Remote: at})
			_, err := c.Write([]byte("first words"))
			require.NoError(t, err)
			expect(t, lab.accept(l), "first words")
		}
		require.Zero(t, lab.s.Drops())
	})
}

// A client that has said everything before it is accepted is heard to the end.
func TestFINBeforeAcceptGivesEOFAfterTheData(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 5, nil)
		for _, words := range []string{"", "last words"} {
			c := lab.queued(l, at)
			_, err := c.Write([]byte(words))
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
			lab.waitForState(c, netlab.FinWait2)
			accepted := lab.accept(l)
			got, err := io.ReadAll(accepted)
			require.NoError(t, err)
			require.Equal(t, words, string(got))
			_, err = accepted.Write([]byte("and an answer")) // half-closed, not closed
			require.NoError(t, err)
			expect(t, c, "and an answer")
			accepted.Close()
			c.Close()
		}
	})
}

// A connection that its client resets stays in the queue, in its place; what it
// had received can still be read, then comes ECONNRESET.
func TestRSTWhileQueuedKeepsThePlace(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 2, nil)
		before, dead, after := lab.queued(l, at), lab.queued(l, at), lab.queued(l, at)
		require.NoError(t, dead.SetLinger(0))
		require.NoError(t, dead.Close())

		l.SetOverflow(reset)
		c := lab.connect(netlab.ConnectConfig{Remote: at})
		require.Equal(t, syscall.ECONNREFUSED, c.Wait(patience), "the dead connection still takes a place")
		require.Equal(t, 3, l.Stats().AcceptQueue)

		talk(t, before, lab.accept(l))
		accepted := lab.accept(l)
		require.Equal(t, dead.LocalAddr().String(), accepted.RemoteAddr().String())
		expectError(t, accepted, syscall.ECONNRESET)
		_, err := accepted.Write([]byte("x"))
		require.Error(t, err)
		talk(t, after, lab.accept(l))
	})
}

// Nothing that happens to queued connections disturbs their neighbours.
func TestQueuedConnectionsOfAllKinds(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 100, nil)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	var clients []*net.TCPConn
	for i := range 60 {
		c := lab.queued(l, http4)
		clients = append(clients, c)
		switch i % 4 {
		case 1: // data
			_, err := c.Write(big)
			require.NoError(t, err)
		case 2: // data and FIN
			_, err := c.Write(big)
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
		case 3: // RST
			require.NoError(t, c.SetLinger(0))
			require.NoError(t, c.Close())
		}
	}
	for i, c := range clients {
		accepted := lab.accept(l)
		require.Equal(t, c.LocalAddr().String(), accepted.RemoteAddr().String())
		switch i % 4 {
		case 0:
			talk(t, c, accepted)
		case 1:
			expect(t, accepted, string(big))
			talk(t, c, accepted)
		case 2:
			got, err := io.ReadAll(accepted)
			require.NoError(t, err)
			require.Equal(t, len(big), len(got))
		case 3:
			expectError(t, accepted, syscall.ECONNRESET)
		}
		accepted.Close()
	}
	lab.depths(l, 0, 0)
}
