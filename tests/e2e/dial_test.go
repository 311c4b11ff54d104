//go:build linux

package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
)

// kernelAt is a kernel address that the stack can dial.
func kernelAt(at netip.AddrPort) netip.AddrPort {
	if at.Addr().Is4() {
		return netip.AddrPortFrom(kernel4.Addr(), at.Port())
	}
	return netip.AddrPortFrom(kernel6.Addr(), at.Port())
}

// The stack is a client as well: of a kernel listener.
func TestDialOut(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		remote := kernelAt(at).String()
		kernel, err := lab.ns.Listen("tcp", remote)
		require.NoError(t, err)
		defer kernel.Close()
		for range 20 {
			c, err := lab.s.Dial("tcp", remote)
			require.NoError(t, err)
			c.SetDeadline(time.Now().Add(patience))
			accepted, err := kernel.Accept()
			require.NoError(t, err)
			accepted.SetDeadline(time.Now().Add(patience))
			require.Equal(t, accepted.RemoteAddr().String(), c.LocalAddr().String())
			require.Equal(t, remote, c.RemoteAddr().String())
			talk(t, c, accepted)
			require.NoError(t, c.Close())
			_, err = accepted.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
			require.NoError(t, accepted.Close())
		}
	})
}

// Dialling fails as package net's does.
func TestDialOutFails(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		_, err := lab.s.Dial("tcp", kernelAt(at).String())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		// Nobody has the address: the kernel drops the SYN, and the context
		// ends the attempt.
		nobody := netip.AddrPortFrom(forger4, 80)
		if at.Addr().Is6() {
			nobody = netip.AddrPortFrom(forger6, 80)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err = lab.s.DialContext(ctx, "tcp", nobody.String())
		require.True(t, isTimeout(err), "%v", err)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		ctx, cancel = context.WithCancel(context.Background())
		failed := make(chan error)
		go func() {
			_, err := lab.s.DialContext(ctx, "tcp", nobody.String())
			failed <- err
		}()
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)

		_, err = lab.s.Dial("tcp", "name.example:80")
		var address *net.AddrError
		require.True(t, errors.As(err, &address), "%v", err)
	})
}

// pair returns both ends of one connection, without a listener.
func (l *lab) pair(at netip.AddrPort) (client *net.TCPConn, server *stack.Conn) {
	l.t.Helper()
	ln := l.listen(at, 1, nil)
	defer ln.Close()
	return l.pairOn(ln, at)
}

// pairOn returns both ends of one connection.
func (l *lab) pairOn(ln *stack.Listener, at netip.AddrPort) (client *net.TCPConn, server *stack.Conn) {
	l.t.Helper()
	return l.queued(ln, at), l.accept(ln).(*stack.Conn)
}

// A deadline ends what waits, tells its kind, and can be moved.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	client, server := lab.pair(http4)
	soon := func() time.Time { return time.Now().Add(20 * time.Millisecond) }

	require.NoError(t, server.SetReadDeadline(soon()))
	_, err := server.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.True(t, isTimeout(err))
	_, err = client.Write([]byte("x"))
	require.NoError(t, err)
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it is past, whether there are data or not")
	require.NoError(t, server.SetReadDeadline(time.Time{}))
	expect(t, server, "x")

	// A reader that waits already notices.
	failed := make(chan error)
	go func() {
		_, err := server.Read(make([]byte, 1))
		failed <- err
	}()
	require.NoError(t, server.SetReadDeadline(time.Unix(1, 0)))
	require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)

	// A writer whose peer reads one byte and no more: what went out before
	// counts.
	data := make([]byte, 64<<20)
	type written struct {
		n   int
		err error
	}
	wrote := make(chan written)
	go func() {
		n, err := server.Write(data)
		wrote <- written{n, err}
	}()
	expect(t, client, string(data[:1]))
	require.NoError(t, server.SetWriteDeadline(time.Unix(1, 0)))
	w := <-wrote
	require.ErrorIs(t, w.err, os.ErrDeadlineExceeded)
	require.Positive(t, w.n)
	require.Less(t, w.n, len(data))
	require.NoError(t, server.SetDeadline(time.Now().Add(patience)))
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, client)
		got <- n
	}()
	require.NoError(t, server.CloseWrite())
	require.EqualValues(t, w.n-1, <-got)

	ln := lab.listen(http4, 1, nil)
	require.NoError(t, ln.SetDeadline(soon()))
	_, err = ln.Accept()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.True(t, isTimeout(err))
	talk(t, lab.connected(netlabTo(http4)), lab.accept(ln))
}

// CloseWrite ends one direction only.
func TestCloseWrite(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		client, server := lab.pair(at)
		_, err := server.Write([]byte("all I have"))
		require.NoError(t, err)
		require.NoError(t, server.CloseWrite())
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, "all I have", string(got))
		_, err = server.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)

		_, err = client.Write([]byte("still listening?"))
		require.NoError(t, err)
		expect(t, server, "still listening?")
		require.NoError(t, client.CloseWrite())
		_, err = server.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}

// SetLinger(0) makes Close a RST.
func TestLingerZeroResets(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		client, server := lab.pair(at)
		require.NoError(t, server.SetLinger(0))
		require.NoError(t, server.Close())
		expectError(t, client, syscall.ECONNRESET)
		_, err := server.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, server.Close(), net.ErrClosed)
	})
}

// Close with data unread is a RST too: the client must learn that nobody has
// read them.
func TestCloseWithUnreadDataResets(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	client, server := lab.pair(http4)
	_, err := client.Write([]byte("read me"))
	require.NoError(t, err)
	_, err = server.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, server.Close())
	expectError(t, client, syscall.ECONNRESET)
}

// A client's reset ends what the server waits for, with ECONNRESET.
func TestPeerReset(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	client, server := lab.pair(http4)
	failed := make(chan error)
	go func() {
		_, err := server.Read(make([]byte, 1))
		failed <- err
	}()
	require.NoError(t, client.SetLinger(0))
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-failed, syscall.ECONNRESET)
}
