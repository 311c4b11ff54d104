package stack_test

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
)

// Which sockets may be bound to a port together, as on Linux 6.18
// (inet_csk_bind_conflict).
func TestBindConflicts(t *testing.T) {
	const (
		any4 = "0.0.0.0:80"
		one4 = "192.0.2.1:80"
		any6 = "[::]:80"
		one6 = "[2001:db8::1]:80"
	)
	plain := stack.BindOptions{}
	reuse := stack.BindOptions{ReuseAddress: true}
	share := stack.BindOptions{ReusePort: true}
	both := stack.BindOptions{ReuseAddress: true, ReusePort: true}
	only6 := stack.BindOptions{V6Only: true}
	for _, tc := range []struct {
		first  string
		with   stack.BindOptions
		second string
		and    stack.BindOptions
		// binds and listens say whether the second may, while the first is
		// bound, and listens.
		binds, whileListening bool
	}{
		{any4, plain, any4, plain, false, false},
		{any4, plain, one4, plain, false, false},
		{one4, plain, any4, plain, false, false},
		{one4, plain, "192.0.2.1:81", plain, true, true},
		{one4, plain, one6, plain, true, true},
		{any4, plain, one6, plain, true, true},
		{any4, plain, any6, plain, false, false},
		{any4, plain, any6, only6, true, true},
		{any6, plain, any4, plain, false, false},
		{any6, plain, one4, plain, false, false},
		{any6, plain, one6, plain, false, false},
		{any6, only6, any4, plain, true, true},
		{any6, only6, one4, plain, true, true},
		{any6, only6, any6, plain, false, false},
		{one6, plain, any4, plain, true, true},
		{"[::ffff:192.0.2.1]:80", plain, one4, plain, false, false},
		{any4, reuse, any4, reuse, true, false},
		{any4, reuse, one4, reuse, true, false},
		{one4, reuse, any4, reuse, true, false},
		{any4, reuse, any4, plain, false, false},
		{any4, plain, any4, reuse, false, false},
		{any4, share, any4, share, true, true},
		{any4, share, one4, share, true, true},
		{any4, share, any4, plain, false, false},
		{any4, share, any4, reuse, false, false},
		{any4, both, any4, reuse, true, false},
		{any4, both, any4, share, true, true},
		{any6, share, any4, share, true, true},
	} {
		t.Run(fmt.Sprintf("%s %+v, %s %+v", tc.first, tc.with, tc.second, tc.and), func(t *testing.T) {
			s, _ := pair(t, stack.Config{})
			first, err := s.Bind(netip.MustParseAddrPort(tc.first), tc.with)
			require.NoError(t, err)
			outcome := map[bool]error{true: nil, false: syscall.EADDRINUSE}
			second, err := s.Bind(netip.MustParseAddrPort(tc.second), tc.and)
			require.Equal(t, outcome[tc.binds], asError(err))

			l, err := s.ListenOn(first, 5, nil)
			require.NoError(t, err)
			if second != nil {
				// Bound before the other listened, and too late to listen.
				l2, err := s.ListenOn(second, 5, nil)
				require.Equal(t, outcome[tc.whileListening], asError(err))
				if err == nil {
					require.NoError(t, l2.Close())
				}
				second.Release()
			}
			second, err = s.Bind(netip.MustParseAddrPort(tc.second), tc.and)
			require.Equal(t, outcome[tc.whileListening], asError(err))
			if second != nil {
				second.Release()
			}

			// What does not listen any more is as it was before.
			require.NoError(t, l.Shutdown())
			second, err = s.Bind(netip.MustParseAddrPort(tc.second), tc.and)
			require.Equal(t, outcome[tc.binds], asError(err))
			require.NoError(t, l.Close())
			first.Release()
			first.Release()
			if second == nil {
				second, err = s.Bind(netip.MustParseAddrPort(tc.second), tc.and)
				require.NoError(t, err)
			}
			l, err = s.ListenOn(second, 5, nil)
			require.NoError(t, err)
			require.NoError(t, l.Close())
			second.Release()
		})
	}
}

// asError keeps a nil errno from becoming an error that is not nil.
func asError(err error) error {
	if err == nil {
		return nil
	}
	return err
}

