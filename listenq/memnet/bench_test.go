package memnet_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq/memnet"
)

// A pairer makes accepted connections, server first.
type pairer func() (server, client net.Conn)

func overMemnet(b *testing.B) pairer {
	n := memnet.New(memnet.Config{})
	l, err := n.Listen("tcp", "shop:80", 128, nil)
	require.NoError(b, err)
	b.Cleanup(func() { n.Close() })
	return over(b, l, n.Dial)
}

func overLoopback(b *testing.B) pairer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	return over(b, l, net.Dial)
}

func over(b *testing.B, l net.Listener, dial func(network, address string) (net.Conn, error)) pairer {
	address := l.Addr().String()
	return func() (net.Conn, net.Conn) {
		client, err := dial("tcp", address)
		require.NoError(b, err)
		server, err := l.Accept()
		require.NoError(b, err)
		return server, client
	}
}

func overPipe(*testing.B) pairer { return net.Pipe }

// versus runs work n times over each kind of connection in turns, ten a time, and
// reports how much faster this package is than the others.
func versus(b *testing.B, work func(pairer)) {
	kinds := []struct {
		name  string
		pairs pairer
		spent time.Duration
	}{{"memnet", overMemnet(b), 0}, {"loopback", overLoopback(b), 0}, {"pipe", overPipe(b), 0}}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		k := &kinds[n/10%len(kinds)]
		start := time.Now()
		work(k.pairs)
		k.spent += time.Since(start)
		n++
	}
	if n < 100*len(kinds) {
		return
	}
	per := float64(n) / float64(len(kinds))
	b.ReportMetric(per/kinds[0].spent.Seconds(), "memnet/s")
	b.ReportMetric(kinds[1].spent.Seconds()/kinds[0].spent.Seconds(), "x-loopback")
	b.ReportMetric(kinds[2].spent.Seconds()/kinds[0].spent.Seconds(), "x-pipe")
}

// Connect, accept, close both ends.
func BenchmarkConnect(b *testing.B) {
	versus(b, func(pairs pairer) {
		server, client := pairs()
		client.Close()
		server.Close()
	})
}

// Connect, send 64 KiB one way in one goroutine while another reads, close.
func BenchmarkTransfer(b *testing.B) {
	data := make([]byte, 64<<10)
	versus(b, func(pairs pairer) {
		server, client := pairs()
		go func() {
			client.Write(data)
			client.Close()
		}()
		io.Copy(io.Discard, server)
		server.Close()
	})
}

// BenchmarkAllocations counts what one connection takes.
func BenchmarkAllocations(b *testing.B) {
	pairs := overMemnet(b)
	b.ReportAllocs()
	for b.Loop() {
		server, client := pairs()
		client.Close()
		server.Close()
	}
}
