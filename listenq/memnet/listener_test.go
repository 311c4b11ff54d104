package memnet_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/memnet"
)

// What a client writes while it waits in the accept queue is kept, and so is its
// FIN.
func TestQueuedDataIsKept(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		l := lab.listen(5, nil)
		c := lab.dial()
		send(t, c, "early")
		require.NoError(t, c.Close())
		time.Sleep(time.Minute)
		require.Equal(t, 1, l.Stats().AcceptQueue)
		accepted := lab.accept(l)
		receive(t, accepted, "early")
		requireEOF(t, accepted)
	})
}

// On Linux a connection that its client has reset is accepted all the same, and
// fails on use.
func TestQueuedResetOnLinux(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		l := lab.listen(5, nil)
		c := lab.dial()
		send(t, c, "early")
		require.NoError(t, c.SetLinger(0))
		require.NoError(t, c.Close())
		time.Sleep(time.Minute)
		accepted := lab.accept(l)
		require.Equal(t, "192.0.2.1:32768", accepted.RemoteAddr().String())
		receive(t, accepted, "early")
		_, err := accepted.Read(make([]byte, 1))
		requireErrno(t, syscall.ECONNRESET, err)
		requireEOF(t, accepted)
	})
}

// Where accept(2) says ECONNABORTED, an http.Server goes on.
func TestQueuedResetAborted(t *testing.T) {
	bsd := server(t, "linux-6")
	bsd.Socket.QueuedReset = listenq.ResetAborted
	bubble(t, memnet.Config{Server: bsd}, func(lab *lab) {
		l := lab.listen(5, nil)
		c := lab.dial()
		c.SetLinger(0)
		c.Close()
		_, err := l.Accept()
		require.ErrorIs(t, err, syscall.ECONNABORTED)
		require.EqualError(t, err, "accept tcp 198.18.0.1:80: software caused connection abort")
		require.True(t, err.(interface{ Temporary() bool }).Temporary())
		require.Zero(t, l.Stats().AcceptQueue)
	})
}

// A host whose every SYN-ACK is a cookie resets a client that it has no room for,
// and data that was on its way then makes it a connection after all. Its client
// is gone.
func TestCookieOfAClientThatIsGone(t *testing.T) {
	bsd := server(t, "freebsd")
	bsd.Cookies.Remember = 0 // for ever
	bubble(t, memnet.Config{Server: bsd, Latency: 10 * ms}, func(lab *lab) {
		l := lab.listen(0, nil)
		lab.dial()
		time.Sleep(10 * ms)
		c := lab.dial()
		time.Sleep(15 * ms)
		require.Equal(t, 1, l.Stats().AcceptQueue)
		send(t, c, "late")
		lab.accept(l)
		require.NoError(t, c.Close())
		time.Sleep(s)
		require.EqualValues(t, 1, l.Stats().Counters.SyncookiesRecv)
		_, err := l.Accept()
		require.ErrorIs(t, err, syscall.ECONNABORTED)
		require.Equal(t, 1, lab.Links())
	})
}

func TestListenerClose(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		l := lab.listen(5, nil)
		accepted, kept := lab.pair(l)
		queued := lab.dial()
		send(t, queued, "lost")
		waiting := make(chan error, 1)
		lab.accept(l) // queued was second
		left := lab.dial()
		time.Sleep(s)
		l2, err := lab.Listen("tcp", "other:80", 0, nil)
		require.NoError(t, err)
		go func() { _, err := l2.Accept(); waiting <- err }()
		time.Sleep(s)
		require.NoError(t, l.Close())
		require.NoError(t, l2.Close())
		require.ErrorIs(t, <-waiting, net.ErrClosed)

		_, err = left.Read(make([]byte, 1))
		requireErrno(t, syscall.ECONNRESET, err)
		send(t, accepted, "alive")
		receive(t, kept, "alive")
		require.Equal(t, "ECONNREFUSED", (<-lab.dialing()).end)

		_, err = l.Accept()
		require.EqualError(t, err, "accept tcp 198.18.0.1:80: use of closed network connection")
		require.ErrorIs(t, l.Close(), net.ErrClosed)
		require.ErrorIs(t, l.SetDeadline(time.Now()), net.ErrClosed)
		require.ErrorIs(t, l.Listen(5), net.ErrClosed)
		lab.listen(5, nil) // the port is free again
	})
}

