//go:build linux

package phpsock_test

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/stack/socket/phpsock"
	"github.com/ulisten/ulisten/tun"
)

// loopback returns a namespace that has only itself to talk to.
func loopback() (*socket.Namespace, *stack.Stack) {
	link, _ := tun.Pipe(tun.PipeConfig{})
	s, err := stack.New(stack.Config{Link: link, Addresses: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}})
	if err != nil {
		panic(err)
	}
	return socket.NewNamespace(s), s
}

// script returns the extension, and the warnings that it gives.
func script(t *testing.T) (php *phpsock.Sockets, ns *socket.Namespace, warnings *[]string) {
	php, ns, _, warnings = scriptOn(t)
	return php, ns, warnings
}

func scriptOn(t *testing.T) (php *phpsock.Sockets, ns *socket.Namespace, s *stack.Stack, warnings *[]string) {
	ns, s = loopback()
	php, warnings = phpsock.New(ns), new([]string)
	php.Warning = func(text string) { *warnings = append(*warnings, text) }
	t.Cleanup(func() {
		php.Process().CloseAll()
		s.Close()
	})
	return php, ns, s, warnings
}

// seen is what the manual page's example shows (a comment of the page).
const seen = `Active Internet connections (only servers)
Proto Recv-Q Send-Q Local Address Foreign Address State PID/Program name
tcp 0 0 127.0.0.1:5000 0.0.0.0:* LISTEN 1839/php`

