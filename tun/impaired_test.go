package tun

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/faketime"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// keepingDispatcher keeps the packets that it gets.
type keepingDispatcher struct{ packets [][]byte }

func (d *keepingDispatcher) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	v := pkt.ToView()
	d.packets = append(d.packets, slices.Clone(v.AsSlice()))
	v.Release()
}
func (*keepingDispatcher) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

// impaired is an Impaired over a pipe, both driven by hand.
type impaired struct {
	*Impaired
	clock *faketime.ManualClock
	far   *MemLink
	seen  keepingDispatcher
}

func newImpaired(t *testing.T, cfg Impairment) *impaired {
	t.Helper()
	near, far := Pipe(PipeConfig{Manual: true, QueueLen: 1 << 16})
	i := &impaired{clock: faketime.NewManualClock(), far: far}
	cfg.Clock = i.clock
	i.Impaired = NewImpaired(near, cfg)
	far.Attach(&i.seen)
	t.Cleanup(i.Impaired.Close)
	t.Cleanup(far.Close)
	return i
}

// numberedIPv4 is an IPv4 packet of 24 bytes with a number at its end.
func numberedIPv4(n uint32) []byte {
	b := make([]byte, 24)
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], 24)
	binary.BigEndian.PutUint32(b[20:], n)
	return b
}

// write sends numbered IPv4 packets in one call.
func (i *impaired) write(t *testing.T, numbers ...uint32) {
	t.Helper()
	var packets [][]byte
	for _, n := range numbers {
		packets = append(packets, numberedIPv4(n))
	}
	i.writePackets(t, packets...)
}

func (i *impaired) writePackets(t *testing.T, packets ...[]byte) {
	t.Helper()
	var pkts gstack.PacketBufferList
	defer func() { pkts.DecRef() }()
	for _, b := range packets {
		pkts.PushBack(gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)}))
	}
	n, err := i.WritePackets(pkts)
	require.Nil(t, err)
	require.Equal(t, len(packets), n)
}

// arrived returns the numbers that have come out at the far end so far.
func (i *impaired) arrived() (numbers []uint32) {
	for i.far.Deliver() > 0 {
	}
	for _, b := range i.seen.packets {
		numbers = append(numbers, binary.BigEndian.Uint32(b[20:]))
	}
	return numbers
}

func upTo(n uint32) (numbers []uint32) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

func TestDelayIsConstantAndKeepsOrder(t *testing.T) {
	i := newImpaired(t, Impairment{Delay: 100 * time.Millisecond})
	i.write(t, 1, 2)
	i.clock.Advance(40 * time.Millisecond)
	i.write(t, 3)
	i.clock.Advance(59 * time.Millisecond)
	require.Empty(t, i.arrived(), "at 99 ms")
	i.clock.Advance(time.Millisecond)
	require.Equal(t, []uint32{1, 2}, i.arrived(), "at 100 ms")
	i.clock.Advance(39 * time.Millisecond)
	require.Equal(t, []uint32{1, 2}, i.arrived(), "at 139 ms")
	i.clock.Advance(time.Millisecond)
	require.Equal(t, []uint32{1, 2, 3}, i.arrived(), "at 140 ms")
	require.Zero(t, i.Pending())

	i.write(t, 4) // after it was idle
	i.clock.Advance(100 * time.Millisecond)
	require.Equal(t, []uint32{1, 2, 3, 4}, i.arrived())
	require.Equal(t, ImpairedStats{Sent: 4}, i.Stats())
}

func TestImpairedQueueIsBounded(t *testing.T) {
	i := newImpaired(t, Impairment{Delay: time.Second, QueueLen: 2})
	i.write(t, 1, 2, 3)
	i.write(t, 4)
	require.Equal(t, 2, i.Pending())
	require.Equal(t, ImpairedStats{Sent: 4, Dropped: 2}, i.Stats())
	i.clock.Advance(time.Second)
	require.Equal(t, []uint32{1, 2}, i.arrived())
	i.write(t, 5)
	i.clock.Advance(time.Second)
	require.Equal(t, []uint32{1, 2, 5}, i.arrived(), "there is room again")
}

