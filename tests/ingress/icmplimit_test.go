//go:build linux

package ingress

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// probes are datagrams to a closed port.
func probes(n int, src func(i int) netip.Addr) (all [][]byte) {
	for i := range n {
		from := src(i)
		dst := host4
		if from.Is6() {
			dst = host6
		}
		all = append(all, ip(udp(from, dst, uint16(1000+i), closedPort, 10)))
	}
	return all
}

func same(a netip.Addr) func(int) netip.Addr { return func(int) netip.Addr { return a } }

// spread are addresses of as many hosts.
func spread(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }

// One source that sends to closed ports gets a handful of errors, and uses up
// nobody else's.
func TestICMPErrorsPerDestination(t *testing.T) {
	for _, tc := range []struct {
		limit string // so long that no more is allowed while the test runs
		want  int
	}{{"10000", 6}, {"20000", 3}, {"0", 50}} {
		for name, h := range map[string]host{"kernel": newKernel(t), "stack": newStack(t, 1)} {
			t.Run(name+" "+tc.limit, func(t *testing.T) {
				unlimited(h)
				h.set("net.ipv4.icmp_ratelimit", tc.limit)
				h.set("net.ipv6.icmp.ratelimit", tc.limit)
				for _, src := range []string{"192.0.2.77", "198.51.100.7", "2001:db8::78", "2001:db8:1::7"} {
					require.Len(t, h.answers(probes(50, same(addr(src)))...), tc.want, src)
				}
				if tc.limit != "0" {
					require.Empty(t, h.answers(probes(50, same(peer4))...), "used up")
				}
			})
		}
	}
}

// How many errors go out before the credit of all destinations is used up is left
// to chance: who counts his own learns nothing of those of others (CVE-2020-25705).
func TestICMPCreditIsRandom(t *testing.T) {
	hosts := map[string]func(seed byte) host{
		"kernel": func(byte) host { return newKernel(t) },
		"stack":  func(seed byte) host { return newStack(t, seed) },
	}
	for name, newHost := range hosts {
		t.Run(name, func(t *testing.T) {
			counts := make(map[int]bool)
			for seed := range byte(8) {
				h := newHost(seed)
				h.set("net.ipv4.icmp_msgs_per_sec", "50") // no more in the next moment
				n := len(h.answers(probes(200, spread)...))
				require.GreaterOrEqual(t, n, 25) // of a burst of 50, where each costs at most 2
				counts[n] = true
			}
			require.Greater(t, len(counts), 1)
		})
	}
}

// In the long run as many errors go out as icmp_msgs_per_sec says.
func TestICMPMessagesPerSecond(t *testing.T) {
	h := newStack(t, 1)
	h.set("net.ipv4.icmp_msgs_per_sec", "100")
	sent := 0
	for round := range 500 {
		sent += len(h.answers(probes(5, func(i int) netip.Addr { return spread(5*round + i) })...))
		h.clock.Advance(20 * time.Millisecond)
	}
	require.InDelta(t, 1000+50, sent, 100)
	drops := h.s.Drops()
	require.EqualValues(t, 2500, uint64(sent)+drops.OutRateLimitGlobal+drops.OutRateLimitHost, fmt.Sprintf("%+v", drops))
}