func TestExampleOfTheManualPage(t *testing.T) {
	php, ns, _ := script(t)
	php.Process().SetCredentials(unix.Ucred{Pid: 1839})
	sock := php.Create(unix.AF_INET, unix.SOCK_STREAM, php.GetProtoByName("tcp"))
	require.True(t, php.Bind(sock, "127.0.0.1", 5000))
	require.True(t, php.Listen(sock, 1))

	netstat := func() string {
		var out bytes.Buffer
		require.NoError(t, ns.Netstat(&out, socket.Program{Name: "php", Process: php.Process()}))
		var lines []string
		for line := range strings.Lines(out.String()) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return strings.Join(lines, "\n")
	}
	require.Equal(t, seen, netstat())

	// A connection that nobody accepts shows as Recv-Q.
	client := php.Create(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.True(t, php.Connect(client, "127.0.0.1", 5000))
	require.Eventually(t, func() bool { return strings.Contains(netstat(), "tcp 1 0 127.0.0.1:5000 ") },
		10*time.Second, time.Millisecond)
}

// "A maximum of backlog incoming connections will be queued for processing. If a
// connection request arrives with the queue full the client may receive an error
// with an indication of ECONNREFUSED, or, if the underlying protocol supports
// retransmission, the request may be ignored so that retries may succeed."
func TestFullQueueOfTheManualPage(t *testing.T) {
	php, _, st, _ := scriptOn(t)
	listener := php.Create(unix.AF_INET, unix.SOCK_STREAM, php.GetProtoByName("tcp"))
	require.True(t, php.Bind(listener, "127.0.0.1", 5000))
	require.True(t, php.Listen(listener, 1))
	for range 2 { // Linux queues one more than the backlog
		require.True(t, php.Connect(php.Create(unix.AF_INET, unix.SOCK_STREAM, 0), "127.0.0.1", 5000))
	}
	late := php.Create(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.True(t, php.SetNonblock(late))
	require.False(t, php.Connect(late, "127.0.0.1", 5000))
	require.Equal(t, int(unix.EINPROGRESS), php.LastError(late), "it may yet succeed")
	require.Eventually(t, func() bool { return st.Counters().ListenOverflows > 0 }, 10*time.Second, time.Millisecond,
		"the request is ignored")

	require.NotNil(t, php.Accept(listener))
	writable, sec := []*phpsock.Socket{late}, 10
	n, ok := php.Select(nil, &writable, nil, &sec)
	require.True(t, ok)
	require.Equal(t, 1, n, "a retry succeeds")
	v, ok := php.GetOption(late, unix.SOL_SOCKET, unix.SO_ERROR)
	require.True(t, ok)
	require.Zero(t, v)
}

// "On Linux, it is silently truncated to SOMAXCONN."
func TestBacklogOfTheManualPageIsTruncated(t *testing.T) {
	php, _, _ := script(t)
	sock := php.CreateListen(5000, 1<<30)
	require.NotNil(t, sock)
	limit, ok := php.GetOption(sock, socket.SOL_LISTENQ, socket.LISTENQ_LIMIT)
	require.True(t, ok)
	require.Equal(t, 4096, limit)
}

// "socket_listen() is applicable only to sockets of type SOCK_STREAM or
// SOCK_SEQPACKET."
func TestTypesThatListen(t *testing.T) {
	php, _, warnings := script(t)
	for _, tc := range []struct {
		domain, typ int
		ok          bool
	}{
		{unix.AF_INET, unix.SOCK_STREAM, true},
		{unix.AF_INET6, unix.SOCK_STREAM, true},
		{unix.AF_INET, unix.SOCK_DGRAM, false},
		{unix.AF_UNIX, unix.SOCK_STREAM, true},
		{unix.AF_UNIX, unix.SOCK_SEQPACKET, true},
		{unix.AF_UNIX, unix.SOCK_DGRAM, false},
	} {
		sock := php.Create(tc.domain, tc.typ, 0)
		if tc.domain == unix.AF_UNIX {
			require.True(t, php.Bind(sock, "@listen"))
		}
		require.Equal(t, tc.ok, php.Listen(sock), "%+v", tc)
		if !tc.ok {
			require.Equal(t, int(unix.EOPNOTSUPP), php.LastError(sock))
			require.Equal(t, "socket_listen(): unable to listen on socket [95]: Operation not supported",
				(*warnings)[len(*warnings)-1])
		}
		php.Close(sock)
	}
}

func TestLastError(t *testing.T) {
	php, _, warnings := script(t)
	require.Zero(t, php.LastError())
	one, two := php.CreateListen(5000), php.Create(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.False(t, php.Bind(two, "127.0.0.1", 5000))
	require.Equal(t, int(unix.EADDRINUSE), php.LastError(two))
	require.Equal(t, int(unix.EADDRINUSE), php.LastError())
	require.Zero(t, php.LastError(one))
	require.Equal(t, []string{"socket_bind(): unable to bind address [98]: Address already in use"}, *warnings)

	require.True(t, php.SetNonblock(two), "success leaves it alone")
	require.Equal(t, int(unix.EADDRINUSE), php.LastError(two))
	php.ClearError(two)
	require.Zero(t, php.LastError(two))
	require.Equal(t, int(unix.EADDRINUSE), php.LastError())
	php.ClearError()
	require.Zero(t, php.LastError())

	require.True(t, php.SetNonblock(one))
	require.Nil(t, php.Accept(one))
	require.Equal(t, int(unix.EAGAIN), php.LastError(one))
	require.Len(t, *warnings, 1, "not yet is no reason to warn")

	require.False(t, php.Bind(two, "localhost", 5001))
	require.Equal(t, -10001, php.LastError())
	require.Equal(t, "Unknown host", php.Strerror(php.LastError()))
	require.Equal(t, "Success", php.Strerror(0))
	require.Equal(t, "Connection refused", php.Strerror(int(unix.ECONNREFUSED)))

	php.Close(two)
	require.False(t, php.Listen(two))
	require.Equal(t, "socket_listen(): supplied resource is not a valid Socket resource", (*warnings)[len(*warnings)-1])
}

func TestWrongArguments(t *testing.T) {
	php, _, warnings := script(t)
	sock := php.Create(99, 99, 0)
	require.NotNil(t, sock)
	require.False(t, php.Connect(sock, "127.0.0.1"))
	_, ok := php.Select(nil, nil, nil, nil)
	require.False(t, ok)
	_, ok = php.CmsgSpace(99, 99)
	require.False(t, ok)
	_, ok = php.CmsgSpace(unix.SOL_SOCKET, unix.SCM_RIGHTS, -1)
	require.False(t, ok)
	_, ok = php.Write(sock, "data", -1)
	require.False(t, ok)
	_, ok = php.Read(sock, 0)
	require.False(t, ok)
	require.False(t, php.SetOption(sock, unix.SOL_SOCKET, unix.SO_LINGER, 1.5))
	require.Nil(t, php.Create(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP))
	require.Equal(t, int(unix.EPROTONOSUPPORT), php.LastError())
	require.Equal(t, []string{
		"socket_create(): invalid socket domain [99] specified for argument 1, assuming AF_INET",
		"socket_create(): invalid socket type [99] specified for argument 2, assuming SOCK_STREAM",
		"socket_connect(): Socket of type AF_INET requires 3 arguments",
		"socket_select(): no resource arrays were passed to select",
		"socket_cmsg_space(): The pair level 99 and/or type 99 is not supported",
		"socket_cmsg_space(): The fourth argument is out of range",
		"socket_write(): Length cannot be negative",
		"socket_set_option(): a float64 is no value of an option",
		"socket_create(): Unable to create socket [93]: Protocol not supported",
	}, *warnings)
}

func TestLines(t *testing.T) {
	php, _, _ := script(t)
	var pair [2]*phpsock.Socket
	require.True(t, php.CreatePair(unix.AF_UNIX, unix.SOCK_STREAM, 0, &pair))
	n, ok := php.Write(pair[0], "one\ntwo\rthree, that is long")
	require.True(t, ok)
	require.Equal(t, 27, n)
	for _, want := range []string{"one\n", "two\r", "three, th"} {
		line, ok := php.Read(pair[1], 9, phpsock.PHP_NORMAL_READ)
		require.True(t, ok)
		require.Equal(t, want, line)
	}
	require.True(t, php.SetNonblock(pair[1]))
	rest, ok := php.Read(pair[1], 100, phpsock.PHP_NORMAL_READ)
	require.True(t, ok)
	require.Equal(t, "at is long", rest)
	_, ok = php.Read(pair[1], 100, phpsock.PHP_NORMAL_READ)
	require.False(t, ok)
	require.Equal(t, int(unix.EAGAIN), php.LastError(pair[1]))

	require.True(t, php.Shutdown(pair[0]))
	data, ok := php.Read(pair[1], 100)
	require.True(t, ok, "the end of the stream")
	require.Empty(t, data)
	_, ok = php.Read(pair[1], 100, phpsock.PHP_NORMAL_READ)
	require.False(t, ok)
	require.Equal(t, int(unix.ECONNRESET), php.LastError(pair[1]))
}

func TestImportStream(t *testing.T) {
	php, ns, warnings := script(t)
	l, err := ns.Listen("tcp", "127.0.0.1:80", 1)
	require.NoError(t, err)
	defer l.Close()
	stream, err := ns.Dial("tcp", "127.0.0.1:80")
	require.NoError(t, err)
	peer, err := l.Accept()
	require.NoError(t, err)
	defer peer.Close()

	sock := php.ImportStream(stream)
	require.NotNil(t, sock)
	_, err = stream.Write(nil)
	require.ErrorIs(t, err, net.ErrClosed, "the socket has it now")
	var address string
	var port int
	require.True(t, php.GetPeerName(sock, &address, &port))
	require.Equal(t, "127.0.0.1:80", net.JoinHostPort(address, "80"))
	require.Equal(t, 80, port)
	_, ok := php.Write(sock, "hello")
	require.True(t, ok)
	b := make([]byte, 5)
	require.NoError(t, peer.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = peer.Read(b)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))

	c, _ := net.Pipe()
	require.Nil(t, php.ImportStream(c))
	require.Equal(t, "socket_import_stream(): cannot represent a stream of type *net.pipe as a Socket Descriptor", (*warnings)[0])
}
