//go:build linux

package socket

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// Addresses of the two namespaces of twoProcesses.
var (
	addressesA = prefixes("192.0.2.1/24", "192.0.2.11/24", "2001:db8::1/64", "127.0.0.1/8", "::1/128")
	addressesB = prefixes("192.0.2.2/24", "2001:db8::2/64", "127.0.0.1/8", "::1/128")
)

func prefixes(s ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range s {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// twoProcesses returns a process in each of two namespaces, joined in memory.
func twoProcesses(t testing.TB) (a, b *Process) {
	t.Helper()
	la, lb := tun.Pipe(tun.PipeConfig{})
	make := func(cfg stack.Config) *Process {
		s, err := stack.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		p := NewNamespace(s).Process(1024)
		t.Cleanup(p.CloseAll)
		return p
	}
	return make(stack.Config{Link: la, Addresses: addressesA}), make(stack.Config{Link: lb, Addresses: addressesB})
}

func inet(s string) unix.Sockaddr {
	a := netip.MustParseAddrPort(s)
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// datagramSocket makes a UDP socket that waits two seconds at most; it is bound
// unless the address is empty.
func (p *Process) datagramSocket(t testing.TB, domain int, address string) int {
	t.Helper()
	fd, err := p.Socket(domain, unix.SOCK_DGRAM, 0)
	require.NoError(t, err)
	tv := unix.Timeval{Sec: 2}
	require.NoError(t, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, structOption(&tv)))
	if address != "" {
		require.NoError(t, p.Bind(fd, inet(address)))
	}
	return fd
}

func (p *Process) nameOf(t testing.TB, fd int) string {
	t.Helper()
	a, err := p.Getsockname(fd)
	require.NoError(t, err)
	return textOf(a)
}

func textOf(a unix.Sockaddr) string {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	}
	return "nil"
}

func TestDatagrams(t *testing.T) {
	for _, tc := range []struct {
		name             string
		domain           int
		bind, to, source string // source is as the receiver sees it
		from             int
	}{
		{"IPv4", unix.AF_INET, "192.0.2.2:7", "192.0.2.2:7", "192.0.2.1:5", unix.AF_INET},
		{"any", unix.AF_INET, "0.0.0.0:7", "192.0.2.2:7", "192.0.2.1:5", unix.AF_INET},
		{"IPv6", unix.AF_INET6, "[2001:db8::2]:7", "[2001:db8::2]:7", "[2001:db8::1]:5", unix.AF_INET6},
		{"dual stack, IPv4 sender", unix.AF_INET6, "[::]:7", "192.0.2.2:7", "[::ffff:192.0.2.1]:5", unix.AF_INET},
		{"dual stack, mapped sender", unix.AF_INET6, "[::]:7", "[::ffff:192.0.2.2]:7", "[::ffff:192.0.2.1]:5", unix.AF_INET6},
		{"mapped", unix.AF_INET6, "[::ffff:192.0.2.2]:7", "192.0.2.2:7", "[::ffff:192.0.2.1]:5", unix.AF_INET},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := twoProcesses(t)
			receiver := b.datagramSocket(t, tc.domain, tc.bind)
			any := "0.0.0.0:5"
			if tc.from == unix.AF_INET6 {
				any = "[::]:5"
			}
			sender := a.datagramSocket(t, tc.from, any)
			for _, size := range []int{0, 1, 1472, 1473, 65507} { // the last two in fragments
				data := bytes.Repeat([]byte{byte(size)}, size)
				n, err := a.Sendto(sender, data, 0, inet(tc.to))
				require.NoError(t, err)
				require.Equal(t, size, n)
				got := make([]byte, 65536)
				n, from, err := b.Recvfrom(receiver, got, 0)
				require.NoError(t, err, "%d bytes", size)
				require.Equal(t, data, got[:n])
				require.Equal(t, tc.source, textOf(from))
			}
		})
	}
}