// A half-open connection outlives its listener: the client learns it from the
// RST that answers its data.
func TestListenerCloseHalfOpen(t *testing.T) {
	bubble(t, memnet.Config{Latency: 10 * ms}, func(lab *lab) {
		l, c := lab.overlap(nil)
		require.NoError(t, l.Close())
		send(t, c, "hello")
		_, err := c.Read(make([]byte, 1))
		requireErrno(t, syscall.ECONNRESET, err)
		require.Equal(t, overlapped+20*ms, lab.now())
	})
}

func TestAcceptDeadline(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		l := lab.listen(5, nil)
		require.NoError(t, l.SetDeadline(time.Now().Add(s)))
		_, err := l.Accept()
		require.Equal(t, s, lab.now())
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.True(t, err.(net.Error).Timeout())
		require.NoError(t, l.SetDeadline(time.Time{}))
		lab.after(s, func() { lab.dial() })
		_, err = l.Accept()
		require.NoError(t, err)
		require.Equal(t, 2*s, lab.now())
	})
}

func TestListenAgain(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		l := lab.listen(0, nil)
		lab.dial()
		require.NoError(t, l.Listen(2))
		lab.dial()
		lab.dial()
		stats := l.Stats()
		require.Equal(t, memnet.ListenerStats{
			Backlog: 2, Limit: 2, AcceptQueue: 3, AcceptCapacity: 3, SYNCapacity: 3,
			Profile: "linux-6", Counters: stats.Counters,
		}, stats)
		require.EqualValues(t, 3, stats.Counters.PassiveOpens)
		l.SetOverflow(listenq.Overflow{ResetSYN: true})
		require.Equal(t, "ECONNREFUSED", (<-lab.dialing()).end)
	})
}

