//go:build linux

package e2e

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
	"github.com/ulisten/ulisten/tun"
)

// closes closes the stack, which must not hang, and checks that nothing of it
// is left: no goroutine, no endpoint of netstack, no packet buffer.
func (l *lab) closes() {
	l.t.Helper()
	l.sluice.open()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.s.Close()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		require.FailNow(l.t, "Close hangs", "%v", stackGoroutines())
	}
	require.NoError(l.t, leftovers())
}

// A stack is closed in the middle of everything it does: with full queues, half
// open requests, final ACKs and fragments on their way, connections in all
// states, readers and writers that wait.
func TestCloseLeavesNothing(t *testing.T) {
	bothLinks(t, func(t *testing.T, offload tun.Offload) {
		lab := newLab(t, labConfig{offload: offload})
		for _, at := range []netip.AddrPort{http4, http6} {
			l := lab.listen(at, 3, nil)
			f := lab.halfOpen(l, at)
			for n := range 4 {
				c := lab.connected(netlabTo(at))
				_, err := c.Write([]byte("unread"))
				require.NoError(t, err)
				lab.depths(l, 4, n+1)
			}
			lab.connect(netlabTo(at)) // a SYN that is dropped
			s := segment{src: f.from(at, 6000), dst: at, flags: syn, seq: 1, window: 65535}
			f.send(s.fragment(s.tcp()[:16], 7, 0, true)) // half a SYN

			busy := lab.listen(netip.AddrPortFrom(at.Addr(), 81), 50, nil)
			for i := range 12 {
				client := lab.queued(busy, netip.AddrPortFrom(at.Addr(), 81))
				server := lab.accept(busy).(*stack.Conn)
				switch i % 6 {
				case 0: // a reader that waits
					server.SetDeadline(time.Time{})
					go server.Read(make([]byte, 1))
				case 1: // a writer that waits, and data that nobody takes
					server.SetDeadline(time.Time{})
					go server.Write(make([]byte, 64<<20))
				case 2: // data in the receive buffer
					go client.Write(make([]byte, 8<<20))
				case 3: // TIME-WAIT
					server.Close()
					client.Close()
				case 4: // FIN-WAIT-2 here
					server.Close()
				case 5: // CLOSE-WAIT here
					client.CloseWrite()
				}
			}
		}
		// Dials without an answer, and final ACKs that are held back.
		for range 3 {
			go lab.s.Dial("tcp", netip.AddrPortFrom(forger4, 80).String())
		}
		lab.sluice.hold(func(h header.TCP) bool { return h.Flags() == header.TCPFlagAck })
		for range 5 {
			lab.connect(netlab.ConnectConfig{Remote: netip.AddrPortFrom(stack4.Addr(), 81)})
		}
		lab.closes()
	})
}

// Stacks are closed under a storm of clients, which come and go as they like.
func TestCloseUnderLoad(t *testing.T) {
	for range 3 {
		lab := newLab(t, labConfig{})
		l := lab.listen(http4, 4, &stack.ListenOptions{Overflow: listenq.Overflow{ResetSYN: true}})
		go serve(l)
		stop := make(chan struct{})
		stopped := make(chan struct{})
		for range 8 {
			go func() {
				for {
					select {
					case <-stop:
						stopped <- struct{}{}
						return
					default:
						ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
						if c, err := lab.ns.Dial(ctx, "tcp", http4.String()); err == nil {
							c.SetDeadline(time.Now().Add(100 * time.Millisecond))
							c.Write([]byte("hello"))
							c.Read(make([]byte, 5))
							c.Close()
						}
						cancel()
					}
				}
			}()
		}
		lab.isTrue("clients are served", func() bool { return l.Stats().Counters.PassiveOpens > 200 })
		lab.s.Close()
		close(stop)
		for range 8 {
			<-stopped
		}
		lab.closes()
	}
}

// A thousand pairs of stacks come and go, each after one conversation. No timer
// or map holds on to any of them.
func TestOpenAndCloseManyTimes(t *testing.T) {
	rounds := 1000
	if raceEnabled {
		rounds = 200
	}
	var freed atomic.Int32
	count := func(struct{}) { freed.Add(1) }
	for range rounds {
		a, b := tun.Pipe(tun.PipeConfig{})
		server, err := stack.New(stack.Config{Link: a, Addresses: []netip.Prefix{stack4}})
		require.NoError(t, err)
		client, err := stack.New(stack.Config{Link: b, Addresses: []netip.Prefix{kernel4}})
		require.NoError(t, err)
		l, err := server.Listen("tcp", http4.String(), 1, nil)
		require.NoError(t, err)
		c, err := client.Dial("tcp", http4.String())
		require.NoError(t, err)
		require.NoError(t, l.SetDeadline(time.Now().Add(patience)))
		s, err := l.Accept()
		require.NoError(t, err, "%+v, %+v", l.Stats(), server.Drops())
		talk(t, c, s)
		require.NoError(t, server.Close())
		require.NoError(t, client.Close())
		runtime.AddCleanup(server, count, struct{}{})
		runtime.AddCleanup(client, count, struct{}{})
	}
	require.NoError(t, leftovers())
	// The last few may still be on this goroutine's stack.
	for deadline := time.Now().Add(patience); int(freed.Load()) < 2*rounds-4; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%d of %d stacks are still in memory", 2*rounds-int(freed.Load()), 2*rounds)
		runtime.GC()
	}
}

// The device is deleted under a stack at work: the link says so, and Close does
// not hang.
func TestDeviceDisappears(t *testing.T) {
	bothLinks(t, func(t *testing.T, offload tun.Offload) {
		lab := newLab(t, labConfig{offload: offload})
		l := lab.listen(http4, 4, nil)
		_, server := lab.pairOn(l, http4)
		lab.queued(l, http4)
		go server.Write(make([]byte, 64<<20))

		h, err := lab.ns.Netlink()
		require.NoError(t, err)
		defer h.Close()
		device, err := h.LinkByName(lab.link.Name())
		require.NoError(t, err)
		require.NoError(t, h.LinkDel(device))
		select {
		case <-lab.link.Done():
			require.Error(t, lab.link.Err())
			require.NotErrorIs(t, lab.link.Err(), net.ErrClosed)
		case <-time.After(patience):
			require.FailNow(t, "the link has not noticed")
		}
		lab.listen(netip.AddrPortFrom(stack4.Addr(), 81), 1, nil)
		lab.closes()
	})
}