func TestDatagramsToOneself(t *testing.T) {
	a, _ := twoProcesses(t)
	for _, tc := range []struct {
		domain       int
		bind, source string
	}{
		{unix.AF_INET, "127.0.0.1:7", "127.0.0.1:5"},
		{unix.AF_INET, "192.0.2.11:7", "192.0.2.11:5"}, // an own address is its own source
		{unix.AF_INET6, "[::1]:7", "[::1]:5"},
		{unix.AF_INET6, "[2001:db8::1]:7", "[2001:db8::1]:5"},
	} {
		receiver := a.datagramSocket(t, tc.domain, tc.bind)
		any := map[int]string{unix.AF_INET: "0.0.0.0:5", unix.AF_INET6: "[::]:5"}[tc.domain]
		sender := a.datagramSocket(t, tc.domain, any)
		data := bytes.Repeat([]byte("x"), 65507)
		_, err := a.Sendto(sender, data, 0, inet(tc.bind))
		require.NoError(t, err)
		got := make([]byte, 65536)
		n, from, err := a.Recvfrom(receiver, got, 0)
		require.NoError(t, err)
		require.Equal(t, data, got[:n])
		require.Equal(t, tc.source, textOf(from))
		require.NoError(t, a.Close(receiver))
		require.NoError(t, a.Close(sender))
	}
}

func TestDatagramIsTruncatedAndPeeked(t *testing.T) {
	a, _ := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "127.0.0.1:7")
	require.NoError(t, a.Connect(s, inet("127.0.0.1:7")))
	for _, data := range []string{"hello", "next"} {
		_, err := a.Write(s, []byte(data))
		require.NoError(t, err)
	}
	var b [3]byte
	require.Eventually(t, func() bool { n, _ := a.Ioctl(s, unix.TIOCINQ); return n == 5 }, 2*time.Second, time.Millisecond)

	n, err := a.Recv(s, b[:], unix.MSG_PEEK|unix.MSG_TRUNC)
	require.NoError(t, err)
	require.Equal(t, 5, n)
	one, two := make([]byte, 2), make([]byte, 2)
	n, oobn, flags, from, err := a.Recvmsg(s, [][]byte{one, nil, two}, nil, 0)
	require.NoError(t, err)
	require.Equal(t, []any{4, 0, unix.MSG_TRUNC, "127.0.0.1:7"}, []any{n, oobn, flags, textOf(from)})
	require.Equal(t, "hell", string(one)+string(two))
	n, err = a.Read(s, b[:])
	require.NoError(t, err)
	require.Equal(t, "nex", string(b[:n]), "the rest of the first one is gone")
	_, err = a.Recv(s, b[:], unix.MSG_DONTWAIT)
	require.Equal(t, unix.EAGAIN, err)
}

