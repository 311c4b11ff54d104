//go:build linux

package socket

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

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

func at4(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: port}
}

func tcp4(t testing.TB, p *Process) int {
	fd, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	return fd
}

// listening returns a socket that listens, and its address.
func listening(t testing.TB, p *Process, backlog int) (int, unix.Sockaddr) {
	l := tcp4(t, p)
	require.NoError(t, p.Bind(l, at4(0)))
	require.NoError(t, p.Listen(l, backlog))
	addr, err := p.Getsockname(l)
	require.NoError(t, err)
	return l, addr
}

// connected returns both ends of a connection, and the listener.
func connected(t testing.TB, p *Process) (client, server, listener int) {
	listener, addr := listening(t, p, 5)
	client = tcp4(t, p)
	require.NoError(t, p.Connect(client, addr))
	server, from, err := p.Accept4(listener, 0)
	require.NoError(t, err)
	name, err := p.Getsockname(client)
	require.NoError(t, err)
	require.Equal(t, name, from)
	return client, server, listener
}

// becomes waits until poll(2) reports exactly these events.
func becomes(t testing.TB, p *Process, fd int, want waiter.EventMask) {
	t.Helper()
	f, err := p.file(fd)
	require.NoError(t, err)
	const asked = waiter.AllEvents
	require.Eventually(t, func() bool { return f.Readiness(asked) == want }, 10*time.Second, time.Millisecond,
		"%#x is not %#x", f.Readiness(asked), want)
}

const (
	pollIn  = waiter.ReadableEvents
	pollOut = waiter.WritableEvents
	gone    = pollIn | pollOut | waiter.EventHUp | waiter.EventRdHUp
)

func intOf(t testing.TB, p *Process, fd, level, name int) int {
	t.Helper()
	v, err := p.GetsockoptInt(fd, level, name)
	require.NoError(t, err)
	return v
}

func TestTCPConversation(t *testing.T) {
	p := tcpProcess(t)
	client, server, listener := connected(t, p)
	n, err := p.Writev(client, [][]byte{[]byte("he"), nil, []byte("llo")})
	require.NoError(t, err)
	require.Equal(t, 5, n)
	becomes(t, p, server, pollIn|pollOut)
	n, err = p.Ioctl(server, unix.TIOCINQ)
	require.NoError(t, err)
	require.Equal(t, 5, n)
	b := make([]byte, 10)
	n, err = p.Recv(server, b[:4], unix.MSG_PEEK)
	require.NoError(t, err)
	require.Equal(t, "hell", string(b[:n]))
	n, err = p.Recv(server, b[:1], unix.MSG_TRUNC) // discards, tcp(7)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, from, err := p.Recvfrom(server, b, 0)
	require.NoError(t, err)
	require.Equal(t, "ello", string(b[:n]))
	require.Nil(t, from, "a stream's address is that of its peer")

	// Half closed: one side has said all, the other goes on.
	require.NoError(t, p.Shutdown(client, unix.SHUT_WR))
	becomes(t, p, server, pollIn|pollOut|waiter.EventRdHUp)
	n, err = p.Read(server, b)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = p.Write(client, b)
	require.Equal(t, unix.EPIPE, err)
	_, err = p.Write(server, []byte("bye"))
	require.NoError(t, err)
	require.NoError(t, p.Shutdown(server, unix.SHUT_WR))
	n, err = p.Recv(client, b, unix.MSG_WAITALL)
	require.NoError(t, err)
	require.Equal(t, "bye", string(b[:n]))
	becomes(t, p, client, gone)
	becomes(t, p, server, gone)
	_, err = p.Getpeername(client)
	require.Equal(t, unix.ENOTCONN, err)
	require.NoError(t, p.Close(listener))
}

