package stack_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/stack/stacktest"
)

// waiting returns a client that was sent 1400 bytes, and has not acknowledged them.
func waiting(t *testing.T, address string) (*stacktest.Lab, *stacktest.Peer) {
	lab := stacktest.New(t, stacktest.Config{Addresses: []netip.Prefix{netip.MustParsePrefix(address)}})
	p, c := established(lab)
	c.Write(strings.Repeat("x", 1400))
	p.Expect("ACK seq=1 len=1400")
	return lab, p
}

// "Packet too big" counts only if it quotes a number in flight, and down to a floor: the
// values are a kernel's.
func TestTooBigHasAFloor(t *testing.T) {
	for mtu, most := range map[uint32]int{0: 512, 68: 512, 500: 512, 551: 512, 552: 512, 600: 560, 1279: 1239, 1280: 1240} {
		t.Run(fmt.Sprint("IPv4 ", mtu), func(t *testing.T) {
			lab, p := waiting(t, "192.0.2.2/24")
			p.SendICMP(stacktest.ICMPError{Type: 3, Code: 4, Seq: 1, MTU: mtu})
			got := len(p.Expect("ACK seq=1").Payload)
			require.LessOrEqual(t, got, most)
			require.Greater(t, got, most-45, "netstack keeps room for options")
			lab.ExpectCounter("OutOfWindowIcmps", 0)
		})
	}
	for mtu, most := range map[uint32]int{1280: 1220, 1400: 1340} {
		t.Run(fmt.Sprint("IPv6 ", mtu), func(t *testing.T) {
			_, p := waiting(t, "2001:db8::2/64")
			p.SendICMP(stacktest.ICMPError{Type: 2, Seq: 1, MTU: mtu})
			got := len(p.Expect("ACK seq=1").Payload)
			require.LessOrEqual(t, got, most)
			require.Greater(t, got, most-45, "netstack keeps room for options")
		})
	}
	for _, mtu := range []uint32{0, 68, 500, 1279} {
		t.Run(fmt.Sprint("IPv6 ", mtu), func(t *testing.T) {
			_, p := waiting(t, "2001:db8::2/64")
			p.SendICMP(stacktest.ICMPError{Type: 2, Seq: 1, MTU: mtu})
			p.ExpectNothing()
		})
	}
}

// ipRecorder keeps the headers of what a stack sends, and its initial number.
type ipRecorder struct {
	*wire
	headers  []header.IPv4
	segments []header.TCP
	iss      uint32
	damaged  int // segments with a wrong checksum
}

func (r *ipRecorder) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		r.headers = append(r.headers, slices.Clone(header.IPv4(pkt.NetworkHeader().Slice())))
		r.segments = append(r.segments, slices.Clone(header.TCP(pkt.TransportHeader().Slice())))
		ip, t := header.IPv4(pkt.NetworkHeader().Slice()), header.TCP(pkt.TransportHeader().Slice())
		if !t.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), pkt.Data().Checksum(), uint16(pkt.Data().Size())) {
			r.damaged++
		}
		if h := header.TCP(pkt.TransportHeader().Slice()); h.Flags().Contains(header.TCPFlagSyn) {
			r.iss = h.SequenceNumber()
		}
	}
	return pkts.Len(), nil
}

// The number behind the last byte in flight counts as in flight, as on Linux.
func TestTheNextNumberIsInFlight(t *testing.T) {
	_, p := waiting(t, "192.0.2.2/24")
	p.SendICMP(stacktest.ICMPError{Type: 3, Code: 4, Seq: 1401, MTU: 1000})
	require.Less(t, len(p.Expect("ACK seq=1").Payload), 1000)
}

// A router may fragment what goes over a path of less than the floor, and each packet
// has an identification of its own.
func TestPacketsOfANarrowPathMayBeFragmented(t *testing.T) {
	r, _, l, deliver := bareConnection(t)
	c, err := l.TryAccept()
	require.NoError(t, err)
	_, err = c.Write(make([]byte, 1400))
	require.NoError(t, err)
	require.NotZero(t, r.headers[len(r.headers)-1].Flags()&header.IPv4FlagDontFragment)

	n := len(r.headers)
	deliver(stacktest.ICMPError{Type: 3, Code: 4, MTU: 551}.Packet(bareServer, bareClient, r.iss+1))
	require.Greater(t, len(r.headers), n+1)
	ids := map[uint16]bool{}
	for _, h := range r.headers[n:] {
		require.Zero(t, h.Flags()&header.IPv4FlagDontFragment)
		require.True(t, h.IsChecksumValid())
		ids[h.ID()] = true
	}
	require.Len(t, ids, len(r.headers)-n)
}

// An ICMP error that does not quote a number in flight changes nothing.
func TestForgedICMPErrorsAreCounted(t *testing.T) {
	for _, address := range []string{"192.0.2.2/24", "2001:db8::2/64"} {
		lab, p := waiting(t, address)
		n := uint64(0)
		for _, seq := range []int64{0, 1402, 1 << 30, -1 << 30} {
			for _, e := range []stacktest.ICMPError{{Type: 3, Code: 4, MTU: 1000}, {Type: 3, Code: 1}, {Type: 3, Code: 3}, {Type: 2, MTU: 1300}, {Type: 1, Code: 4}} {
				if (e.Type == 3) != strings.Contains(address, ".") {
					continue
				}
				e.Seq = seq
				p.SendICMP(e)
				n++
			}
		}
		p.ExpectNothing()
		lab.ExpectCounter("OutOfWindowIcmps", n)
	}
}