// What TestBinding and TestSending want was seen on Linux 6.18.
func TestBinding(t *testing.T) {
	a, _ := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "")
	require.Equal(t, "0.0.0.0:0", a.nameOf(t, s))
	require.Equal(t, unix.EADDRNOTAVAIL, a.Bind(s, inet("198.51.100.1:0")))
	require.Equal(t, unix.EAFNOSUPPORT, a.Bind(s, inet("[::1]:0")))
	require.NoError(t, a.Bind(s, inet("127.0.0.1:9")))
	require.Equal(t, unix.EADDRNOTAVAIL, a.Bind(s, inet("198.51.100.1:0")), "before the question whether it is bound")
	require.Equal(t, unix.EINVAL, a.Bind(s, inet("127.0.0.1:0")))

	again := a.datagramSocket(t, unix.AF_INET, "")
	require.Equal(t, unix.EADDRINUSE, a.Bind(again, inet("0.0.0.0:9")))
	require.NoError(t, a.Bind(again, inet("192.0.2.1:9")))
	six := a.datagramSocket(t, unix.AF_INET6, "")
	require.Equal(t, unix.EINVAL, a.Bind(six, inet("127.0.0.1:9")))
	require.Equal(t, unix.EADDRINUSE, a.Bind(six, inet("[::]:9")), "dual stack")
	require.NoError(t, a.SetsockoptInt(six, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	require.Equal(t, unix.EINVAL, a.Bind(six, inet("[::ffff:127.0.0.1]:0")))
	require.NoError(t, a.Bind(six, inet("[::]:9")))
	require.Equal(t, unix.EINVAL, a.SetsockoptInt(six, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0))

	for _, multiple := range []string{"192.0.2.255:1", "255.255.255.255:2", "224.0.0.1:3"} {
		require.NoError(t, a.Bind(a.datagramSocket(t, unix.AF_INET, ""), inet(multiple)))
	}
}

func TestBindingWithReuse(t *testing.T) {
	a, _ := twoProcesses(t)
	for _, tc := range []struct {
		first, second []int
		err           error
	}{
		{nil, nil, unix.EADDRINUSE},
		{[]int{unix.SO_REUSEADDR}, nil, unix.EADDRINUSE},
		{[]int{unix.SO_REUSEADDR}, []int{unix.SO_REUSEADDR}, nil},
		{[]int{unix.SO_REUSEPORT}, []int{unix.SO_REUSEADDR}, unix.EADDRINUSE},
		{[]int{unix.SO_REUSEPORT}, []int{unix.SO_REUSEPORT}, nil},
		{[]int{unix.SO_REUSEPORT, unix.SO_REUSEADDR}, []int{unix.SO_REUSEPORT}, nil},
	} {
		var fds [2]int
		for i, options := range [][]int{tc.first, tc.second} {
			fds[i] = a.datagramSocket(t, unix.AF_INET, "")
			for _, o := range options {
				require.NoError(t, a.SetsockoptInt(fds[i], unix.SOL_SOCKET, o, 1))
			}
		}
		require.NoError(t, a.Bind(fds[0], inet("0.0.0.0:9")))
		err := a.Bind(fds[1], inet("127.0.0.1:9"))
		if tc.err == nil {
			require.NoError(t, err, "%v", tc)
		} else {
			require.Equal(t, tc.err, err, "%v", tc)
		}
		require.NoError(t, a.Close(fds[0]))
		require.NoError(t, a.Close(fds[1]))
	}
}

func TestDisconnectKeepsWhatTheUserChose(t *testing.T) {
	a, _ := twoProcesses(t)
	for _, tc := range []struct{ bind, after string }{
		{"", "0.0.0.0:0"},
		{"0.0.0.0:9", "0.0.0.0:9"},
		{"127.0.0.1:9", "127.0.0.1:9"},
		{"127.0.0.1:0", "127.0.0.1:0"},
	} {
		s := a.datagramSocket(t, unix.AF_INET, tc.bind)
		require.NoError(t, a.Connect(s, inet("127.0.0.1:7")))
		name, err := a.Getsockname(s)
		require.NoError(t, err)
		require.Equal(t, [4]byte{127, 0, 0, 1}, name.(*unix.SockaddrInet4).Addr)
		require.NotZero(t, name.(*unix.SockaddrInet4).Port)
		require.NoError(t, a.Connect(s, SockaddrUnspec{}))
		require.Equal(t, tc.after, a.nameOf(t, s), "bound to %q", tc.bind)
		_, err = a.Getpeername(s)
		require.Equal(t, unix.ENOTCONN, err)
		_, err = a.Write(s, nil)
		require.Equal(t, unix.EDESTADDRREQ, err)
		require.NoError(t, a.Close(s))
	}
}

func TestSending(t *testing.T) {
	a, _ := twoProcesses(t)
	bound := func(address string) func() int {
		return func() int {
			domain := unix.AF_INET
			if inet, ok := inet(address).(*unix.SockaddrInet6); ok && inet != nil {
				domain = unix.AF_INET6
			}
			return a.datagramSocket(t, domain, address)
		}
	}
	four, six := bound("0.0.0.0:0"), bound("[::]:0")
	only := func() int {
		s := a.datagramSocket(t, unix.AF_INET6, "")
		require.NoError(t, a.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
		return s
	}
	for _, tc := range []struct {
		name  string
		make  func() int
		to    unix.Sockaddr
		size  int
		flags int
		err   error
	}{
		{"nowhere", four, nil, 1, 0, unix.EDESTADDRREQ},
		{"too long comes first", four, nil, 65536, 0, unix.EMSGSIZE},
		{"port 0", four, inet("127.0.0.1:0"), 1, 0, unix.EINVAL},
		{"out of band", four, inet("127.0.0.1:9"), 1, unix.MSG_OOB, unix.EOPNOTSUPP},
		{"longest", four, inet("127.0.0.1:9"), 65507, 0, nil},
		{"longer", four, inet("127.0.0.1:9"), 65508, 0, unix.EMSGSIZE},
		{"longest over IPv6", six, inet("[::1]:9"), 65527, 0, nil},
		{"longer over IPv6", six, inet("[::1]:9"), 65528, 0, unix.EMSGSIZE},
		{"broadcast", four, inet("255.255.255.255:9"), 1, 0, unix.EACCES},
		{"broadcast of the network", four, inet("192.0.2.255:9"), 1, 0, unix.EACCES},
		{"IPv6 from AF_INET", four, inet("[::1]:9"), 1, 0, unix.EAFNOSUPPORT},
		{"AF_UNIX from AF_INET6", six, &unix.SockaddrUnix{Name: "a name that is long enough"}, 1, 0, unix.EINVAL},
		{"IPv4 from AF_INET6", six, inet("127.0.0.1:9"), 1, 0, nil},
		{"IPv4 from V6ONLY", only, inet("127.0.0.1:9"), 1, 0, unix.ENETUNREACH},
		{"mapped from V6ONLY", only, inet("[::ffff:127.0.0.1]:9"), 1, 0, unix.ENETUNREACH},
		{"IPv6 from a mapped address", bound("[::ffff:127.0.0.1]:0"), inet("[::1]:9"), 1, 0, unix.EAFNOSUPPORT},
		{"any from a mapped address", bound("[::ffff:127.0.0.1]:0"), inet("[::]:9"), 1, 0, nil},
		{"mapped from an IPv6 address", bound("[::1]:0"), inet("[::ffff:127.0.0.1]:9"), 1, 0, unix.ENETUNREACH},
	} {
		s := tc.make()
		_, err := a.Sendto(s, make([]byte, tc.size), tc.flags, tc.to)
		if tc.err == nil {
			require.NoError(t, err, tc.name)
		} else {
			require.Equal(t, tc.err, err, tc.name)
		}
		require.NoError(t, a.Close(s))
	}
}

func TestBroadcast(t *testing.T) {
	a, b := twoProcesses(t)
	receiver := b.datagramSocket(t, unix.AF_INET, "0.0.0.0:9")
	s := a.datagramSocket(t, unix.AF_INET, "192.0.2.1:5")
	require.Equal(t, unix.EACCES, a.Connect(s, inet("192.0.2.255:9")))
	require.NoError(t, a.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
	require.NoError(t, a.Connect(s, inet("192.0.2.255:9")))
	_, err := a.Write(s, []byte("all"))
	require.NoError(t, err)
	var buf [10]byte
	n, from, err := b.Recvfrom(receiver, buf[:], 0)
	require.NoError(t, err)
	require.Equal(t, "all", string(buf[:n]))
	require.Equal(t, "192.0.2.1:5", textOf(from))
}

func TestMulticastGroup(t *testing.T) {
	a, b := twoProcesses(t)
	receiver := b.datagramSocket(t, unix.AF_INET, "0.0.0.0:9")
	group := unix.IPMreq{Multiaddr: [4]byte{233, 252, 0, 1}}
	require.Equal(t, unix.EADDRNOTAVAIL, b.Setsockopt(receiver, unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, structOption(&group)))
	require.NoError(t, b.Setsockopt(receiver, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, structOption(&group)))
	require.Equal(t, unix.EADDRINUSE, b.Setsockopt(receiver, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, structOption(&group)))
	s := a.datagramSocket(t, unix.AF_INET, "192.0.2.1:5")
	_, err := a.Sendto(s, []byte("group"), 0, inet("233.252.0.1:9"))
	require.NoError(t, err)
	var buf [10]byte
	n, err := b.Read(receiver, buf[:])
	require.NoError(t, err)
	require.Equal(t, "group", string(buf[:n]))
}

// refused waits until a port unreachable has come back.
func (p *Process) refused(t testing.TB, fd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd)}}
	require.Eventually(t, func() bool {
		f, err := p.file(fd)
		require.NoError(t, err)
		fds[0].Revents = int16(f.Readiness(0))
		return fds[0].Revents&unix.POLLERR != 0
	}, 2*time.Second, time.Millisecond)
}