// A connection that its client resets keeps its place, and its data
// (platforms.md, section 2.7).
func TestTCPResetInTheQueue(t *testing.T) {
	p := tcpProcess(t)
	l, addr := listening(t, p, 5)
	c := tcp4(t, p)
	require.NoError(t, p.Connect(c, addr))
	name, err := p.Getsockname(c)
	require.NoError(t, err)
	_, err = p.Write(c, []byte("hello"))
	require.NoError(t, err)
	require.NoError(t, p.Setsockopt(c, unix.SOL_SOCKET, unix.SO_LINGER, structOption(&unix.Linger{Onoff: 1})))
	require.NoError(t, p.Close(c))

	s, from, err := p.Accept4(l, 0)
	require.NoError(t, err)
	require.Equal(t, name, from)
	becomes(t, p, s, gone|waiter.EventErr)
	_, err = p.Getpeername(s)
	require.Equal(t, unix.ENOTCONN, err)
	b := make([]byte, 10)
	n, err := p.Read(s, b)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b[:n]))
	_, err = p.Read(s, b)
	require.Equal(t, unix.ECONNRESET, err)
	n, err = p.Read(s, b)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = p.Write(s, b)
	require.Equal(t, unix.EPIPE, err)
	require.Zero(t, intOf(t, p, s, unix.SOL_SOCKET, unix.SO_ERROR))
}

func TestTCPRefused(t *testing.T) {
	p := tcpProcess(t)
	nobody := tcp4(t, p)
	require.NoError(t, p.Bind(nobody, at4(0)))
	dead, err := p.Getsockname(nobody)
	require.NoError(t, err)

	c := tcp4(t, p)
	require.Equal(t, unix.ECONNREFUSED, p.Connect(c, dead))
	becomes(t, p, c, pollOut|waiter.EventHUp)
	require.NoError(t, p.SetNonblock(c, true))
	require.Equal(t, unix.EINPROGRESS, p.Connect(c, dead))
	becomes(t, p, c, gone|waiter.EventErr)
	require.Equal(t, unix.ECONNREFUSED, unix.Errno(intOf(t, p, c, unix.SOL_SOCKET, unix.SO_ERROR)))
	becomes(t, p, c, gone)
	require.Equal(t, unix.ECONNABORTED, p.Connect(c, dead), "once reported, the error is lost")
	require.Equal(t, unix.EINPROGRESS, p.Connect(c, dead))
	becomes(t, p, c, gone|waiter.EventErr)
	_, err = p.Read(c, make([]byte, 1))
	require.Equal(t, unix.ECONNREFUSED, err)

	// The same socket can connect to another.
	require.NoError(t, p.Connect(c, SockaddrUnspec{}))
	require.NoError(t, p.SetNonblock(c, false))
	_, addr := listening(t, p, 5)
	require.NoError(t, p.Connect(c, addr))
	require.Equal(t, unix.EISCONN, p.Connect(c, addr))
	peer, err := p.Getpeername(c)
	require.NoError(t, err)
	require.Equal(t, addr, peer)
}

// A SYN that finds the queue full is not answered: connect is under way.
func TestTCPConnecting(t *testing.T) {
	p := tcpProcess(t)
	l, addr := listening(t, p, 0)
	require.NoError(t, p.Connect(tcp4(t, p), addr))
	becomes(t, p, l, pollIn)
	c := tcp4(t, p)
	require.NoError(t, p.SetNonblock(c, true))
	require.Equal(t, unix.EINPROGRESS, p.Connect(c, addr))
	require.Equal(t, unix.EALREADY, p.Connect(c, addr))
	becomes(t, p, c, 0)
	_, err := p.Read(c, make([]byte, 1))
	require.Equal(t, unix.EAGAIN, err)
	_, err = p.Write(c, make([]byte, 1))
	require.Equal(t, unix.EAGAIN, err)
	require.Equal(t, unix.EINVAL, p.Listen(c, 1))
	_, err = p.Getpeername(c)
	require.Equal(t, unix.ENOTCONN, err)
	require.NoError(t, p.Shutdown(c, unix.SHUT_RD))
	becomes(t, p, c, pollOut|waiter.EventHUp|waiter.EventErr)
	require.Equal(t, unix.ECONNRESET, unix.Errno(intOf(t, p, c, unix.SOL_SOCKET, unix.SO_ERROR)))

	// A blocking connect waits until there is room.
	require.NoError(t, p.SetNonblock(c, false))
	done := make(chan error)
	go func() { done <- p.Connect(c, addr) }()
	s, _, err := p.Accept4(l, 0)
	require.NoError(t, err)
	require.NoError(t, p.Close(s))
	require.NoError(t, <-done)
}

