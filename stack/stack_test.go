package stack_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

var (
	serverPrefix4 = netip.MustParsePrefix("192.0.2.1/24")
	clientPrefix4 = netip.MustParsePrefix("192.0.2.2/24")
	serverPrefix6 = netip.MustParsePrefix("2001:db8::1/64")
	clientPrefix6 = netip.MustParsePrefix("2001:db8::2/64")
)

// pair joins two stacks in memory: the one under test and the clients'.
func pair(t *testing.T, cfg stack.Config) (server, client *stack.Stack) {
	t.Helper()
	a, b := tun.Pipe(tun.PipeConfig{})
	cfg.Link = a
	cfg.Addresses = []netip.Prefix{serverPrefix4, serverPrefix6}
	server, err := stack.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	client, err = stack.New(stack.Config{Link: b, Addresses: []netip.Prefix{clientPrefix4, clientPrefix6}})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return server, client
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

func TestEcho(t *testing.T) {
	for _, tc := range []struct{ network, listen, dial string }{
		{"tcp", "192.0.2.1:80", "192.0.2.1:80"},
		{"tcp", ":80", "192.0.2.1:80"},
		{"tcp", ":80", "[2001:db8::1]:80"},
		{"tcp4", ":80", "192.0.2.1:80"},
		{"tcp6", ":80", "[2001:db8::1]:80"},
		{"tcp", "[2001:db8::1]:80", "[2001:db8::1]:80"},
		{"tcp", "0.0.0.0:80", "192.0.2.1:80"},
	} {
		t.Run(tc.network+" "+tc.listen+" from "+tc.dial, func(t *testing.T) {
			server, client := pair(t, stack.Config{})
			l, err := server.Listen(tc.network, tc.listen, 5, nil)
			require.NoError(t, err)
			go echo(l)
			c, err := client.Dial("tcp", tc.dial)
			require.NoError(t, err)
			require.Equal(t, tc.dial, c.RemoteAddr().String())
			message := []byte("hello")
			_, err = c.Write(message)
			require.NoError(t, err)
			got := make([]byte, len(message))
			_, err = io.ReadFull(c, got)
			require.NoError(t, err)
			require.Equal(t, message, got)
			require.NoError(t, c.(*stack.Conn).CloseWrite())
			_, err = c.Read(got)
			require.Equal(t, io.EOF, err)
			require.NoError(t, c.Close())
			require.Equal(t, stack.Drops{}, server.Drops())
		})
	}
}

func TestDialOwnAddress(t *testing.T) {
	server, _ := pair(t, stack.Config{})
	l, err := server.Listen("tcp", "192.0.2.1:80", 5, nil)
	require.NoError(t, err)
	go echo(l)
	c, err := server.Dial("tcp", "192.0.2.1:80")
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
}

func TestRefused(t *testing.T) {
	server, client := pair(t, stack.Config{})
	_, err := client.Dial("tcp", "192.0.2.1:81")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	l, err := server.Listen("tcp", "192.0.2.1:80", 0, &stack.ListenOptions{Overflow: listenq.Overflow{ResetSYN: true}})
	require.NoError(t, err)
	c, err := client.Dial("tcp", "192.0.2.1:80")
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool { return l.Stats().AcceptQueue == 1 }, 5*time.Second, time.Millisecond)
	_, err = client.Dial("tcp", "192.0.2.1:80")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.EqualValues(t, 1, l.Stats().Counters.ListenOverflows)
}

func TestListenErrors(t *testing.T) {
	server, _ := pair(t, stack.Config{})
	l, err := server.Listen("tcp", "192.0.2.1:80", 5, nil)
	require.NoError(t, err)
	_, err = server.Listen("tcp", "192.0.2.1:80", 5, nil)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = server.Listen("tcp", "192.0.2.9:80", 5, nil)
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	_, err = server.Listen("tcp", "192.0.2.1:81", 5, &stack.ListenOptions{SYNCount: 128})
	require.ErrorIs(t, err, syscall.EINVAL)
	for _, bad := range []struct{ network, address string }{
		{"udp", "192.0.2.1:80"}, {"tcp", "192.0.2.1"}, {"tcp", "host:80"}, {"tcp", "192.0.2.1:http"}, {"tcp4", "[2001:db8::1]:80"},
	} {
		_, err = server.Listen(bad.network, bad.address, 5, nil)
		require.Error(t, err, bad)
	}

	require.NoError(t, l.SetDeadline(time.Now().Add(-time.Second)))
	_, err = l.Accept()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, l.Close())
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, l.Close(), net.ErrClosed)
	require.ErrorIs(t, l.Listen(3), net.ErrClosed)

	l, err = server.Listen("tcp", "192.0.2.1:80", 5, nil)
	require.NoError(t, err, "the port is free again")
	l.Close()
}

func TestAcceptOrderAndCloseResets(t *testing.T) {
	server, client := pair(t, stack.Config{})
	l, err := server.Listen("tcp", ":80", 10, nil)
	require.NoError(t, err)
	var conns []net.Conn
	for range 5 {
		c, err := client.Dial("tcp", "192.0.2.1:80")
		require.NoError(t, err)
		conns = append(conns, c)
	}
	require.Eventually(t, func() bool { return l.Stats().AcceptQueue == 5 }, 5*time.Second, time.Millisecond)
	for i := range 2 {
		c, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, conns[i].LocalAddr(), c.RemoteAddr())
		defer c.Close()
	}
	require.NoError(t, l.Close())
	for _, c := range conns[2:] {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	conns[0].SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err = conns[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "accepted connections live on")
	var nerr net.Error
	require.True(t, errors.As(err, &nerr) && nerr.Timeout())
}

func TestHTTP(t *testing.T) {
	server, client := pair(t, stack.Config{})
	l, err := server.Listen("tcp", ":80", 10, nil)
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})}
	go srv.Serve(l)
	defer srv.Close()
	hc := &http.Client{Transport: &http.Transport{DialContext: client.DialContext}}
	defer hc.CloseIdleConnections()
	for range 3 {
		body := make([]byte, 1<<20)
		res, err := hc.Post("http://192.0.2.1/", "text/plain", bytes.NewReader(body))
		require.NoError(t, err)
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, len(body), len(got))
	}
}

// How long a test waits for what must happen, and how often it looks.
const (
	patience = 10 * time.Second
	tick     = time.Millisecond
)
