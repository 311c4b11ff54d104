package memnet_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ulisten/ulisten/listenq/memnet"
)

// bothLatencies runs a test on a network without delay and on one with 10 ms.
func bothLatencies(t *testing.T, f func(lab *lab, latency time.Duration)) {
	for _, latency := range []time.Duration{0, 10 * ms} {
		t.Run("latency="+latency.String(), func(t *testing.T) {
			bubble(t, memnet.Config{Latency: latency}, func(lab *lab) { f(lab, latency) })
		})
	}
}

func send(t *testing.T, c io.Writer, text string) {
	t.Helper()
	n, err := io.WriteString(c, text)
	require.NoError(t, err)
	require.Equal(t, len(text), n)
}

func receive(t *testing.T, c *memnet.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	require.Equal(t, want, string(b))
}

func requireEOF(t *testing.T, c *memnet.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
}

func requireErrno(t *testing.T, want syscall.Errno, err error) {
	t.Helper()
	require.ErrorIs(t, err, want)
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	var call *os.SyscallError
	require.ErrorAs(t, err, &call)
}

func TestDataTakesItsTime(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		start := lab.now()
		send(t, client, "request")
		require.Equal(t, start, lab.now())
		receive(t, server, "request")
		require.Equal(t, start+latency, lab.now())
		send(t, server, "response")
		receive(t, client, "response")
		require.Equal(t, start+2*latency, lab.now())
	})
}

func TestHalfClose(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		send(t, client, "last words")
		require.NoError(t, client.CloseWrite())
		require.NoError(t, client.CloseWrite(), "again does nothing")
		_, err := client.Write([]byte("more"))
		requireErrno(t, syscall.EPIPE, err)
		receive(t, server, "last words")
		requireEOF(t, server)
		send(t, server, "answer")
		receive(t, client, "answer")
		require.NoError(t, server.Close())
		requireEOF(t, client)
	})
}

func TestCloseRead(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		send(t, client, "lost")
		require.NoError(t, server.CloseRead())
		requireEOF(t, server)
		send(t, client, strings.Repeat("lost too ", 100_000))
		time.Sleep(s)
		requireEOF(t, server)
		send(t, server, "still there")
		receive(t, client, "still there")
		require.NoError(t, server.Close())
		requireEOF(t, client)
	})
}

// A writer waits when the peer does not read; both buffers count.
func TestBackPressure(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		client.SetWriteDeadline(time.Now().Add(s))
		n, err := client.Write(make([]byte, 1<<20))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 128<<10, n)

		require.NoError(t, server.SetReadBuffer(1))
		require.NoError(t, client.SetWriteBuffer(2))
		client.SetWriteDeadline(time.Time{})
		_, err = io.CopyN(io.Discard, server, 128<<10)
		require.NoError(t, err)
		time.Sleep(s)
		client.SetWriteDeadline(time.Now().Add(s))
		n, err = client.Write([]byte("12345"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 3, n)

		start := lab.now()
		client.SetWriteDeadline(time.Time{})
		lab.after(s, func() { receive(t, server, "123") })
		send(t, client, "67")
		require.Equal(t, start+s+latency, lab.now(), "the news that there is room takes its time too")
		receive(t, server, "67")
	})
}

func TestBufferSizes(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		c, _ := lab.pair(lab.listen(5, nil))
		for _, size := range []int{-1, 0, 64<<20 + 1} {
			requireErrno(t, syscall.EINVAL, c.SetReadBuffer(size))
			requireErrno(t, syscall.EINVAL, c.SetWriteBuffer(size))
		}
	})
}

// What was written before Close arrives, then the end.
func TestCloseDelivers(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		send(t, server, "good bye")
		require.NoError(t, server.Close())
		time.Sleep(s)
		receive(t, client, "good bye")
		requireEOF(t, client)

		send(t, client, "too late")
		time.Sleep(s)
		_, err := client.Write([]byte("x"))
		requireErrno(t, syscall.EPIPE, err)
		requireEOF(t, client)
	})
}

// A Close that leaves data unread resets the connection, and so does one with
// SO_LINGER 0; what was on its way before is read first, and the error comes once.
func TestCloseResets(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, server, client *memnet.Conn){
		"unread data": func(t *testing.T, server, client *memnet.Conn) { send(t, client, "unread") },
		"linger 0":    func(t *testing.T, server, client *memnet.Conn) { require.NoError(t, server.SetLinger(0)) },
	} {
		t.Run(name, func(t *testing.T) {
			bothLatencies(t, func(lab *lab, latency time.Duration) {
				server, client := lab.pair(lab.listen(5, nil))
				send(t, server, "first")
				test(t, server, client)
				time.Sleep(s)
				require.NoError(t, server.Close())
				time.Sleep(s)
				receive(t, client, "first")
				_, err := client.Read(make([]byte, 1))
				requireErrno(t, syscall.ECONNRESET, err)
				requireEOF(t, client)
				_, err = client.Write([]byte("x"))
				requireErrno(t, syscall.EPIPE, err)
				requireErrno(t, syscall.ENOTCONN, client.CloseWrite())
			})
		})
	}
}

