//go:build linux

package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func TestForgedSYNIsWhatLinuxSends(t *testing.T) {
	b := make([]byte, synSize)
	forgeSYN(b, 70_000)
	ip := header.IPv4(b)
	require.True(t, ip.IsValid(len(b)))
	require.True(t, ip.IsChecksumValid())
	require.Equal(t, tcpip.AddrFrom4(serverAddr.As4()), ip.DestinationAddress())
	tcp := header.TCP(ip.Payload())
	require.True(t, tcp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(),
		checksum.Checksum(tcp.Payload(), 0), uint16(len(tcp.Payload()))))
	require.Equal(t, header.TCPFlagSyn, tcp.Flags())
	opts := header.ParseSynOptions(tcp.Options(), false)
	require.Equal(t, header.TCPSynOptions{MSS: 1460, WS: 7, TS: true, TSVal: 70_001, SACKPermitted: true}, opts)
}

func TestForgedFlowsAreDistinct(t *testing.T) {
	const flows = 200_000
	b := make([]byte, synSize)
	seen := map[netip.AddrPort]bool{}
	for i := range uint32(flows) {
		forgeSYN(b, i)
		src := header.IPv4(b).SourceAddress()
		addr := netip.AddrFrom4(src.As4())
		require.True(t, spoofPool.Contains(addr))
		seen[netip.AddrPortFrom(addr, header.TCP(b[header.IPv4MinimumSize:]).SourcePort())] = true
	}
	require.Len(t, seen, flows)
}

func TestCountersOfADevice(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    0    0    0     0          0         0        3        4    0    0    0     0       0          0
  tun0:   52000    1000    0    0    0     0          0         0    60000     1100    0    7    0     0       0          0
`
	c, err := parseCounters([]byte(text), "tun0")
	require.NoError(t, err)
	require.Equal(t, deviceCounters{taken: 1100, lost: 7, back: 1000}, c)
	_, err = parseCounters([]byte(text), "tun")
	require.ErrorContains(t, err, "no counters of tun")
}