func TestPortUnreachable(t *testing.T) {
	a, _ := twoProcesses(t)
	for _, tc := range []struct {
		domain int
		to     string
	}{
		{unix.AF_INET, "192.0.2.2:99"},
		{unix.AF_INET, "127.0.0.1:99"},
		{unix.AF_INET6, "[2001:db8::2]:99"},
		{unix.AF_INET6, "[::1]:99"},
		{unix.AF_INET6, "[::ffff:192.0.2.2]:99"},
	} {
		s := a.datagramSocket(t, tc.domain, "")
		require.NoError(t, a.Connect(s, inet(tc.to)))
		send := func() error { _, err := a.Write(s, []byte("x")); return err }
		require.NoError(t, send(), tc.to)
		a.refused(t, s)
		v, err := a.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_ERROR)
		require.NoError(t, err)
		require.Equal(t, int(unix.ECONNREFUSED), v)
		v, err = a.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_ERROR)
		require.NoError(t, err)
		require.Zero(t, v, "SO_ERROR clears it")

		require.NoError(t, send())
		a.refused(t, s)
		require.Equal(t, unix.ECONNREFUSED, send(), "reported once")
		require.NoError(t, send())
		a.refused(t, s)
		_, err = a.Sendto(s, make([]byte, 65536), 0, nil)
		require.Equal(t, unix.EMSGSIZE, err, "before the pending error")
		_, err = a.Recv(s, make([]byte, 1), unix.MSG_DONTWAIT)
		require.Equal(t, unix.ECONNREFUSED, err)
		_, err = a.Recv(s, make([]byte, 1), unix.MSG_DONTWAIT)
		require.Equal(t, unix.EAGAIN, err)
	}
}