func TestListenErrors(t *testing.T) {
	refusing := server(t, "linux-6")
	refusing.Backlog.Zero = listenq.TakeNone
	bubble(t, memnet.Config{}, func(lab *lab) {
		l := lab.listen(5, nil)
		for _, tc := range []struct {
			network, address string
			opts             *memnet.ListenOptions
			want             string
		}{
			{"udp", "shop:80", nil, "listen udp: unknown network udp"},
			{"tcp", "shop", nil, "listen tcp: address shop: missing port in address"},
			{"tcp", "shop:70000", nil, "listen tcp: address shop:70000: port is not a number from 0 to 65535"},
			{"tcp4", "[::1]:80", nil, "listen tcp4: address ::1: no suitable address found"},
			{"tcp6", "192.0.2.1:80", nil, "listen tcp6: address 192.0.2.1: no suitable address found"},
			{"tcp", "shop:80", nil, "listen tcp 198.18.0.1:80: bind: address already in use"},
			{"tcp", ":80", nil, "listen tcp [::]:80: bind: address already in use"},
			{"tcp4", ":80", nil, "listen tcp4 0.0.0.0:80: bind: address already in use"},
			{"tcp", "a:81", &memnet.ListenOptions{SYNCount: 128}, "setsockopt: invalid argument"},
			{"tcp", "a:81", &memnet.ListenOptions{SYNCount: -1}, "setsockopt: invalid argument"},
			{"tcp", "a:81", &memnet.ListenOptions{DeferAccept: -1}, "setsockopt: invalid argument"},
			{"tcp", "a:81", &memnet.ListenOptions{Profile: refusing}, "listen: invalid argument"},
		} {
			_, err := lab.Listen(tc.network, tc.address, 0, tc.opts)
			require.ErrorContains(t, err, tc.want)
		}
		for _, fine := range []struct{ network, address string }{
			{"tcp6", ":80"}, {"tcp6", "shop:80"}, {"tcp", "SHOP.:81"}, {"tcp", "192.0.2.7:80"}, {"tcp", "shop:8080"},
		} {
			_, err := lab.Listen(fine.network, fine.address, 0, nil)
			if fine.address == "shop:80" { // covered by [::]:80
				requireErrno(t, syscall.EADDRINUSE, err)
				continue
			}
			require.NoError(t, err, fine)
		}
		_, err := lab.Listen("tcp", "b:80", 0, &memnet.ListenOptions{Profile: server(t, "linux-6")})
		require.NoError(t, err)
		require.NoError(t, l.Listen(-1))
	})
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ network, listen, dial, server, client string }{
		{"tcp", "shop:80", "shop:80", "198.18.0.1:80", "192.0.2.1:32768"},
		{"tcp", "shop:80", "Shop.:80", "198.18.0.1:80", "192.0.2.1:32768"},
		{"tcp6", "shop:80", "shop:80", "[2001:2::1]:80", "[2001:db8::1]:32768"},
		{"tcp", "203.0.113.9:80", "203.0.113.9:80", "203.0.113.9:80", "192.0.2.1:32768"},
		{"tcp", "[2001:db8::7]:80", "[2001:db8::7]:80", "[2001:db8::7]:80", "[2001:db8::1]:32768"},
		{"tcp", "localhost:80", "127.0.0.1:80", "127.0.0.1:80", "127.0.0.1:32768"},
		{"tcp", "localhost:80", ":80", "127.0.0.1:80", "127.0.0.1:32768"},
		{"tcp", ":80", "0.0.0.0:80", "127.0.0.1:80", "127.0.0.1:32768"},
		{"tcp6", ":80", ":80", "[::1]:80", "[::1]:32768"},
		{"tcp", ":80", "any:80", "198.18.0.1:80", "192.0.2.1:32768"},
		{"tcp", ":80", "[2001:db8::7]:80", "[2001:db8::7]:80", "[2001:db8::1]:32768"},
		{"tcp4", ":80", "203.0.113.9:80", "203.0.113.9:80", "192.0.2.1:32768"},
		{"tcp", ":0", "localhost:32768", "127.0.0.1:32768", "127.0.0.1:32769"},
	} {
		t.Run(tc.network+" "+tc.listen+" "+tc.dial, func(t *testing.T) {
			bubble(t, memnet.Config{}, func(lab *lab) {
				l, err := lab.Listen(tc.network, tc.listen, 0, nil)
				require.NoError(t, err)
				client, err := lab.Dial(tc.network, tc.dial)
				require.NoError(t, err)
				server, err := l.Accept()
				require.NoError(t, err)
				require.Equal(t, tc.server, client.RemoteAddr().String())
				require.Equal(t, tc.server, server.LocalAddr().String())
				require.Equal(t, tc.client, client.LocalAddr().String())
				require.Equal(t, tc.client, server.RemoteAddr().String())
				require.IsType(t, &net.TCPAddr{}, l.Addr())
			})
		})
	}
}

// The listener bound to an address goes before the one for all; tcp4 and tcp6
// keep to their own.
func TestWhoListens(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		_, err := lab.Listen("tcp4", ":80", 0, nil)
		require.NoError(t, err)
		_, err = lab.Dial("tcp", "[::1]:80")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		six, err := lab.Listen("tcp6", ":80", 0, nil)
		require.NoError(t, err)
		_, err = lab.Dial("tcp", "[::1]:80")
		require.NoError(t, err)
		require.Equal(t, 1, six.Stats().AcceptQueue)
	})
}

