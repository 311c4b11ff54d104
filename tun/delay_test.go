package tun

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/faketime"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// numberedDispatcher notes the numbers in the packets that it gets.
type numberedDispatcher struct{ got []uint32 }

func (d *numberedDispatcher) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	v := pkt.ToView()
	d.got = append(d.got, binary.BigEndian.Uint32(v.AsSlice()[20:]))
	v.Release()
}
func (*numberedDispatcher) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

// delayed is a Delay over a pipe, both driven by hand.
type delayed struct {
	*Delay
	clock *faketime.ManualClock
	far   *MemLink
	seen  numberedDispatcher
}

func newDelayed(t *testing.T, delay time.Duration, queueLen int) *delayed {
	t.Helper()
	near, far := Pipe(PipeConfig{Manual: true})
	d := &delayed{clock: faketime.NewManualClock(), far: far}
	d.Delay = NewDelay(near, DelayConfig{Delay: delay, QueueLen: queueLen, Clock: d.clock})
	far.Attach(&d.seen)
	t.Cleanup(d.Delay.Close)
	t.Cleanup(far.Close)
	return d
}

// write sends numbered IPv4 packets in one call.
func (d *delayed) write(t *testing.T, numbers ...uint32) {
	t.Helper()
	var pkts gstack.PacketBufferList
	defer func() { pkts.DecRef() }()
	for _, n := range numbers {
		b := make([]byte, 24)
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], 24)
		binary.BigEndian.PutUint32(b[20:], n)
		pkts.PushBack(gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)}))
	}
	n, err := d.WritePackets(pkts)
	require.Nil(t, err)
	require.Equal(t, len(numbers), n)
}

// arrived returns the numbers that have come out at the far end so far.
func (d *delayed) arrived() []uint32 {
	for d.far.Deliver() > 0 {
	}
	return d.seen.got
}

func TestDelayIsConstantAndKeepsOrder(t *testing.T) {
	d := newDelayed(t, 100*time.Millisecond, 0)
	d.write(t, 1, 2)
	d.clock.Advance(40 * time.Millisecond)
	d.write(t, 3)
	d.clock.Advance(59 * time.Millisecond)
	require.Empty(t, d.arrived(), "at 99 ms")
	d.clock.Advance(time.Millisecond)
	require.Equal(t, []uint32{1, 2}, d.arrived(), "at 100 ms")
	d.clock.Advance(39 * time.Millisecond)
	require.Equal(t, []uint32{1, 2}, d.arrived(), "at 139 ms")
	d.clock.Advance(time.Millisecond)
	require.Equal(t, []uint32{1, 2, 3}, d.arrived(), "at 140 ms")
	require.Zero(t, d.Pending())

	d.write(t, 4) // after it was idle
	d.clock.Advance(100 * time.Millisecond)
	require.Equal(t, []uint32{1, 2, 3, 4}, d.arrived())
}

func TestDelayIsBounded(t *testing.T) {
	d := newDelayed(t, time.Second, 2)
	d.write(t, 1, 2, 3)
	d.write(t, 4)
	require.Equal(t, 2, d.Pending())
	require.EqualValues(t, 2, d.Dropped())
	d.clock.Advance(time.Second)
	require.Equal(t, []uint32{1, 2}, d.arrived())
	d.write(t, 5)
	d.clock.Advance(time.Second)
	require.Equal(t, []uint32{1, 2, 5}, d.arrived(), "there is room again")
}

func TestDelayCloseDropsWhatWaits(t *testing.T) {
	d := newDelayed(t, time.Second, 0)
	d.write(t, 1, 2)
	d.Close()
	require.Zero(t, d.Pending())
	d.clock.Advance(2 * time.Second)
	require.Empty(t, d.arrived())
	_, err := d.WritePackets(gstack.PacketBufferList{})
	require.IsType(t, &tcpip.ErrClosedForSend{}, err)
	d.Close()
}

func TestDelayOfNothing(t *testing.T) {
	d := newDelayed(t, -time.Second, 0)
	d.write(t, 1)
	d.clock.Advance(0)
	require.Equal(t, []uint32{1}, d.arrived())
}
