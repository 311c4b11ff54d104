package stack_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/stack"
)

// datagramPacket is a UDP packet to 192.0.2.1, port 9.
func datagramPacket(from [4]byte) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize)
	h := header.IPv4(b)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: tcpip.AddrFrom4(from), DstAddr: tcpip.AddrFrom4([4]byte{192, 0, 2, 1}),
	})
	h.SetChecksum(^h.CalculateChecksum())
	header.UDP(b[header.IPv4MinimumSize:]).Encode(&header.UDPFields{SrcPort: 1000, DstPort: 9, Length: header.UDPMinimumSize})
	return b
}

// What is remembered of destinations is bounded, and forgotten when it means nothing
// any more; nobody gets more for it.
func TestICMPBudgetsAreBounded(t *testing.T) {
	w, clock := newWire(), stack.NewVirtualClock()
	s, err := stack.New(stack.Config{Link: w, Addresses: []netip.Prefix{serverPrefix4}, Clock: clock})
	require.NoError(t, err)
	defer s.Close()
	const often = "1000000"
	require.NoError(t, s.SetSysctl("net.ipv4.icmp_msgs_per_sec", often))
	require.NoError(t, s.SetSysctl("net.ipv4.icmp_msgs_burst", often))
	same := datagramPacket([4]byte{198, 51, 100, 7})
	for range 10 {
		w.deliver(same)
	}
	require.EqualValues(t, 4, s.Drops().OutRateLimitHost)

	const hosts = 30_000
	for i := range uint16(hosts) {
		from := [4]byte{198, 18}
		binary.BigEndian.PutUint16(from[2:], i)
		w.deliver(datagramPacket(from))
	}
	require.LessOrEqual(t, stack.ICMPBudgets(s), 2*8192)
	require.Greater(t, stack.ICMPBudgets(s), 8192)

	for range 2 {
		clock.Advance(6 * time.Second)
		w.deliver(same)
	}
	require.LessOrEqual(t, stack.ICMPBudgets(s), 2)
	require.EqualValues(t, 4, s.Drops().OutRateLimitHost)
}

func TestNoSegmentBetweenIPVersions(t *testing.T) {
	four, six, mapped := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1")
	require.True(t, stack.SegmentBetween(four, four))
	require.True(t, stack.SegmentBetween(six, six))
	require.True(t, stack.SegmentBetween(six, mapped))
	require.False(t, stack.SegmentBetween(six, four))
	require.False(t, stack.SegmentBetween(four, six))
}

// An address has one form.
func TestMappedAddressOfItsOwn(t *testing.T) {
	_, err := stack.New(stack.Config{Link: newWire(), Addresses: []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.1/120")}})
	require.EqualError(t, err, "stack: address ::ffff:192.0.2.1/120: use the IPv4 form, 192.0.2.1")
}