func TestConnectedSocketHearsItsPeerOnly(t *testing.T) {
	a, b := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "0.0.0.0:7")
	require.NoError(t, a.Connect(s, inet("192.0.2.2:5")))
	stranger, peer := b.datagramSocket(t, unix.AF_INET, "192.0.2.2:6"), b.datagramSocket(t, unix.AF_INET, "192.0.2.2:5")
	for _, from := range []int{stranger, peer} {
		_, err := b.Sendto(from, []byte{byte(from)}, 0, inet("192.0.2.1:7"))
		require.NoError(t, err)
	}
	var buf [1]byte
	_, err := a.Read(s, buf[:])
	require.NoError(t, err)
	require.Equal(t, byte(peer), buf[0])
}

func TestDatagramShutdown(t *testing.T) {
	a, _ := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "")
	require.Equal(t, unix.ENOTCONN, a.Shutdown(s, unix.SHUT_WR))
	_, err := a.Sendto(s, nil, 0, inet("127.0.0.1:9"))
	require.Equal(t, unix.EPIPE, err, "shut none the less")

	s = a.datagramSocket(t, unix.AF_INET, "127.0.0.1:9")
	require.NoError(t, a.Connect(s, inet("127.0.0.1:9")))
	require.NoError(t, a.Shutdown(s, unix.SHUT_RD))
	_, err = a.Recv(s, nil, unix.MSG_DONTWAIT)
	require.Equal(t, unix.EAGAIN, err)
	n, err := a.Recv(s, nil, 0)
	require.NoError(t, err, "a call that waits returns")
	require.Zero(t, n)
	_, err = a.Write(s, []byte("still"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { n, _ := a.Ioctl(s, unix.TIOCINQ); return n == 5 }, 2*time.Second, time.Millisecond)
}

func TestDatagramListen(t *testing.T) {
	a, _ := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "")
	require.Equal(t, unix.EOPNOTSUPP, a.Listen(s, 1))
	_, _, err := a.Accept4(s, 0)
	require.Equal(t, unix.EOPNOTSUPP, err)
}

