//go:build linux

package socket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// twoNamespaces returns two namespaces, joined in memory.
func twoNamespaces(t testing.TB) (a, b *Namespace) {
	t.Helper()
	la, lb := tun.Pipe(tun.PipeConfig{})
	make := func(cfg stack.Config) *Namespace {
		s, err := stack.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return NewNamespace(s)
	}
	return make(stack.Config{Link: la, Addresses: addressesA}), make(stack.Config{Link: lb, Addresses: addressesB})
}

// connect returns the two ends of a connection.
func connect(dialer, listener *Namespace, network, address string) (c1, c2 net.Conn, stop func(), err error) {
	l, err := listener.Listen(network, address, 1)
	if err != nil {
		return nil, nil, nil, err
	}
	defer l.Close()
	if c1, err = dialer.Dial(network, l.Addr().String()); err != nil {
		return nil, nil, nil, err
	}
	if c2, err = l.Accept(); err != nil {
		c1.Close()
		return nil, nil, nil, err
	}
	return c1, c2, func() { c1.Close(); c2.Close() }, nil
}

func TestConnConforms(t *testing.T) {
	for _, tc := range []struct{ name, network, address string }{
		{"two stacks", "tcp", "192.0.2.2:0"},
		{"two stacks, IPv6", "tcp6", "[2001:db8::2]:0"},
		{"one stack", "tcp", "127.0.0.1:0"},
		{"one stack, another address", "tcp", "192.0.2.2:0"},
		{"unix", "unix", "/run/test"},
		{"unix, abstract", "unix", "@test"},
		{"unixpacket", "unixpacket", "/run/test"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := twoNamespaces(t)
			if !strings.HasPrefix(tc.name, "two") {
				a = b
			}
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				return connect(a, b, tc.network, tc.address)
			})
		})
	}
}

func TestConnectionsReadBufferedData(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a, b := twoNamespaces(t)
			address := "192.0.2.2:0"
			if network == "unix" {
				a, address = b, "/run/test"
			}
			c1, c2, stop, err := connect(a, b, network, address)
			require.NoError(t, err)
			defer stop()
			_, err = c1.Write([]byte("last words"))
			require.NoError(t, err)
			require.NoError(t, c1.(interface{ CloseWrite() error }).CloseWrite())
			_, err = c1.Write([]byte("more"))
			require.ErrorIs(t, err, syscall.EPIPE)
			got, err := io.ReadAll(c2)
			require.NoError(t, err)
			require.Equal(t, "last words", string(got))
			_, err = c2.Write([]byte("answer"))
			require.NoError(t, err)
			answer := make([]byte, 10)
			n, err := c1.Read(answer)
			require.NoError(t, err)
			require.Equal(t, "answer", string(answer[:n]))
			require.NoError(t, c1.(interface{ CloseRead() error }).CloseRead())
		})
	}
}

// The errors are those that package net has for the kernel's sockets.
func TestErrorsAreThoseOfPackageNet(t *testing.T) {
	a, _ := twoNamespaces(t)
	for _, tc := range []struct {
		name string
		call func() error
		text string
		is   error
	}{
		{"nobody listens", func() error { _, err := a.Dial("tcp", "192.0.2.2:1"); return err },
			"dial tcp 192.0.2.2:1: connect: connection refused", syscall.ECONNREFUSED},
		{"nobody listens on the loopback", func() error { _, err := a.Dial("tcp", ":1"); return err },
			"dial tcp 127.0.0.1:1: connect: connection refused", syscall.ECONNREFUSED},
		{"no such unix socket", func() error { _, err := a.Dial("unix", "/run/none"); return err },
			"dial unix /run/none: connect: no such file or directory", syscall.ENOENT},
		{"no such abstract name", func() error { _, err := a.Dial("unix", "@none"); return err },
			"dial unix @none: connect: connection refused", syscall.ECONNREFUSED},
		{"foreign local address", func() error {
			d := Dialer{Namespace: a, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.1:0"))}
			_, err := d.Dial("tcp", "192.0.2.2:1")
			return err
		}, "dial tcp 198.51.100.1:0->192.0.2.2:1: bind: cannot assign requested address", syscall.EADDRNOTAVAIL},
		{"local address of another kind", func() error {
			d := Dialer{Namespace: a, LocalAddr: &net.UnixAddr{Name: "/run/x", Net: "unix"}}
			_, err := d.Dial("tcp", "192.0.2.2:1")
			return err
		}, "dial tcp /run/x->192.0.2.2:1: address /run/x: mismatched local address type", nil},
		{"foreign address", func() error { _, err := a.Listen("tcp", "198.51.100.1:80", 1); return err },
			"listen tcp 198.51.100.1:80: bind: cannot assign requested address", syscall.EADDRNOTAVAIL},
		{"foreign address of UDP", func() error { _, err := a.ListenPacket("udp", "198.51.100.1:80"); return err },
			"listen udp 198.51.100.1:80: bind: cannot assign requested address", syscall.EADDRNOTAVAIL},
		{"unknown network", func() error { _, err := a.Listen("ip", "", 1); return err },
			"listen ip: unknown network ip", nil},
		{"datagrams have no listener", func() error { _, err := a.Listen("udp", ":1", 1); return err },
			"listen udp: unknown network udp", nil},
		{"streams have no packets", func() error { _, err := a.ListenPacket("unix", "/run/x"); return err },
			"listen unix: unknown network unix", nil},
		{"a name", func() error { _, err := a.Dial("udp", "localhost:1"); return err },
			"dial udp: address localhost:1: need a numeric address and port", nil},
		{"wrong family", func() error { _, err := a.Dial("udp4", "[::1]:1"); return err },
			"dial udp4: address [::1]:1: address of the wrong family for udp4", nil},
		{"context that has ended", func() error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := a.DialContext(ctx, "unix", "/run/none")
			return err
		}, "dial unix /run/none: context canceled", context.Canceled},
		{"deadline that has passed", func() error {
			d := Dialer{Namespace: a, Deadline: time.Unix(1, 0)}
			_, err := d.Dial("tcp", "192.0.2.99:1")
			return err
		}, "dial tcp 192.0.2.99:1: i/o timeout", os.ErrDeadlineExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.call()
			require.EqualError(t, err, tc.text)
			var op *net.OpError
			require.ErrorAs(t, err, &op)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is)
			}
			require.Equal(t, tc.is == os.ErrDeadlineExceeded, op.Timeout())
		})
	}
}

