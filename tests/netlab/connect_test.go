//go:build linux

package netlab_test

import (
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tests/netlab"
)

const patience = 10 * time.Second

var here = netip.MustParseAddrPort("127.0.0.1:80")

// kernelListen opens a kernel listener with an exact backlog and returns its
// descriptor.
func kernelListen(t *testing.T, n *netlab.Namespace, backlog int) int {
	fd := -1
	n.Do(func() {
		var err error
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: here.Addr().As4(), Port: int(here.Port())}))
		require.NoError(t, unix.Listen(fd, backlog))
	})
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func connect(t *testing.T, n *netlab.Namespace, config netlab.ConnectConfig) *netlab.Socket {
	if !config.Remote.IsValid() {
		config.Remote = here
	}
	s, err := n.Connect(config)
	require.NoError(t, err)
	return s
}

func TestConnectRefused(t *testing.T) {
	n := netlab.New(t)
	s := connect(t, n, netlab.ConnectConfig{})
	require.Equal(t, unix.ECONNREFUSED, s.Wait(patience), "a bare errno")
	require.NoError(t, s.Close())
}

func TestConnectTimesOutAfterItsRetries(t *testing.T) {
	t.Parallel()
	n := netlab.New(t)
	kernelListen(t, n, 0)
	first := connect(t, n, netlab.ConnectConfig{})
	defer first.Close()
	require.NoError(t, first.Wait(patience), "backlog 0 holds one connection")

	s := connect(t, n, netlab.ConnectConfig{SYNRetries: 1})
	defer s.Close()
	require.ErrorIs(t, s.Wait(50*time.Millisecond), os.ErrDeadlineExceeded)
	state, err := s.State()
	require.NoError(t, err)
	require.Equal(t, netlab.SynSent, state)
	require.Equal(t, unix.ETIMEDOUT, s.Wait(patience), "1 s for the first SYN, 2 s for the second")
}

func TestRetransmitsCountSYNs(t *testing.T) {
	t.Parallel()
	n := netlab.New(t)
	l := kernelListen(t, n, 0)
	first := connect(t, n, netlab.ConnectConfig{})
	defer first.Close()
	require.NoError(t, first.Wait(patience))
	retransmits, err := first.Retransmits()
	require.NoError(t, err)
	require.Zero(t, retransmits)

	late := connect(t, n, netlab.ConnectConfig{})
	defer late.Close()
	require.Eventually(t, func() bool {
		retransmits, err := late.Retransmits()
		return err == nil && retransmits == 1
	}, patience, 5*time.Millisecond)
	fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, late.Wait(patience))
	retransmits, err = late.Retransmits()
	require.NoError(t, err)
	require.Equal(t, 2, retransmits, "the count outlives the handshake")
	state, err := late.State()
	require.NoError(t, err)
	require.Equal(t, netlab.Established, state)
}

func TestSourcePortReuseAfterAbort(t *testing.T) {
	n := netlab.New(t)
	l := kernelListen(t, n, 16)
	local := netip.MustParseAddrPort("127.0.0.1:40000")
	for range 3 {
		s := connect(t, n, netlab.ConnectConfig{Local: local, Abort: true})
		require.NoError(t, s.Wait(patience))
		got, err := s.LocalAddr()
		require.NoError(t, err)
		require.Equal(t, local, got)

		fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = unix.Read(fd, make([]byte, 1))
		require.Equal(t, unix.ECONNRESET, err, "closing sent a RST")
		require.NoError(t, unix.Close(fd))
	}
}

func TestAbortOverridesClose(t *testing.T) {
	n := netlab.New(t)
	l := kernelListen(t, n, 16)
	s := connect(t, n, netlab.ConnectConfig{})
	require.NoError(t, s.Wait(patience))
	fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, s.Abort())
	_, err = unix.Read(fd, make([]byte, 1))
	require.Equal(t, unix.ECONNRESET, err)
}

func TestSocketBecomesConn(t *testing.T) {
	n := netlab.New(t)
	l := kernelListen(t, n, 16)
	s := connect(t, n, netlab.ConnectConfig{})
	require.NoError(t, s.Wait(patience))
	c, err := s.Conn()
	require.NoError(t, err)
	defer c.Close()
	fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	_, err = unix.Write(fd, []byte("hello"))
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}