func TestLocalAddr(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		lab.listen(20, nil)
		dial := func(from net.Addr) (net.Conn, error) {
			d := memnet.Dialer{Network: lab.Network, LocalAddr: from}
			return d.Dial("tcp", "shop:80")
		}
		c, err := dial(&net.TCPAddr{IP: net.IPv4(203, 0, 113, 5), Port: 4000})
		require.NoError(t, err)
		require.Equal(t, "203.0.113.5:4000", c.LocalAddr().String())
		_, err = dial(&net.TCPAddr{IP: net.IPv4(203, 0, 113, 5), Port: 4000})
		require.EqualError(t, err, "dial tcp 203.0.113.5:4000->198.18.0.1:80: bind: address already in use")
		c, err = dial(&net.TCPAddr{Port: 4000})
		require.NoError(t, err)
		require.Equal(t, "192.0.2.1:4000", c.LocalAddr().String())
		_, err = dial(&net.TCPAddr{IP: net.IPv6loopback})
		require.ErrorContains(t, err, "mismatched local address type")
		_, err = dial(&net.UDPAddr{})
		require.ErrorContains(t, err, "mismatched local address type")
	})
}

// Ports are free again once both ends are closed, and run out if they are not.
func TestPortsRunOut(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		const ports = 60999 - 32768 + 1
		l := lab.listen(5, nil)
		for range ports + 1 {
			server, client := lab.pair(l)
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
		}
		var last *memnet.Conn
		for range ports {
			c := lab.dial()
			last = lab.accept(l)
			_ = c
		}
		_, err := lab.Dial("tcp", "shop:80")
		require.EqualError(t, err, "dial tcp 198.18.0.1:80: connect: cannot assign requested address")
		require.NoError(t, last.Close())
	})
}

func TestNetworkClose(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		l := lab.listen(0, nil)
		server, client := lab.pair(l)
		queued := lab.dial()
		dialing := lab.dialing()
		accepting := make(chan error, 1)
		other, err := lab.Listen("tcp", "other:80", 0, nil)
		require.NoError(t, err)
		go func() { _, err := other.Accept(); accepting <- err }()
		time.Sleep(100 * ms)

		require.NoError(t, lab.Network.Close())
		require.ErrorIs(t, lab.Network.Close(), net.ErrClosed)
		require.Equal(t, "closed", (<-dialing).end)
		require.ErrorIs(t, <-accepting, net.ErrClosed)
		for _, c := range []*memnet.Conn{server, client, queued} {
			_, err := c.Read(make([]byte, 1))
			requireErrno(t, syscall.ECONNRESET, err)
			require.NoError(t, c.Close())
		}
		_, err = lab.Dial("tcp", "shop:80")
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = lab.Listen("tcp", "new:80", 0, nil)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// The same seed gives the same decisions, to the last number.
func TestSeed(t *testing.T) {
	trace := func(seed uint64) (lines []string) {
		cfg := memnet.Config{Seed: seed, Observe: func(now time.Duration, out listenq.Outcome) {
			lines = append(lines, fmt.Sprint(now, out, out.Seq, out.Ack))
		}}
		bubble(t, cfg, func(lab *lab) {
			lab.listen(0, nil)
			lab.dial()
			<-lab.dialing()
		})
		return lines
	}
	one := trace(1)
	require.Len(t, one, 2+11)
	require.Equal(t, one, trace(1))
	require.NotEqual(t, one, trace(2))
}

func TestHTTP(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		l, err := lab.Listen("tcp", "shop.example:80", 5, nil)
		require.NoError(t, err)
		srv := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				time.Sleep(s)
				w.Write(body)
			}
		})}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		transport := &http.Transport{DialContext: lab.DialContext}
		web := http.Client{Transport: transport}
		start := lab.now()
		for i := range 3 {
			body := make([]byte, 300_000)
			body[i] = 1
			resp, err := web.Post("http://shop.example/", "text/plain", &reader{body})
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got), "%d bytes", len(got))
			require.NoError(t, resp.Body.Close())
		}
		require.GreaterOrEqual(t, lab.now(), start+3*s)
		require.EqualValues(t, 1, l.Stats().Counters.PassiveOpens, "kept alive")
		transport.CloseIdleConnections()
		require.NoError(t, srv.Shutdown(lab.t.Context()))
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
}

// reader hides the length of a body, so that it is sent in chunks.
type reader struct{ rest []byte }

func (r *reader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
