//go:build linux && !race

package socket

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// Writing a megabyte at a time allocates in netstack, whose buffers hold the data,
// and nowhere in our layers between the call and the link.
func TestWriteAllocatesNothingOfOurs(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{MTU: 65520})
	open := func(link *tun.MemLink, addr string) *Process {
		s, err := stack.New(stack.Config{Link: link, Addresses: []netip.Prefix{netip.MustParsePrefix(addr)}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		p := NewNamespace(s).Process(16)
		t.Cleanup(p.CloseAll)
		return p
	}
	server, client := open(near, "192.0.2.1/24"), open(far, "192.0.2.2/24")
	l, addr := listening(t, server, 5)
	c := tcp4(t, client)
	require.NoError(t, client.Connect(c, addr))
	conn, _, err := server.Accept4(l, 0)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sink := make([]byte, 1<<20)
		for {
			if n, err := server.Read(conn, sink); n == 0 || err != nil {
				return
			}
		}
	}()
	chunk := make([]byte, 1<<20)
	write := func(times int) {
		for range times {
			n, err := client.Write(c, chunk)
			if n != len(chunk) || err != nil {
				t.Errorf("write: %d, %v", n, err)
			}
		}
	}
	write(20) // windows open, pools fill

	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	before := allocations(t)
	const writes = 100
	write(writes)
	after := allocations(t)
	runtime.MemProfileRate = rate
	require.NoError(t, client.Shutdown(c, unix.SHUT_WR))
	<-ended

	var below int64
	for where, n := range after {
		switch n -= before[where]; {
		case n == 0:
		case strings.HasPrefix(where, "github.com/ulisten/ulisten/stack"):
			// A pool that the collector has emptied is filled again.
			require.Less(t, n, int64(writes/2), where)
		default:
			below += n
		}
	}
	require.NotZero(t, below, "the profile sees what netstack allocates")
}

// allocations returns how many objects were allocated so far below Process.Write, by
// the function that allocated them.
func allocations(t *testing.T) map[string]int64 {
	runtime.GC() // the profile is as of the last but one collection
	runtime.GC()
	n, _ := runtime.MemProfile(nil, true)
	records := make([]runtime.MemProfileRecord, n+1000)
	n, ok := runtime.MemProfile(records, true)
	require.True(t, ok)
	counts := make(map[string]int64)
	for _, r := range records[:n] {
		frames := runtime.CallersFrames(r.Stack())
		where, inWrite := "", false
		for {
			f, more := frames.Next()
			if where == "" && !strings.HasPrefix(f.Function, "runtime.") {
				where = f.Function
			}
			inWrite = inWrite || strings.HasSuffix(f.Function, "(*Process).Write")
			if !more {
				break
			}
		}
		if inWrite {
			counts[where] += r.AllocObjects
		}
	}
	return counts
}