// TCP_SYNCNT and TCP_USER_TIMEOUT bound connect: n repetitions, the first after a
// second and each after twice as long.
func TestTCPConnectTimeout(t *testing.T) {
	for _, tc := range []struct {
		synCount, userTimeout int
		takes                 time.Duration
	}{
		{1, 0, 3 * time.Second},
		{3, 0, 15 * time.Second},
		{0, 2500, 2500 * time.Millisecond},
		{3, 2500, 2500 * time.Millisecond},
		{0, 0, 127 * time.Second},
	} {
		t.Run(tc.takes.String(), func(t *testing.T) {
			clock := stack.NewVirtualClock()
			link, _ := tun.Pipe(tun.PipeConfig{Manual: true, QueueLen: 16}) // nobody is at the other end
			s, err := stack.New(stack.Config{Link: link, Clock: clock, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
			require.NoError(t, err)
			defer s.Close()
			p := NewNamespace(s).Process(8)
			defer p.CloseAll()
			c := tcp4(t, p)
			if tc.synCount != 0 {
				require.NoError(t, p.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_SYNCNT, tc.synCount))
			}
			require.NoError(t, p.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, tc.userTimeout))
			require.NoError(t, p.SetNonblock(c, true))
			require.Equal(t, unix.EINPROGRESS, p.Connect(c, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 9}, Port: 80}))
			clock.Advance(tc.takes - time.Millisecond)
			require.Zero(t, intOf(t, p, c, unix.SOL_SOCKET, unix.SO_ERROR))
			clock.Advance(2 * time.Millisecond)
			becomes(t, p, c, gone|waiter.EventErr)
			require.Equal(t, unix.ETIMEDOUT, unix.Errno(intOf(t, p, c, unix.SOL_SOCKET, unix.SO_ERROR)))
		})
	}
}

func TestTCPListener(t *testing.T) {
	p := tcpProcess(t)
	l, addr := listening(t, p, 2)
	for name, err := range map[string]error{
		"connect": p.Connect(l, addr),
		"bind":    p.Bind(l, at4(0)),
		"peer":    func() error { _, err := p.Getpeername(l); return err }(),
		"read":    func() error { _, err := p.Read(l, make([]byte, 1)); return err }(),
		"write":   func() error { _, err := p.Write(l, make([]byte, 1)); return err }(),
		"ioctl":   func() error { _, err := p.Ioctl(l, unix.TIOCINQ); return err }(),
	} {
		want := map[string]error{"connect": unix.EISCONN, "bind": unix.EINVAL, "peer": unix.ENOTCONN,
			"read": unix.ENOTCONN, "write": unix.EPIPE, "ioctl": unix.EINVAL}[name]
		require.Equal(t, want, err, name)
	}
	info := func() (i unix.TCPInfo) {
		b := make([]byte, unsafe.Sizeof(i))
		n, err := p.Getsockopt(l, unix.IPPROTO_TCP, unix.TCP_INFO, b)
		require.NoError(t, err)
		require.NoError(t, structValue(&i, b[:n]))
		return i
	}
	for queued := range uint32(4) {
		i := info()
		require.EqualValues(t, unix.BPF_TCP_LISTEN, i.State)
		require.Equal(t, queued, i.Unacked)
		require.EqualValues(t, 2, i.Sacked)
		if queued < 3 {
			require.NoError(t, p.Connect(tcp4(t, p), addr))
			require.Eventually(t, func() bool { return info().Unacked == queued+1 }, 10*time.Second, time.Millisecond)
		}
	}
	require.Equal(t, 2, intOf(t, p, l, SOL_LISTENQ, LISTENQ_LIMIT))
	require.NoError(t, p.Listen(l, 7))
	require.Equal(t, 7, intOf(t, p, l, SOL_LISTENQ, LISTENQ_LIMIT))
	require.Equal(t, 1, intOf(t, p, l, unix.SOL_SOCKET, unix.SO_ACCEPTCONN))

	// Shut down it keeps nothing but, if the user chose it, its port.
	require.NoError(t, p.Shutdown(l, unix.SHUT_WR))
	becomes(t, p, l, pollIn)
	require.NoError(t, p.Shutdown(l, unix.SHUT_RD))
	becomes(t, p, l, pollOut|waiter.EventHUp)
	_, _, err := p.Accept4(l, 0)
	require.Equal(t, unix.EINVAL, err)
	require.NoError(t, p.Listen(l, 1))
	again, err := p.Getsockname(l)
	require.NoError(t, err)
	require.NotEqual(t, addr, again)

	chosen := tcp4(t, p)
	require.NoError(t, p.Bind(chosen, at4(80)))
	require.NoError(t, p.Listen(chosen, 1))
	require.NoError(t, p.Shutdown(chosen, unix.SHUT_RDWR))
	require.Equal(t, unix.ECONNREFUSED, p.Connect(tcp4(t, p), at4(80)))
	require.NoError(t, p.Listen(chosen, 1))
	require.NoError(t, p.Connect(tcp4(t, p), at4(80)))

	// One that was never bound gets a port.
	unbound := tcp4(t, p)
	require.NoError(t, p.Listen(unbound, 1))
	name, err := p.Getsockname(unbound)
	require.NoError(t, err)
	require.NotZero(t, name.(*unix.SockaddrInet4).Port)
}