func TestMore(t *testing.T) {
	a, _ := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "127.0.0.1:9")
	require.NoError(t, a.Connect(s, inet("127.0.0.1:9")))
	for _, part := range []struct {
		text  string
		flags int
	}{{"one, ", unix.MSG_MORE}, {"two, ", unix.MSG_MORE}, {"three", 0}} {
		n, err := a.Send(s, []byte(part.text), part.flags)
		require.NoError(t, err)
		require.Equal(t, len(part.text), n)
	}
	var buf [100]byte
	n, err := a.Read(s, buf[:])
	require.NoError(t, err)
	require.Equal(t, "one, two, three", string(buf[:n]))

	require.NoError(t, a.SetsockoptInt(s, unix.SOL_UDP, unix.UDP_CORK, 1))
	_, err = a.Write(s, []byte("corked"))
	require.NoError(t, err)
	require.NoError(t, a.SetsockoptInt(s, unix.SOL_UDP, unix.UDP_CORK, 0))
	n, err = a.Read(s, buf[:])
	require.NoError(t, err)
	require.Equal(t, "corked", string(buf[:n]))
}

func TestReceiveBufferOverflows(t *testing.T) {
	a, _ := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "127.0.0.1:9")
	require.NoError(t, a.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, 2500))
	v, err := a.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF)
	require.NoError(t, err)
	require.Equal(t, 5000, v, "doubled")
	for range 100 {
		_, err := a.Sendto(s, make([]byte, 232), 0, inet("127.0.0.1:9"))
		require.NoError(t, err)
	}
	f, err := a.file(s)
	require.NoError(t, err)
	q := &f.object.(*udpSocket).receiving
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.queue)-q.head+int(q.drops) == 100
	}, 2*time.Second, time.Millisecond)
	for range 6 { // 1000 bytes each, full above 5000
		_, err = a.Recv(s, nil, unix.MSG_DONTWAIT)
		require.NoError(t, err)
	}
	_, err = a.Recv(s, nil, unix.MSG_DONTWAIT)
	require.Equal(t, unix.EAGAIN, err)
}

func TestPathMTUDiscovery(t *testing.T) {
	a, _ := twoProcesses(t)
	s := a.datagramSocket(t, unix.AF_INET, "192.0.2.1:0")
	_, err := a.GetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU)
	require.Equal(t, unix.ENOTCONN, err)
	require.NoError(t, a.Connect(s, inet("192.0.2.2:9")))
	mtu, err := a.GetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU)
	require.NoError(t, err)
	require.Equal(t, 1500, mtu)
	require.NoError(t, a.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
	_, err = a.Write(s, make([]byte, 1473))
	require.Equal(t, unix.EMSGSIZE, err)
	_, err = a.Write(s, make([]byte, 1472))
	require.NoError(t, err)
}

// tapped is a link that keeps the last packet that was sent.
type tapped struct {
	nested.Endpoint
	last []byte
}

// WritePackets implements gstack.LinkWriter.
func (l *tapped) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		b := pkt.ToBuffer()
		l.last = b.Flatten()
		b.Release()
	}
	return l.Endpoint.WritePackets(pkts)
}

// A checksum that comes out as 0 is sent as all ones: 0 says that there is none (RFC
// 768).
func TestDatagramChecksumOfZero(t *testing.T) {
	near, _ := tun.Pipe(tun.PipeConfig{})
	link := new(tapped)
	link.Init(near, link)
	s, err := stack.New(stack.Config{Link: link, Addresses: addressesA})
	require.NoError(t, err)
	defer s.Close()
	p := NewNamespace(s).Process(16)
	defer p.CloseAll()
	for _, to := range []string{"192.0.2.2:9", "[2001:db8::2]:9"} {
		domain, ip := unix.AF_INET, header.IPv4MinimumSize
		if _, ok := inet(to).(*unix.SockaddrInet6); ok {
			domain, ip = unix.AF_INET6, header.IPv6MinimumSize
		}
		fd := p.datagramSocket(t, domain, "")
		send := func(payload []byte) uint16 {
			_, err := p.Sendto(fd, payload, 0, inet(to))
			require.NoError(t, err)
			return header.UDP(link.last[ip:]).Checksum()
		}
		sum := send([]byte{0, 0})
		require.EqualValues(t, 0xffff, send([]byte{byte(sum >> 8), byte(sum)}), to)
	}
}
