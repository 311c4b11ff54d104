package stack_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// crowd finishes the handshakes of many clients.
func crowd(lab *stacktest.Lab, l *stacktest.Listener, n int) []*stacktest.Peer {
	var all []*stacktest.Peer
	for i := range n {
		p := lab.Peer(fmt.Sprint("client ", i), l)
		p.Handshake()
		all = append(all, p)
	}
	return all
}

// What is promoted is not lost because a processor is slow: netstack reads the
// synthetic SYNs when it has the time, an hour later too, and nobody is reset.
func TestSlowProcessorLosesNothing(t *testing.T) {
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		lab := stacktest.New(t, stacktest.Config{})
		l := lab.Listen(address, 4096, nil)
		release := l.Stack().Hold()
		all := crowd(lab, l, 100)
		all[0].Data("early")
		for range 60 {
			lab.Advance(time.Minute)
		}
		release()
		lab.Advance(0)
		require.Zero(t, lab.Stack().Drops().GraftFailures)
		require.Equal(t, "early", l.Accept().Read())
		for _, p := range all[1:] {
			c := l.Accept()
			require.Equal(t, p.Name(), c.Client())
			p.ExpectNothing()
			c.Write("hello")
			p.Expect("ACK seq=1 len=5")
		}
		_, err := l.TryAccept()
		require.ErrorIs(t, err, syscall.EAGAIN)
	}
}

// Nor is one lost for which netstack has an endpoint but no time to look at the
// final ACK.
func TestSlowProcessorAfterTheSYN(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen("192.0.2.1:80", 5, nil)
	held := stack.Hold(lab.Stack(), tcp.StateSynRecv)
	p := lab.Peer("alice", l)
	p.Handshake()
	for range 60 {
		lab.Advance(time.Minute)
	}
	_, err := l.TryAccept()
	require.ErrorIs(t, err, syscall.EAGAIN)
	held.Release()
	lab.Advance(0)
	p.ExpectNothing()
	l.Accept().Write("hello")
	p.Expect("ACK seq=1 len=5")
}

// A connection is lost when netstack cannot take it, because its address is gone. It
// is counted, its client is reset, Accept returns it dead, and however many they are,
// the operator reads a line a second.
func TestLostConnections(t *testing.T) {
	var lines bytes.Buffer
	lab := stacktest.New(t, stacktest.Config{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	l := lab.Listen("192.0.2.1:80", 4096, nil)
	release := l.Stack().Hold()
	all := crowd(lab, l, 100)
	all[0].Data("early")
	g := lab.Stack().Netstack()
	for nic := range g.NICInfo() {
		require.Nil(t, g.RemoveAddress(nic, tcpip.AddrFrom4(netip.MustParseAddr("192.0.2.1").As4())))
	}
	release()
	lab.Advance(time.Second)
	all[0].ExpectNothing() // it may have been an accident
	lab.Advance(10 * time.Second)
	require.Equal(t, uint64(100), lab.Stack().Drops().GraftFailures)
	for _, p := range all {
		p.Expect("RST seq=1")
		p.ExpectNothing()
		c := l.Accept()
		c.ExpectReadError(syscall.ECONNRESET)
	}
	lab.Advance(time.Minute)
	told := 0
	text := strings.Split(strings.TrimSpace(lines.String()), "\n")
	for _, line := range text {
		var also int
		_, held, _ := strings.Cut(line, "held_back=")
		_, err := fmt.Sscan(held, &also)
		require.NoError(t, err)
		told += 1 + also
	}
	require.Contains(t, text[0], "listener=192.0.2.1:80 client=192.0.2.")
	require.Less(t, len(text), 5, lines.String())
	require.Equal(t, 100, told, lines.String())
}

// A connection that dies before it is established is lost, and Accept and poll
// hear of it.
func TestConnectionDiesBeforeItIsEstablished(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen("192.0.2.1:80", 5, nil)
	held := stack.Hold(lab.Stack(), tcp.StateSynRecv)
	p := lab.Peer("alice", l)
	p.Handshake()
	told := make(chan struct{}, 1)
	entry := waiter.NewFunctionEntry(waiter.ReadableEvents, func(waiter.EventMask) { told <- struct{}{} })
	require.NoError(t, l.Stack().EventRegister(&entry))
	require.Zero(t, l.Stack().Readiness(waiter.ReadableEvents))
	held.Abort()
	<-told
	require.NotZero(t, l.Stack().Readiness(waiter.ReadableEvents))
	l.Accept().ExpectReadError(syscall.ECONNRESET)
	require.Equal(t, uint64(1), lab.Stack().Drops().GraftFailures)
}

// Close resets what nobody has accepted, in order, whatever netstack has got to.
func TestCloseBeforeNetstackHasRead(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen("192.0.2.1:80", 5, nil)
	first := lab.Peer("alice", l)
	first.Handshake()
	held := stack.Hold(lab.Stack(), tcp.StateListen)
	second := lab.Peer("bob", l)
	second.Handshake()
	l.Close()
	first.Expect("RST-ACK seq=1")
	second.Expect("RST seq=1")
	held.Release()
	lab.Advance(time.Hour)
	first.ExpectNothing()
	second.Expect("RST-ACK") // netstack's, to a SYN that the client has never sent
	second.ExpectNothing()
	require.Zero(t, lab.Stack().Drops().GraftFailures)
}