func TestDuplicatesNeedRoom(t *testing.T) {
	i := newImpaired(t, Impairment{Duplicate: 1, QueueLen: 3})
	i.write(t, 1, 2)
	i.clock.Advance(0)
	require.Equal(t, []uint32{1, 1, 2}, i.arrived())
	require.Equal(t, ImpairedStats{Sent: 2, Duplicated: 1}, i.Stats())
}

func TestImpairedCloseDropsWhatWaits(t *testing.T) {
	i := newImpaired(t, Impairment{Delay: time.Second})
	i.write(t, 1, 2)
	i.Close()
	require.Zero(t, i.Pending())
	i.clock.Advance(2 * time.Second)
	require.Empty(t, i.arrived())
	_, err := i.WritePackets(gstack.PacketBufferList{})
	require.IsType(t, &tcpip.ErrClosedForSend{}, err)
	i.Close()
}

func TestNegativeDelayIsNone(t *testing.T) {
	i := newImpaired(t, Impairment{Delay: -time.Second, Jitter: -time.Second, LateBy: -time.Second, Late: 1})
	i.write(t, 1)
	i.clock.Advance(0)
	require.Equal(t, []uint32{1}, i.arrived())
}

func TestJitterKeepsOrder(t *testing.T) {
	i := newImpaired(t, Impairment{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond})
	arrivals := make(map[int]bool)
	for n := range uint32(100) {
		i.write(t, n)
		i.clock.Advance(time.Millisecond)
		arrivals[len(i.arrived())] = true
	}
	require.LessOrEqual(t, len(i.arrived()), 90, "nothing is faster than Delay")
	i.clock.Advance(30 * time.Millisecond)
	require.Equal(t, upTo(100), i.arrived(), "nothing takes longer than Delay + Jitter")
	require.Less(t, len(arrivals), 60, "some arrived together")
}

func TestLossHasItsShare(t *testing.T) {
	const sent = 20_000
	for _, tc := range []struct {
		loss, burst  float64
		share, meanN float64 // that must come of it
	}{
		{0.1, 0, 0.1, 1 / 0.9},
		{0.1, 5, 0.1, 5},
		{0.5, 20, 0.5, 20},
		{0.9, 2, 2. / 3, 2},
		{1, 3, 1, sent},
		{0, 3, 0, 0},
	} {
		i := newImpaired(t, Impairment{Loss: tc.loss, LossBurst: tc.burst, QueueLen: sent})
		i.write(t, upTo(sent)...)
		i.clock.Advance(0)
		bursts, next := 0, uint32(0)
		for _, n := range append(i.arrived(), sent) {
			if n > next {
				bursts++
			}
			next = n + 1
		}
		lost := i.Stats().Lost
		require.EqualValues(t, sent, int(lost)+len(i.seen.packets))
		require.InDelta(t, tc.share, float64(lost)/sent, 0.03, "%+v", tc)
		if bursts > 0 {
			require.InEpsilon(t, tc.meanN, float64(lost)/float64(bursts), 0.15, "%+v", tc)
		}
	}
}

func TestLatePacketsAreOvertaken(t *testing.T) {
	i := newImpaired(t, Impairment{Delay: time.Millisecond, Late: 0.2, LateBy: 5 * time.Millisecond})
	for n := range uint32(200) {
		i.write(t, n)
		i.clock.Advance(time.Millisecond)
	}
	i.clock.Advance(5 * time.Millisecond)
	got := i.arrived()
	late := uint64(0)
	for at, n := range got {
		if at > 0 && slices.Max(got[:at]) > n {
			late++
			require.InDelta(t, slices.Max(got[:at]), n, 5, "late by 5 ms")
		}
	}
	require.InDelta(t, 40, late, 15)
	require.InDelta(t, late, i.Stats().Late, 3, "a late packet that only late ones follow is not overtaken")
	slices.Sort(got)
	require.Equal(t, upTo(200), got)
}

