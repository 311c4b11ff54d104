//go:build linux

package socket

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A TCP connection to oneself, watched by edge and by level: every event that epoll(7)
// promises comes, in order, and no other.
func TestEpollOfTCP(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	l, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}}))
	require.NoError(t, p.Listen(l, 1))
	addr, err := p.Getsockname(l)
	require.NoError(t, err)
	ep := b.epoll()
	b.watch(ep, l, unix.EPOLLIN|unix.EPOLLET)
	next := func() (fd int, events uint32) {
		e := make([]unix.EpollEvent, 8)
		n, err := p.EpollWait(ep, e, 5000)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		return int(e[0].Fd), e[0].Events
	}
	quiet := func() {
		n, err := p.EpollWait(ep, make([]unix.EpollEvent, 8), 20)
		require.NoError(t, err)
		require.Zero(t, n)
	}
	quiet()
	client, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.Connect(client, addr))
	fd, events := next()
	require.Equal(t, l, fd)
	require.Equal(t, uint32(unix.EPOLLIN), events)
	quiet()
	conn, _, err := p.Accept4(l, 0)
	require.NoError(t, err)

	b.watch(ep, conn, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET)
	quiet()
	for range 2 { // the second without reading the first
		_, err = p.Write(client, []byte("x"))
		require.NoError(t, err)
		fd, events = next()
		require.Equal(t, conn, fd)
		require.Equal(t, uint32(unix.EPOLLIN), events)
		quiet()
	}
	require.NoError(t, p.Shutdown(client, unix.SHUT_WR))
	_, events = next()
	require.Equal(t, uint32(unix.EPOLLIN|unix.EPOLLRDHUP), events)
	quiet()
	require.NoError(t, p.EpollCtl(ep, unix.EPOLL_CTL_MOD, conn, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(conn)}))
	for range 3 {
		_, events = next()
		require.Equal(t, uint32(unix.EPOLLIN), events)
	}
	require.NoError(t, p.Close(conn))
	quiet()
}