// A connection keeps its port, for those without SO_REUSEADDR, until it is over.
func TestConnectionsKeepTheirPort(t *testing.T) {
	server, client := pair(t, stack.Config{})
	at := netip.MustParseAddrPort("192.0.2.1:80")
	plain, reuse := stack.BindOptions{}, stack.BindOptions{ReuseAddress: true}
	l, err := server.Listen("tcp", at.String(), 5, nil)
	require.NoError(t, err)
	c, err := client.Dial("tcp", at.String())
	require.NoError(t, err)
	accepted, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, l.Close())

	_, err = server.Bind(at, plain)
	require.Equal(t, syscall.EADDRINUSE, err)
	b, err := server.Bind(at, reuse)
	require.NoError(t, err)
	b.Release()

	local := c.LocalAddr().(*net.TCPAddr).AddrPort()
	_, err = client.Bind(local, reuse)
	require.Equal(t, syscall.EADDRINUSE, err, "the client's own end has no SO_REUSEADDR")

	require.NoError(t, c.(*stack.Conn).SetLinger(0))
	require.NoError(t, c.Close())
	_, err = accepted.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	for _, end := range []struct {
		s  *stack.Stack
		at netip.AddrPort
	}{{server, at}, {client, local}} {
		b, err := end.s.Bind(end.at, plain)
		require.NoError(t, err)
		b.Release()
	}
}

// Ports that nobody asked for come from Linux's range and are never shared.
func TestPortsChosen(t *testing.T) {
	s, _ := pair(t, stack.Config{})
	seen := make(map[uint16]bool)
	for range 200 {
		b, err := s.Bind(netip.MustParseAddrPort("0.0.0.0:0"), stack.BindOptions{ReuseAddress: true, ReusePort: true})
		require.NoError(t, err)
		port := b.Local().Port()
		require.False(t, seen[port])
		seen[port] = true
		require.True(t, 32768 <= port && port <= 60999, port)
	}
}

// Listeners that share an address share its clients, each client keeps to one.
func TestReusePort(t *testing.T) {
	server, client := pair(t, stack.Config{})
	var listeners []*stack.Listener
	for range 3 {
		l, err := server.Listen("tcp", "192.0.2.1:80", 200, &stack.ListenOptions{ReusePort: true})
		require.NoError(t, err)
		listeners = append(listeners, l)
	}
	_, err := server.Listen("tcp", "192.0.2.1:80", 5, nil)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	dial := func(n int) []net.Conn {
		conns := make([]net.Conn, n)
		for i := range conns {
			c, err := client.Dial("tcp", "192.0.2.1:80")
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
			conns[i] = c
		}
		return conns
	}
	dial(150)
	require.Eventually(t, func() bool { return server.Counters().PassiveOpens == 150 }, patience, tick)
	for _, l := range listeners {
		// 50 on average; outside of this once in a billion keys.
		require.InDelta(t, 50, l.Stats().AcceptQueue, 40)
	}

	// One that closes resets what it has queued and no one else's.
	queued := []int{listeners[1].Stats().AcceptQueue, listeners[2].Stats().AcceptQueue}
	require.NoError(t, listeners[0].Close())
	for i, l := range listeners[1:] {
		for range queued[i] {
			require.NoError(t, l.SetDeadline(time.Now().Add(patience)))
			c, err := l.Accept()
			require.NoError(t, err)
			_, err = c.(*stack.Conn).TryRead(make([]byte, 1))
			require.ErrorIs(t, err, syscall.EAGAIN)
			c.Close()
		}
	}
	dial(20)
	require.Eventually(t, func() bool {
		return listeners[1].Stats().AcceptQueue+listeners[2].Stats().AcceptQueue == 20
	}, patience, tick)
}

// Listeners that come and go beside another refuse nobody: what they are about to
// leave goes to the one that stays.
func TestReusePortChurn(t *testing.T) {
	server, client := pair(t, stack.Config{})
	share := &stack.ListenOptions{ReusePort: true}
	stays, err := server.Listen("tcp", "192.0.2.1:80", 1000, share)
	require.NoError(t, err)
	done, stopped := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-done:
				stopped <- nil
				return
			default:
			}
			l, err := server.Listen("tcp", "192.0.2.1:80", 1000, share)
			if err != nil {
				stopped <- err
				return
			}
			l.Close()
		}
	}()
	for range 300 {
		c, err := client.Dial("tcp", "192.0.2.1:80")
		if err != nil { // its listener was closed when it had just connected
			require.ErrorIs(t, err, syscall.ECONNRESET)
			continue
		}
		c.Close()
	}
	close(done)
	require.NoError(t, <-stopped)
	require.NotZero(t, stays.Stats().Counters.PassiveOpens)
	require.Zero(t, server.Drops())
}