func TestRateAndQueue(t *testing.T) {
	// 24 bytes at 192,000 bit/s take a millisecond.
	i := newImpaired(t, Impairment{Rate: 192_000, Delay: 10 * time.Millisecond, QueueLen: 12})
	i.write(t, upTo(15)...)
	require.Equal(t, ImpairedStats{Sent: 15, Dropped: 3}, i.Stats())
	for ms := 1; ms <= 22; ms++ {
		i.clock.Advance(time.Millisecond)
		require.Len(t, i.arrived(), max(ms-10, 0), "at %d ms", ms)
	}
	i.write(t, 20) // the line is idle: it does not save up what it did not send
	i.write(t, 21)
	i.clock.Advance(11 * time.Millisecond)
	require.Len(t, i.arrived(), 13)
	i.clock.Advance(time.Millisecond)
	require.Len(t, i.arrived(), 14)
}

// tcpPacket is a segment with valid checksums.
func tcpPacket(ipv6 bool, payload int) []byte {
	src, dst := tcpip.AddrFrom4([4]byte{192, 0, 2, 1}), tcpip.AddrFrom4([4]byte{192, 0, 2, 2})
	ip := header.IPv4MinimumSize
	if ipv6 {
		src, dst = tcpip.AddrFrom16([16]byte{0x20, 1, 15: 1}), tcpip.AddrFrom16([16]byte{0x20, 1, 15: 2})
		ip = header.IPv6MinimumSize
	}
	b := make([]byte, ip+header.TCPMinimumSize+payload)
	size := uint16(len(b) - ip)
	if ipv6 {
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength: size, TransportProtocol: header.TCPProtocolNumber, HopLimit: 64, SrcAddr: src, DstAddr: dst,
		})
	} else {
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: src, DstAddr: dst})
		h.SetChecksum(^h.CalculateChecksum())
	}
	t := header.TCP(b[ip:])
	t.Encode(&header.TCPFields{SrcPort: 1000, DstPort: 80, SeqNum: 7, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagAck})
	for i := range payload {
		b[len(b)-1-i] = byte(i)
	}
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, size)
	t.SetChecksum(^checksum.Checksum(b[ip:], pseudo))
	return b
}

// intact reports whether all checksums of a packet of tcpPacket hold.
func intact(b []byte) bool {
	src, dst, ip := header.IPv4(b).SourceAddress(), header.IPv4(b).DestinationAddress(), header.IPv4MinimumSize
	if len(b) > 0 && header.IPVersion(b) == header.IPv6Version {
		src, dst, ip = header.IPv6(b).SourceAddress(), header.IPv6(b).DestinationAddress(), header.IPv6MinimumSize
	} else if checksum.Checksum(b[:ip], 0) != 0xffff {
		return false
	}
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, uint16(len(b)-ip))
	return checksum.Checksum(b[ip:], pseudo) == 0xffff
}

func TestCorruptionIsAlwaysCaughtByAChecksum(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		i := newImpaired(t, Impairment{Corrupt: 1, QueueLen: 1 << 16})
		original := tcpPacket(ipv6, 30)
		require.True(t, intact(original))
		kept := slices.Clone(original)
		places := make(map[int]bool)
		for range 2000 {
			i.writePackets(t, original)
		}
		i.clock.Advance(0)
		i.arrived()
		require.Equal(t, kept, original, "the sender's own copy")
		for _, b := range i.seen.packets {
			require.Len(t, b, len(original))
			var differ []int
			for at := range b {
				if b[at] != original[at] {
					differ = append(differ, at)
				}
			}
			require.Len(t, differ, 1)
			places[differ[0]] = true
			require.False(t, intact(b), "byte %d is %#x", differ[0], b[differ[0]])
		}
		covered := len(original)
		if ipv6 {
			covered -= 8 // version, class, flow label, length, next header, hop limit
		}
		// A changed version never gets through a pipe.
		require.GreaterOrEqual(t, len(places), covered-1)
		require.LessOrEqual(t, len(places), covered)
	}
}