func TestClosedAndExpired(t *testing.T) {
	a, _ := twoNamespaces(t)
	for _, tc := range []struct {
		network, address string
	}{{"tcp", "127.0.0.1:0"}, {"unix", "/run/test"}, {"unixpacket", "@test"}} {
		l, err := a.Listen(tc.network, tc.address, 1)
		require.NoError(t, err)
		require.NoError(t, l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(-time.Second)))
		_, err = l.Accept()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Time{}))
		done := make(chan error)
		go func() { _, err := l.Accept(); done <- err }()
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-done, net.ErrClosed)
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, l.Close(), net.ErrClosed)

		again, err := a.Listen(tc.network, l.Addr().String(), 1)
		require.NoError(t, err, "the address is free")
		require.NoError(t, again.Close())

		c, _, stop, err := connect(a, a, tc.network, tc.address)
		require.NoError(t, err)
		stop()
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = c.Write(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, c.SetDeadline(time.Time{}), net.ErrClosed)
		require.ErrorIs(t, c.Close(), net.ErrClosed)
	}
}

func TestPackets(t *testing.T) {
	a, b := twoNamespaces(t)
	for _, tc := range []struct {
		network, listen, dial string
		dialer                *Namespace
	}{
		{"udp", "192.0.2.2:0", "", a},
		{"udp", ":0", "192.0.2.2", a},
		{"udp", ":0", "[2001:db8::2]", a},
		{"udp4", ":0", "192.0.2.2", a},
		{"udp6", ":0", "[2001:db8::2]", a},
		{"udp", "127.0.0.1:0", "", b},
		{"unixgram", "/run/test", "", b},
		{"unixgram", "@test", "", b},
	} {
		t.Run(tc.network+" "+tc.listen+" "+tc.dial, func(t *testing.T) {
			l, err := b.ListenPacket(tc.network, tc.listen)
			require.NoError(t, err)
			defer l.Close()
			to := l.LocalAddr().String()
			if tc.dial != "" {
				_, port, err := net.SplitHostPort(to)
				require.NoError(t, err)
				to = tc.dial + ":" + port
			}
			d := Dialer{Namespace: tc.dialer}
			if tc.network == "unixgram" {
				d.LocalAddr = &net.UnixAddr{Name: "/run/dialer", Net: "unixgram"} // to be answered
				defer tc.dialer.Unlink("/run/dialer")
			}
			c, err := d.Dial(tc.network, to)
			require.NoError(t, err)
			defer c.Close()
			require.Equal(t, to, c.RemoteAddr().String())
			_, err = c.(net.PacketConn).WriteTo(nil, c.RemoteAddr())
			require.ErrorIs(t, err, net.ErrWriteToConnected)
			n, err := c.Write([]byte("question"))
			require.NoError(t, err)
			require.Equal(t, 8, n)
			var buf [20]byte
			n, from, err := l.ReadFrom(buf[:])
			require.NoError(t, err)
			require.Equal(t, "question", string(buf[:n]))
			require.Equal(t, c.LocalAddr().String(), from.String())
			_, err = l.WriteTo([]byte("answer"), from)
			require.NoError(t, err)
			n, err = c.Read(buf[:])
			require.NoError(t, err)
			require.Equal(t, "answer", string(buf[:n]))

			require.NoError(t, c.SetReadDeadline(time.Now().Add(-time.Second)))
			_, err = c.Read(buf[:])
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, c.SetReadDeadline(time.Time{}))
			done := make(chan error)
			go func() { _, err := c.Read(buf[:]); done <- err }()
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)), "while a call waits")
			require.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
		})
	}
}