// Data that meets a closed socket is answered by RST, also when it was on its
// way at the Close.
func TestDataForAClosedSocket(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		send(t, client, "on its way")
		if latency == 0 {
			require.NoError(t, server.Close())
		} else {
			require.NoError(t, server.Close())
			send(t, client, "more")
		}
		time.Sleep(s)
		_, err := client.Write([]byte("x"))
		if latency == 0 {
			requireErrno(t, syscall.ECONNRESET, err)
		} else {
			requireErrno(t, syscall.EPIPE, err) // the FIN had come before the RST
		}
	})
}

func TestWriterLearnsOfAReset(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		lab.after(s, func() {
			server.SetLinger(0)
			server.Close()
		})
		start := lab.now()
		_, err := client.Write(make([]byte, 1<<20))
		requireErrno(t, syscall.ECONNRESET, err)
		require.Equal(t, start+s+latency, lab.now())
		_, err = client.Write([]byte("x"))
		requireErrno(t, syscall.EPIPE, err)
	})
}

func TestUseAfterClose(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		_, c := lab.pair(lab.listen(5, nil))
		require.NoError(t, c.Close())
		_, read := c.Read(make([]byte, 1))
		_, write := c.Write([]byte("x"))
		for op, err := range map[string]error{
			"read": read, "write": write, "close": c.Close(), "close read": c.CloseRead(), "close write": c.CloseWrite(),
			"linger": c.SetLinger(0), "buffer": c.SetReadBuffer(1), "deadline": c.SetDeadline(time.Now()),
		} {
			require.ErrorIs(t, err, net.ErrClosed, op)
		}
		require.EqualError(t, read, "read tcp 192.0.2.1:32768->198.18.0.1:80: use of closed network connection")
	})
}

// Close wakes whoever waits.
func TestCloseWakes(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		_, c := lab.pair(lab.listen(5, nil))
		ends := make(chan error, 2)
		go func() { _, err := c.Read(make([]byte, 1)); ends <- err }()
		go func() { _, err := c.Write(make([]byte, 1<<20)); ends <- err }()
		time.Sleep(s)
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-ends, net.ErrClosed)
		require.ErrorIs(t, <-ends, net.ErrClosed)
	})
}

func TestZeroLength(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		_, c := lab.pair(lab.listen(5, nil))
		n, err := c.Read(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = c.Write(nil)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// Two Writes at a time do not mix, however small the buffers are.
func TestWritesDoNotMix(t *testing.T) {
	bothLatencies(t, func(lab *lab, latency time.Duration) {
		server, client := lab.pair(lab.listen(5, nil))
		require.NoError(t, server.SetReadBuffer(1))
		require.NoError(t, client.SetWriteBuffer(2))
		for _, text := range []string{"aaaaaaaaaa", "bbbbbbbbbb"} {
			go func() { send(t, client, text) }()
		}
		b := make([]byte, 20)
		_, err := io.ReadFull(server, b)
		require.NoError(t, err)
		require.Contains(t, []string{"aaaaaaaaaabbbbbbbbbb", "bbbbbbbbbbaaaaaaaaaa"}, string(b))
	})
}

// Whatever the sizes of buffers, writes and reads, the bytes that come out are
// those that went in.
func TestStreamIsAStream(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(r, "data")
		sizes := func(name string) func() int {
			all := rapid.SliceOfN(rapid.IntRange(1, 700), 1, 5).Draw(r, name)
			i := 0
			return func() int { i++; return all[i%len(all)] }
		}
		writes, reads := sizes("writes"), sizes("reads")
		rbuf, wbuf := rapid.IntRange(1, 900).Draw(r, "read buffer"), rapid.IntRange(1, 900).Draw(r, "write buffer")
		latency := rapid.SampledFrom([]time.Duration{0, ms}).Draw(r, "latency")
		var got []byte
		bubble(t, memnet.Config{Latency: latency}, func(lab *lab) {
			server, client := lab.pair(lab.listen(5, nil))
			require.NoError(t, server.SetReadBuffer(rbuf))
			require.NoError(t, client.SetWriteBuffer(wbuf))
			go func() {
				for rest := data; len(rest) > 0; {
					n, err := client.Write(rest[:min(len(rest), writes())])
					require.NoError(t, err)
					rest = rest[n:]
				}
				require.NoError(t, client.Close())
			}()
			b := make([]byte, 1000)
			for {
				n, err := server.Read(b[:reads()])
				got = append(got, b[:n]...)
				if err == io.EOF {
					return
				}
				require.NoError(t, err)
			}
		})
		require.True(r, bytes.Equal(data, got))
	})
}