func TestTCPBind(t *testing.T) {
	p := tcpProcess(t)
	a, b := tcp4(t, p), tcp4(t, p)
	require.Equal(t, unix.EADDRNOTAVAIL, p.Bind(a, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 9}}))
	require.Equal(t, unix.EAFNOSUPPORT, p.Bind(a, &unix.SockaddrInet6{}))
	require.Equal(t, unix.EINVAL, p.Bind(a, nil))
	require.NoError(t, p.Bind(a, at4(80)))
	require.Equal(t, unix.EINVAL, p.Bind(a, at4(81)))
	require.Equal(t, unix.EADDRINUSE, p.Bind(b, at4(80)))

	// The option counts also if it is set after bind.
	require.NoError(t, p.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	require.NoError(t, p.SetsockoptInt(b, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	require.NoError(t, p.Bind(b, &unix.SockaddrInet4{Port: 80}))
	require.NoError(t, p.Listen(a, 1))
	require.Equal(t, unix.EADDRINUSE, p.Listen(b, 1))

	six, err := p.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.Equal(t, unix.EADDRINUSE, p.Bind(six, &unix.SockaddrInet6{Port: 80}))
	require.NoError(t, p.SetsockoptInt(six, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	require.NoError(t, p.Bind(six, &unix.SockaddrInet6{Port: 80}))
	require.Equal(t, unix.EINVAL, p.SetsockoptInt(six, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0))
}

// A socket of AF_INET6 has IPv4 peers too, under mapped addresses.
func TestTCPDualStack(t *testing.T) {
	p := tcpProcess(t)
	l, err := p.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.Bind(l, &unix.SockaddrInet6{Port: 80}))
	require.NoError(t, p.Listen(l, 5))
	mapped := netip.MustParseAddr("::ffff:192.0.2.1").As16()
	c := tcp4(t, p)
	require.NoError(t, p.Connect(c, at4(80)))
	s, from, err := p.Accept4(l, 0)
	require.NoError(t, err)
	name, err := p.Getsockname(c)
	require.NoError(t, err)
	require.Equal(t, &unix.SockaddrInet6{Addr: mapped, Port: name.(*unix.SockaddrInet4).Port}, from)
	require.Equal(t, unix.AF_INET6, intOf(t, p, s, unix.SOL_SOCKET, unix.SO_DOMAIN))

	six, err := p.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.Connect(six, &unix.SockaddrInet6{Addr: mapped, Port: 80}))
	require.NoError(t, p.SetsockoptInt(six, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	only, err := p.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.SetsockoptInt(only, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	require.Equal(t, unix.ENETUNREACH, p.Connect(only, &unix.SockaddrInet6{Addr: mapped, Port: 80}))
}

// Several processes may listen on one port; a client stays with one of them.
func TestTCPReusePort(t *testing.T) {
	p := tcpProcess(t)
	var fds []int
	for range 3 {
		l := tcp4(t, p)
		require.NoError(t, p.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		require.NoError(t, p.Bind(l, at4(80)))
		require.NoError(t, p.Listen(l, 100))
		require.NoError(t, p.SetNonblock(l, true))
		fds = append(fds, l)
	}
	require.Equal(t, unix.EADDRINUSE, p.Bind(tcp4(t, p), at4(80)))
	accepted := make([]int, len(fds))
	for range 60 {
		require.NoError(t, p.Connect(tcp4(t, p), at4(80)))
	}
	require.Eventually(t, func() bool {
		for i, l := range fds {
			for {
				if _, _, err := p.Accept4(l, 0); err != nil {
					break
				}
				accepted[i]++
			}
		}
		return accepted[0]+accepted[1]+accepted[2] == 60
	}, 10*time.Second, time.Millisecond)
	for _, n := range accepted {
		require.NotZero(t, n)
	}
}

// SO_LINGER makes close wait until everything is acknowledged, and no longer than it
// says: here the peer falls silent.
func TestTCPLinger(t *testing.T) {
	for name, tc := range map[string]struct {
		linger unix.Linger
		silent bool
		took   time.Duration
	}{
		"silent": {unix.Linger{Onoff: 1, Linger: 2}, true, 2 * time.Second},
		"off":    {unix.Linger{Linger: 2}, true, 0},
		"reset":  {unix.Linger{Onoff: 1}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tun.Pipe(tun.PipeConfig{})
			network := func(link gstack.LinkEndpoint, address string) *Process {
				s, err := stack.New(stack.Config{Link: link, Addresses: []netip.Prefix{netip.MustParsePrefix(address)}})
				require.NoError(t, err)
				t.Cleanup(func() { s.Close() })
				return NewNamespace(s).Process(8)
			}
			client, server := network(a, "192.0.2.2/24"), network(b, "192.0.2.1/24")
			l := tcp4(t, server)
			require.NoError(t, server.Bind(l, at4(80)))
			require.NoError(t, server.Listen(l, 5))
			c := tcp4(t, client)
			require.NoError(t, client.Connect(c, at4(80)))
			require.NoError(t, client.Setsockopt(c, unix.SOL_SOCKET, unix.SO_LINGER, structOption(&tc.linger)))
			if tc.silent {
				b.Attach(nil)
			}
			clock := &stepClock{Clock: client.ns.clock}
			client.ns.clock = clock
			require.NoError(t, client.Close(c))
			require.Equal(t, tc.took, clock.slept)
		})
	}
}

// A stepClock fires at once, and adds up what it was asked to wait for, while a
// connection on real time acts.
type stepClock struct {
	tcpip.Clock
	slept time.Duration
}

func (c *stepClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	c.slept += d
	return c.Clock.AfterFunc(0, f)
}

func TestTCPOptions(t *testing.T) {
	const sol, tcp, ip, ip6 = unix.SOL_SOCKET, unix.IPPROTO_TCP, unix.IPPROTO_IP, unix.IPPROTO_IPV6
	for _, tc := range []struct {
		level, name, set int
		err              error
		get              int
	}{
		{sol, unix.SO_RCVBUF, 10000, nil, 20000},
		{sol, unix.SO_RCVBUF, 0, nil, 2304},
		{sol, unix.SO_RCVBUF, -1, nil, 8 << 20},
		{sol, unix.SO_SNDBUF, 10000, nil, 20000},
		{sol, unix.SO_SNDBUF, 1, nil, 4608},
		{sol, unix.SO_RCVLOWAT, 0, nil, 1},
		{sol, unix.SO_RCVLOWAT, 9, nil, 9},
		{sol, unix.SO_SNDLOWAT, 9, unix.ENOPROTOOPT, 1},
		{sol, unix.SO_REUSEADDR, 5, nil, 1},
		{sol, unix.SO_KEEPALIVE, -3, nil, 1},
		{sol, unix.SO_PRIORITY, 6, nil, 6},
		{sol, unix.SO_TYPE, 1, unix.ENOPROTOOPT, unix.SOCK_STREAM},
		{sol, unix.SO_ERROR, 1, unix.ENOPROTOOPT, 0},
		{sol, unix.SO_ACCEPTCONN, 1, unix.ENOPROTOOPT, 0},
		{tcp, unix.TCP_NODELAY, 2, nil, 1},
		{tcp, unix.TCP_CORK, 2, nil, 1},
		{tcp, unix.TCP_MAXSEG, 87, unix.EINVAL, 536},
		{tcp, unix.TCP_MAXSEG, 88, nil, 88},
		{tcp, unix.TCP_MAXSEG, 32767, nil, 32767},
		{tcp, unix.TCP_MAXSEG, 32768, unix.EINVAL, 536},
		{tcp, unix.TCP_KEEPIDLE, 0, unix.EINVAL, 7200},
		{tcp, unix.TCP_KEEPIDLE, 32767, nil, 32767},
		{tcp, unix.TCP_KEEPIDLE, 32768, unix.EINVAL, 7200},
		{tcp, unix.TCP_KEEPINTVL, 1, nil, 1},
		{tcp, unix.TCP_KEEPINTVL, 32768, unix.EINVAL, 75},
		{tcp, unix.TCP_KEEPCNT, 127, nil, 127},
		{tcp, unix.TCP_KEEPCNT, 128, unix.EINVAL, 9},
		{tcp, unix.TCP_SYNCNT, 0, unix.EINVAL, 6},
		{tcp, unix.TCP_SYNCNT, 127, nil, 127},
		{tcp, unix.TCP_SYNCNT, 128, unix.EINVAL, 6},
		{tcp, unix.TCP_LINGER2, -5, nil, -1},
		{tcp, unix.TCP_LINGER2, 0, nil, 60},
		{tcp, unix.TCP_LINGER2, 500, nil, 120},
		{tcp, unix.TCP_DEFER_ACCEPT, 1, nil, 1},
		{tcp, unix.TCP_DEFER_ACCEPT, 2, nil, 3},
		{tcp, unix.TCP_DEFER_ACCEPT, 5, nil, 7},
		{tcp, unix.TCP_DEFER_ACCEPT, 100, nil, 127},
		{tcp, unix.TCP_DEFER_ACCEPT, 200, nil, 247},
		{tcp, unix.TCP_DEFER_ACCEPT, -1, nil, 0},
		{tcp, unix.TCP_USER_TIMEOUT, -1, unix.EINVAL, 0},
		{tcp, unix.TCP_USER_TIMEOUT, 1500, nil, 1500},
		{tcp, unix.TCP_QUICKACK, 2, nil, 1},
		{tcp, unix.TCP_QUICKACK, 3, nil, 1},
		{ip, unix.IP_TTL, 0, unix.EINVAL, 64},
		{ip, unix.IP_TTL, 255, nil, 255},
		{ip, unix.IP_TTL, 256, unix.EINVAL, 64},
		{ip, unix.IP_TTL, -1, nil, 64},
		{ip, unix.IP_TOS, 0xff, nil, 0xfc},
		{ip, unix.IP_MTU_DISCOVER, 6, unix.EINVAL, unix.IP_PMTUDISC_WANT},
		{ip6, unix.IPV6_UNICAST_HOPS, 0, nil, 0},
		{ip6, unix.IPV6_UNICAST_HOPS, -2, unix.EINVAL, 64},
		{ip6, unix.IPV6_TCLASS, 0xff, nil, 0xfc},
		{ip6, unix.IPV6_TCLASS, 256, unix.EINVAL, 0},
		{ip6, unix.IPV6_V6ONLY, 9, nil, 1},
	} {
		t.Run(fmt.Sprintf("%d %d %d", tc.level, tc.name, tc.set), func(t *testing.T) {
			p := tcpProcess(t)
			fd, err := p.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
			require.NoError(t, err)
			err = p.SetsockoptInt(fd, tc.level, tc.name, tc.set)
			if tc.err != nil {
				require.Equal(t, tc.err, err)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, tc.get, intOf(t, p, fd, tc.level, tc.name))
		})
	}
}

func TestTCPCongestion(t *testing.T) {
	p := tcpProcess(t)
	fd := tcp4(t, p)
	name := func() string {
		b := make([]byte, 16)
		n, err := p.Getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, b)
		require.NoError(t, err)
		require.Equal(t, 16, n)
		return string(bytes.TrimRight(b, "\x00"))
	}
	require.Equal(t, "cubic", name())
	require.NoError(t, p.Setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, []byte("reno")))
	require.Equal(t, "reno", name())
	require.Equal(t, unix.ENOENT, p.Setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, []byte("bbr")))
	require.Equal(t, unix.EINVAL, p.Setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, nil))
	require.Equal(t, "reno", name())
}

// A socket that is accepted has the options of the listener, set before listen or
// after.
func TestTCPInheritance(t *testing.T) {
	p := tcpProcess(t)
	l := tcp4(t, p)
	require.NoError(t, p.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	require.NoError(t, p.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30))
	require.NoError(t, p.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 500))
	require.NoError(t, p.Bind(l, at4(80)))
	require.NoError(t, p.Listen(l, 5))
	require.NoError(t, p.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	require.NoError(t, p.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_RCVBUF, 5000))
	c := tcp4(t, p)
	require.NoError(t, p.Connect(c, at4(80)))
	s, _, err := p.Accept4(l, 0)
	require.NoError(t, err)
	require.Equal(t, 1, intOf(t, p, s, unix.SOL_SOCKET, unix.SO_KEEPALIVE))
	require.Equal(t, 30, intOf(t, p, s, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
	require.Equal(t, 1, intOf(t, p, s, unix.IPPROTO_TCP, unix.TCP_NODELAY))
	require.Equal(t, 10000, intOf(t, p, s, unix.SOL_SOCKET, unix.SO_RCVBUF))
	require.Equal(t, 500-40, intOf(t, p, c, unix.IPPROTO_TCP, unix.TCP_MAXSEG), "what the SYN-ACK offered, but for room for options")
}

func TestTCPQueueOptions(t *testing.T) {
	p := tcpProcess(t)
	l := tcp4(t, p)
	text := func(name int) string {
		b := make([]byte, 1<<12)
		n, err := p.Getsockopt(l, SOL_LISTENQ, name, b)
		require.NoError(t, err)
		return string(b[:n])
	}
	require.Equal(t, "drop", text(LISTENQ_OVERFLOW))
	require.Equal(t, "linux-6", text(LISTENQ_PROFILE))
	_, err := p.GetsockoptInt(l, SOL_LISTENQ, LISTENQ_LIMIT)
	require.Equal(t, unix.EINVAL, err)
	require.Equal(t, unix.EINVAL, p.Setsockopt(l, SOL_LISTENQ, LISTENQ_OVERFLOW, []byte("explode")))
	require.Equal(t, unix.EINVAL, p.Setsockopt(l, SOL_LISTENQ, LISTENQ_PROFILE, []byte("vms")))
	require.NoError(t, p.Setsockopt(l, SOL_LISTENQ, LISTENQ_OVERFLOW, []byte("reset")))
	require.NoError(t, p.Bind(l, at4(80)))
	require.NoError(t, p.Listen(l, 0))
	require.NoError(t, p.Connect(tcp4(t, p), at4(80)))
	becomes(t, p, l, pollIn)
	require.Equal(t, unix.ECONNREFUSED, p.Connect(tcp4(t, p), at4(80)))
	require.Contains(t, text(LISTENQ_COUNTERS), "ListenOverflows=1\n")
	require.NotEmpty(t, strings.TrimSpace(text(LISTENQ_WHY)))
	require.Equal(t, unix.EINVAL, p.Setsockopt(l, SOL_LISTENQ, LISTENQ_PROFILE, []byte("linux-6")))

	freebsd := tcp4(t, p)
	require.NoError(t, p.Setsockopt(freebsd, SOL_LISTENQ, LISTENQ_PROFILE, []byte("freebsd")))
	require.NoError(t, p.Listen(freebsd, 1000))
	require.Equal(t, 128, intOf(t, p, freebsd, SOL_LISTENQ, LISTENQ_LIMIT))
}

func TestTCPBindToDevice(t *testing.T) {
	p := tcpProcess(t)
	fd := tcp4(t, p)
	b := make([]byte, unix.IFNAMSIZ)
	n, err := p.Getsockopt(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, b)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, unix.ENODEV, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, []byte("eth9")))
	require.NoError(t, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, nil))
}

// A megabyte written allocates nothing in this package: neither in the calls nor in
// what hands the data to netstack and takes it from there.
func TestWriteDoesNotAllocate(t *testing.T) {
	p := newFakeProcess(8)
	fd := open(t, p, &sinkSock{})
	block, small := make([]byte, 1<<20), make([]byte, 1<<16)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n, err := p.Write(fd, block)
		if n != len(block) || err != nil {
			t.Errorf("wrote %d: %v", n, err)
		}
	}))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if n, err := p.Read(fd, block); n != len(block) || err != nil {
			t.Errorf("read %d: %v", n, err)
		}
	}))
	require.Equal(t, small, block[:len(small)])
}

// A sinkSock takes and gives all that there is room for, through the cursors that
// netstack gets.
type sinkSock struct{ fakeSock }

func (*sinkSock) send(m *message, _ int) (int, error) {
	c, b := m.reader(), [512]byte{}
	for c.Len() > 0 {
		c.Read(b[:])
	}
	return m.len(), nil
}

func (*sinkSock) receive(m *message, _ int) (int, error) {
	c, b := m.writer(false), [512]byte{}
	n := 0
	for {
		done, err := c.Write(b[:])
		n += done
		if err != nil || n == m.len() {
			return n, nil
		}
	}
}