// The same packets and the same seed have the same fate, and switching one
// impairment on does not change what others do.
func TestSeedsDecide(t *testing.T) {
	all := Impairment{Seed: 1, Loss: 0.1, LossBurst: 3, Duplicate: 0.1, Late: 0.1, LateBy: time.Millisecond, Corrupt: 0.1, Jitter: time.Millisecond}
	play := func(cfg Impairment) [][]byte {
		i := newImpaired(t, cfg)
		for n := range uint32(500) {
			i.write(t, n)
			i.clock.Advance(100 * time.Microsecond)
		}
		i.clock.Advance(time.Second)
		i.arrived()
		return i.seen.packets
	}
	first := play(all)
	require.Equal(t, first, play(all))
	other := all
	other.Seed = 2
	require.NotEqual(t, first, play(other))

	lossy := newImpaired(t, Impairment{Seed: 1, Loss: 0.1, LossBurst: 3})
	lossy.write(t, upTo(500)...)
	lossy.clock.Advance(0)
	all.Duplicate, all.Late, all.Corrupt, all.Jitter = 0.5, 0, 0, 0
	var numbers []uint32
	for _, b := range play(all) {
		numbers = append(numbers, binary.BigEndian.Uint32(b[20:]))
	}
	require.Equal(t, lossy.arrived(), slices.Compact(numbers))
}

// offloading is a link that takes large segments.
type offloading struct{ nested.Endpoint }

func (*offloading) SupportedGSO() gstack.SupportedGSO { return gstack.HostGSOSupported }
func (*offloading) GSOMaxSize() uint32                { return 65536 }

func TestOnlyDelayLeavesSegmentsWhole(t *testing.T) {
	for _, tc := range []struct {
		cfg   Impairment
		whole bool
	}{
		{Impairment{}, true},
		{Impairment{Delay: time.Second, Jitter: time.Second, LateBy: time.Second, LossBurst: 3}, true},
		{Impairment{Loss: 0.01}, false},
		{Impairment{Duplicate: 0.01}, false},
		{Impairment{Late: 0.01}, false},
		{Impairment{Corrupt: 0.01}, false},
		{Impairment{Rate: 1e6}, false},
	} {
		near, far := Pipe(PipeConfig{})
		defer far.Close()
		below := new(offloading)
		below.Init(near, below)
		i := NewImpaired(below, tc.cfg)
		defer i.Close()
		if tc.whole {
			require.Equal(t, gstack.HostGSOSupported, i.SupportedGSO(), "%+v", tc.cfg)
			require.EqualValues(t, 65536, i.GSOMaxSize())
		} else {
			require.Equal(t, gstack.GSONotSupported, i.SupportedGSO(), "%+v", tc.cfg)
			require.Zero(t, i.GSOMaxSize())
		}
	}
}

// In real time, with many writers, everything comes out, and Close leaves
// nothing behind.
func TestImpairedInRealTime(t *testing.T) {
	near, far := Pipe(PipeConfig{Manual: true, QueueLen: 4096})
	defer far.Close()
	i := &impaired{far: far}
	far.Attach(&i.seen)
	i.Impaired = NewImpaired(near, Impairment{Late: 0.3, LateBy: 200 * time.Microsecond, Delay: 100 * time.Microsecond, Jitter: 100 * time.Microsecond})
	done := make(chan struct{})
	for w := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := range uint32(250) {
				i.write(t, uint32(w)*250+n)
			}
		}()
	}
	for range 4 {
		<-done
	}
	require.Eventually(t, func() bool { return far.Pending() == 1000 }, 30*time.Second, time.Millisecond)
	i.write(t, 1000)
	i.Close()
	got := i.arrived()
	slices.Sort(got)
	require.Equal(t, upTo(1000), got[:1000])
}
