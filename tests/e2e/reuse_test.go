//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

// reconnect connects from a fixed port; the kernel may need a moment to be done
// with the connection before.
func (l *lab) reconnect(at netip.AddrPort, port uint16) *netlab.Socket {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := l.ns.Connect(netlab.ConnectConfig{Remote: at, Local: l.port(at, port)})
		if (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE)) && time.Now().Before(deadline) {
			continue
		}
		require.NoError(l.t, err)
		return c
	}
}

// The server closes first and is left in TIME-WAIT; the same client connects
// from the same port at once. Its SYN revives the flow, each time, and finds an
// ordinary listener: what is said on one connection stays on it.
func TestFastPortReuse(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		for name, size := range map[string]int{"no data": 0, "with data": 100 << 10} {
			t.Run(name, func(t *testing.T) {
				lab := newLab(t, labConfig{})
				l := lab.listen(at, 3, nil)
				for round := range 50 {
					client := lab.conn(lab.reconnect(at, 4001))
					server := lab.accept(l)
					want := bytes.Repeat([]byte{byte(round)}, size)
					if size > 0 {
						go client.Write(want)
						got := make([]byte, size)
						_, err := io.ReadFull(server, got)
						require.NoError(t, err)
						require.True(t, bytes.Equal(want, got), "round %d", round)
						go func() {
							server.Write(want)
							server.Close()
						}()
					} else {
						require.NoError(t, server.Close())
					}
					got, err := io.ReadAll(client)
					require.NoError(t, err, "round %d", round)
					require.True(t, bytes.Equal(want, got), "round %d", round)
					require.NoError(t, client.Close())
				}
				lab.depths(l, 0, 0)
				require.EqualValues(t, 50, l.Stats().Counters.PassiveOpens)
				require.Zero(t, lab.s.Drops())
			})
		}
	})
}

// A full queue is full for a SYN that revives a TIME-WAIT flow too.
func TestFastPortReuseMeetsFullQueue(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 0, nil)
	client := lab.conn(lab.reconnect(http4, 4001))
	require.NoError(t, lab.accept(l).Close())
	_, err := io.ReadAll(client)
	require.NoError(t, err)
	client.Close()

	l.SetOverflow(reset)
	lab.connected(netlab.ConnectConfig{Remote: http4})
	lab.depths(l, 0, 1)
	again := lab.reconnect(http4, 4001)
	require.Equal(t, syscall.ECONNREFUSED, again.Wait(patience))
	again.Close()
	lab.accept(l)
	talk(t, lab.conn(lab.reconnect(http4, 4001)), lab.accept(l))
}

// A connection that its client reset keeps its place in the accept queue. The
// client may connect from the same port meanwhile: then the flow is queued
// twice, the dead connection first.
func TestPortReuseWhileResetConnectionIsQueued(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 9, nil)
		for n := range 5 {
			c := lab.reconnect(at, 4001)
			require.NoError(t, c.Wait(patience))
			lab.depths(l, 0, n+1)
			require.NoError(t, c.Abort()) // connected and reset
		}
		last := lab.conn(lab.reconnect(at, 4001))
		lab.depths(l, 0, 6)
		for range 5 {
			dead := lab.accept(l)
			require.Equal(t, last.LocalAddr().String(), dead.RemoteAddr().String())
			expectError(t, dead, syscall.ECONNRESET)
			dead.Close()
		}
		talk(t, last, lab.accept(l))
		lab.depths(l, 0, 0)
	})
}
