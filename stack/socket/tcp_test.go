//go:build linux

package socket

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

func TestTCPTalk(t *testing.T) {
	p := tcpProcess(t)
	l, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.Bind(l, at4(0)))
	require.NoError(t, p.Listen(l, 5))
	addr, err := p.Getsockname(l)
	require.NoError(t, err)
	c, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.Connect(c, addr))
	a, from, err := p.Accept4(l, 0)
	require.NoError(t, err)
	name, err := p.Getsockname(c)
	require.NoError(t, err)
	require.Equal(t, name, from)
	n, err := p.Write(c, []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, 5, n)
	b := make([]byte, 10)
	n, err = p.Read(a, b)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b[:n]))
	require.NoError(t, p.Shutdown(c, unix.SHUT_WR))
	n, err = p.Read(a, b)
	require.NoError(t, err)
	require.Zero(t, n)
}

var _ = time.Second

func at4(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: port}
}

// tcpProcess returns a process on a stack that talks to itself.
func tcpProcess(t testing.TB) *Process {
	a, b := tun.Pipe(tun.PipeConfig{})
	b.Close()
	s, err := stack.New(stack.Config{Link: a, Addresses: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64"),
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	p := NewNamespace(s).Process(1 << 16)
	t.Cleanup(p.CloseAll)
	return p
}
