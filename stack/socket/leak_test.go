//go:build linux

package socket

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// A life is what one descriptor, or a few, go through from socket to close.
type life struct {
	name string
	live func(t *testing.T, p *Process, settle func())
}

var lives = []life{
	{"tcp", func(t *testing.T, p *Process, _ func()) {
		fd := must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))(t)
		require.NoError(t, p.Bind(fd, at4(1000)))
		require.NoError(t, p.Listen(fd, 5))
		require.NoError(t, p.Close(fd))
	}},
	{"tcp connection", func(t *testing.T, p *Process, settle func()) {
		const mode = unix.SOCK_STREAM | unix.SOCK_NONBLOCK
		l := must(p.Socket(unix.AF_INET, mode, 0))(t)
		require.NoError(t, p.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		require.NoError(t, p.Bind(l, at4(1001)))
		require.NoError(t, p.Listen(l, 5))
		queued := must(p.Socket(unix.AF_INET, mode, 0))(t)
		c := must(p.Socket(unix.AF_INET, mode, 0))(t)
		for _, fd := range []int{c, queued} {
			require.Equal(t, unix.EINPROGRESS, p.Connect(fd, at4(1001)))
			settle()
		}
		conn, _, err := p.Accept4(l, 0)
		require.NoError(t, err)
		require.Equal(t, 1, must(p.Write(c, []byte("x")))(t))
		for _, fd := range []int{c, conn, l, queued} {
			require.NoError(t, p.Close(fd))
			settle()
		}
	}},
	{"tcp connecting to nobody", func(t *testing.T, p *Process, settle func()) {
		c := must(p.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0))(t)
		require.Equal(t, unix.EINPROGRESS, p.Connect(c, &unix.SockaddrInet6{Addr: netip.MustParseAddr("2001:db8::99").As16(), Port: 1}))
		settle()
		require.NoError(t, p.Close(c))
	}},
	{"udp", func(t *testing.T, p *Process, settle func()) {
		a := must(p.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))(t)
		require.NoError(t, p.Bind(a, at4(1002)))
		b := must(p.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))(t)
		require.NoError(t, p.Connect(b, at4(1002)))
		require.Equal(t, 1, must(p.Write(b, []byte("x")))(t))
		settle()
		require.NoError(t, p.Close(a), "with a datagram in its queue")
		require.NoError(t, p.Close(b))
	}},
	{"unix connection", func(t *testing.T, p *Process, _ func()) {
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
			l := must(p.Socket(unix.AF_UNIX, typ, 0))(t)
			require.NoError(t, p.Bind(l, &unix.SockaddrUnix{Name: "@l"}))
			require.NoError(t, p.Listen(l, 5))
			c := must(p.Socket(unix.AF_UNIX, typ, 0))(t)
			require.NoError(t, p.Connect(c, &unix.SockaddrUnix{Name: "@l"}))
			require.Equal(t, 1, must(p.Write(c, []byte("x")))(t))
			require.NoError(t, p.Close(l), "with a connection in its queue")
			require.NoError(t, p.Close(c))
		}
	}},
	{"unix dgram with a path", func(t *testing.T, p *Process, _ func()) {
		a := must(p.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0))(t)
		require.NoError(t, p.Bind(a, &unix.SockaddrUnix{Name: "/a"}))
		require.NoError(t, p.Close(a))
		require.NoError(t, p.ns.Unlink("/a"))
	}},
	{"pair", func(t *testing.T, p *Process, _ func()) {
		fds, err := p.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		d := must(p.Dup(fds[0]))(t)
		_, err = p.Sendmsg(fds[0], [][]byte{{1}}, unix.UnixRights(d), nil, 0)
		require.NoError(t, err)
		for _, fd := range []int{fds[0], d, fds[1]} {
			require.NoError(t, p.Close(fd))
		}
	}},
	{"epoll", func(t *testing.T, p *Process, _ func()) {
		ep := must(p.EpollCreate1(0))(t)
		fds, err := p.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		require.NoError(t, p.EpollCtl(ep, unix.EPOLL_CTL_ADD, fds[0], &unix.EpollEvent{Events: unix.EPOLLOUT}))
		require.Equal(t, 1, must(p.EpollWait(ep, make([]unix.EpollEvent, 1), 0))(t))
		for _, fd := range []int{fds[0], ep, fds[1]} {
			require.NoError(t, p.Close(fd))
		}
	}},
}

// must returns the result of a call that must not fail.
func must(n int, err error) func(t *testing.T) int {
	return func(t *testing.T) int {
		t.Helper()
		require.NoError(t, err)
		return n
	}
}

// What was opened and closed a hundred thousand times has left nothing: no
// descriptor, port, endpoint or goroutine, and not more memory than before.
func TestNothingIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("takes fifteen seconds, and minutes under the race detector")
	}
	const (
		cycles = 100_000
		warmUp = cycles / 10
		// spare is what the heap may differ by for reasons of its own.
		spare = 1 << 20
		// twoMinutes are the end of TIME-WAIT and FIN-WAIT-2.
		twoMinutes = 2 * time.Minute
	)
	clock := stack.NewVirtualClock()
	link, far := tun.Pipe(tun.PipeConfig{Manual: true})
	far.Close()
	s, err := stack.New(stack.Config{
		Link:      link,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
		Clock:     clock,
	})
	require.NoError(t, err)
	defer s.Close()
	ns := NewNamespace(s)
	p := ns.Process(16)
	goroutines := runtime.NumGoroutine()
	heap := func() uint64 {
		clock.Advance(twoMinutes)
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before uint64
	for i := range cycles {
		if i == warmUp {
			before = heap()
		}
		lives[i%len(lives)].live(t, p, clock.Settle)
		if i%1000 == 0 {
			clock.Advance(twoMinutes)
		}
	}
	after := heap()
	require.Less(t, after, before+spare)

	fd := must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))(t)
	require.Zero(t, fd, "the lowest number is free")
	require.NoError(t, p.Close(fd))
	require.Empty(t, s.Netstack().RegisteredEndpoints())
	require.Empty(t, s.Netstack().CleanupEndpoints())
	require.Empty(t, ns.udpPorts.byPort)
	require.Empty(t, ns.names.abstract)
	require.Empty(t, ns.names.paths)
	require.Zero(t, ns.filesUnderWay.Load())
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines)
}
