package stack_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
)

// recorder is a wire that notes what the stack sends and when.
type recorder struct {
	*wire
	clock   *stack.VirtualClock
	lines   []string
	lastSeq uint32
}

func (r *recorder) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		h := header.TCP(pkt.TransportHeader().Slice())
		if len(h) < header.TCPMinimumSize {
			continue // ICMP
		}
		r.lastSeq = h.SequenceNumber()
		r.lines = append(r.lines, fmt.Sprintf("%v %v %v", r.clock.Elapsed().Truncate(time.Millisecond), h.DestinationPort(), listenq.Flags(h.Flags())))
	}
	return pkts.Len(), nil
}

func virtualStack(t *testing.T) (*recorder, *stack.Stack) {
	clock := stack.NewVirtualClock()
	r := &recorder{wire: newWire(), clock: clock}
	s, err := stack.New(stack.Config{Link: r, Addresses: []netip.Prefix{serverPrefix4}, Clock: clock, Random: zeros{}})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return r, s
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestVirtualTimeSYNACKSchedule(t *testing.T) {
	r, s := virtualStack(t)
	l, err := s.Listen("tcp", ":80", 5, nil)
	require.NoError(t, err)
	r.deliver(synPacket(netip.MustParseAddrPort("192.0.2.9:1000"), 1))
	r.clock.Advance(62 * time.Second)
	require.Equal(t, 1, l.Stats().SYNQueue)
	r.clock.Advance(2 * time.Second)
	require.Zero(t, l.Stats().SYNQueue)
	require.Equal(t, []string{
		"0s 1000 SYN-ACK", "1s 1000 SYN-ACK", "3s 1000 SYN-ACK", "7s 1000 SYN-ACK", "15s 1000 SYN-ACK", "31s 1000 SYN-ACK",
	}, r.lines)
}

func TestVirtualTimeMisuse(t *testing.T) {
	clock := stack.NewVirtualClock()
	require.PanicsWithValue(t, "stack: virtual clock: Advance(-1s): time does not move backwards", func() { clock.Advance(-time.Second) })
	clock.Advance(time.Minute)
	require.Panics(t, func() { clock.AdvanceTo(time.Second) })
	clock.AfterFunc(time.Second, func() {
		require.Panics(t, func() { clock.Advance(time.Second) }, "a timer is not the driver")
	})
	clock.Advance(2 * time.Second)
}

func TestVirtualTimersFireInOrder(t *testing.T) {
	clock := stack.NewVirtualClock()
	var fired []string
	note := func(s string) func() { return func() { fired = append(fired, s) } }
	clock.AfterFunc(2*time.Second, note("c"))
	clock.AfterFunc(time.Second, note("a"))
	clock.AfterFunc(time.Second, note("b"))
	stopped := clock.AfterFunc(time.Second, note("never"))
	require.True(t, stopped.Stop())
	require.False(t, stopped.Stop())
	moved := clock.AfterFunc(time.Second, note("d"))
	moved.Reset(3 * time.Second)
	clock.Advance(10 * time.Second)
	require.Equal(t, "abcd", strings.Join(fired, ""))
	require.Equal(t, 10*time.Second, clock.Elapsed())
}

// On a machine that stalls, netstack's own SYN-ACK timer can fire for a
// connection whose final ACK it has not looked at yet. That SYN-ACK is swallowed
// like the first one and does the connection no harm.
func TestRepeatedSYNACKOfAGraft(t *testing.T) {
	r, s := virtualStack(t)
	l, err := s.Listen("tcp", ":80", 5, nil)
	require.NoError(t, err)
	client := netip.MustParseAddrPort("192.0.2.9:1000")
	r.deliver(synPacket(client, 1))
	r.deliver(segmentPacket(client, listenq.ACK, 2, r.lastSeq+1, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0}, 0))
	r.clock.Settle()
	sent := len(r.lines)
	stack.RepeatSYNACK(s, netip.MustParseAddrPort("192.0.2.1:80"), client)
	r.clock.Advance(time.Second)
	require.Len(t, r.lines, sent)
	require.Zero(t, s.Drops().Strays)
	c, err := l.TryAccept()
	require.NoError(t, err)
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
}