func TestPacketsRefused(t *testing.T) {
	a, _ := twoNamespaces(t)
	c, err := a.Dial("udp", "192.0.2.2:99")
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(2*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.EqualError(t, err, "read udp "+c.LocalAddr().String()+"->192.0.2.2:99: read: connection refused")
}

func TestControlRunsBeforeBind(t *testing.T) {
	a, _ := twoNamespaces(t)
	lc := ListenConfig{Namespace: a, Control: func(p *Process, fd int) error {
		return p.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}}
	for range 2 {
		c, err := lc.ListenPacket(context.Background(), "udp", "127.0.0.1:53")
		require.NoError(t, err)
		defer c.Close()
	}
	no := errors.New("no")
	lc.Control = func(*Process, int) error { return no }
	_, err := lc.ListenPacket(context.Background(), "udp", "127.0.0.1:54")
	require.ErrorIs(t, err, no)
}

func TestDialFromAnAddress(t *testing.T) {
	a, b := twoNamespaces(t)
	l, err := b.Listen("tcp", ":80", 5)
	require.NoError(t, err)
	for _, from := range []string{"192.0.2.11:0", "192.0.2.11:99", ":98"} {
		local, err := net.ResolveTCPAddr("tcp", from)
		require.NoError(t, err)
		d := Dialer{Namespace: a, LocalAddr: local, KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
		c, err := d.Dial("tcp", "192.0.2.2:80")
		require.NoError(t, err, from)
		at := c.LocalAddr().(*net.TCPAddr)
		if local.IP != nil {
			require.Equal(t, "192.0.2.11", at.IP.String())
		}
		if local.Port != 0 {
			require.Equal(t, local.Port, at.Port)
		}
		require.NoError(t, c.Close())
	}
	require.NoError(t, l.Close())
}

func TestCopyBetweenConnections(t *testing.T) {
	a, b := twoNamespaces(t)
	// data -> c1 ~ c2 -> c3 ~ c4 -> sink, where -> is io.Copy.
	c1, c2, stop, err := connect(a, b, "tcp", "192.0.2.2:0")
	require.NoError(t, err)
	defer stop()
	c3, c4, stop, err := connect(b, a, "tcp", "192.0.2.1:0")
	require.NoError(t, err)
	defer stop()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		n, err := io.Copy(c1, bytes.NewReader(data))
		if err != nil || n != int64(len(data)) {
			t.Errorf("copied %d bytes: %v", n, err)
		}
		c1.Close()
	}()
	go func() {
		n, err := io.Copy(c3, c2)
		if err != nil || n != int64(len(data)) {
			t.Errorf("copied %d bytes: %v", n, err)
		}
		c3.Close()
	}()
	var sink bytes.Buffer
	_, err = io.Copy(struct{ io.Writer }{&sink}, c4)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, sink.Bytes()))
}

func TestCopyFails(t *testing.T) {
	a, b := twoNamespaces(t)
	c1, c2, stop, err := connect(a, b, "tcp", "192.0.2.2:0")
	require.NoError(t, err)
	defer stop()
	broken := errors.New("broken")
	n, err := c1.(io.ReaderFrom).ReadFrom(io.MultiReader(strings.NewReader("part"), failing{broken}))
	require.ErrorIs(t, err, broken)
	require.EqualValues(t, 4, n)
	got := make([]byte, 4)
	_, err = io.ReadFull(c2, got)
	require.NoError(t, err)
	require.Equal(t, "part", string(got), "what was read before is sent")

	require.NoError(t, c1.SetWriteDeadline(time.Now().Add(-time.Second)))
	_, err = c1.(io.ReaderFrom).ReadFrom(strings.NewReader("late"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOptionsOfConnections(t *testing.T) {
	a, b := twoNamespaces(t)
	c, _, stop, err := connect(a, b, "tcp", "192.0.2.2:0")
	require.NoError(t, err)
	tc := c.(*stack.Conn)
	set := []func() error{
		func() error { return tc.SetNoDelay(false) },
		func() error { return tc.SetLinger(0) },
		func() error { return tc.SetKeepAlive(true) },
		func() error { return tc.SetKeepAlivePeriod(time.Minute) },
		func() error { return tc.SetReadBuffer(1 << 16) },
		func() error { return tc.SetWriteBuffer(1 << 16) },
	}
	for _, f := range set {
		require.NoError(t, f())
	}
	_, err = tc.SyscallConn()
	require.ErrorIs(t, err, errors.ErrUnsupported)
	stop()
	for _, f := range set {
		require.ErrorIs(t, f(), net.ErrClosed)
	}
}
