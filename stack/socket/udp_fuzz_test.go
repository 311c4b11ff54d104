//go:build linux

package socket

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/stack"
)

// FuzzArrivingDatagrams throws UDP at a socket: what stands behind an IP header,
// with a checksum that is right or not. What is read is no longer than what came,
// and an honest datagram is read afterwards.
func FuzzArrivingDatagrams(f *testing.F) {
	link := channel.New(64, 1500, "")
	s, err := stack.New(stack.Config{Link: link, Addresses: prefixes("192.0.2.1/24")})
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	p := NewNamespace(s).Process(1)
	fd := p.datagramSocket(f, unix.AF_INET, "192.0.2.1:7")
	for _, o := range []optionName{
		{unix.SOL_SOCKET, unix.SO_TIMESTAMP}, {unix.IPPROTO_IP, unix.IP_PKTINFO},
		{unix.IPPROTO_IP, unix.IP_RECVTTL}, {unix.IPPROTO_IP, unix.IP_RECVTOS},
	} {
		require.NoError(f, p.SetsockoptInt(fd, o.level, o.name, 1))
	}
	inject := func(segment []byte, sum bool) {
		b := make([]byte, header.IPv4MinimumSize+len(segment))
		ip := header.IPv4(b)
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
			SrcAddr: toAddress(netip.MustParseAddr("192.0.2.2")), DstAddr: toAddress(netip.MustParseAddr("192.0.2.1")),
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		copy(b[header.IPv4MinimumSize:], segment)
		if h := header.UDP(b[header.IPv4MinimumSize:]); sum && len(h) >= header.UDPMinimumSize {
			h.SetChecksum(0)
			h.SetChecksum(^checksum.Checksum(h, header.PseudoHeaderChecksum(header.UDPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(h)))))
		}
		pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		defer pkt.DecRef()
		link.InjectInbound(header.IPv4ProtocolNumber, pkt)
		link.Drain() // what ICMP says of it
	}
	receive := func() (int, error) {
		b, oob := make([]byte, 2000), make([]byte, 200)
		n, _, _, _, err := p.Recvmsg(fd, [][]byte{b}, oob, unix.MSG_DONTWAIT)
		return n, err
	}
	datagram := func(to, length uint16, data string) []byte {
		h := header.UDP(make([]byte, header.UDPMinimumSize+len(data)))
		h.Encode(&header.UDPFields{SrcPort: 5, DstPort: to, Length: length})
		copy(h[header.UDPMinimumSize:], data)
		return h
	}
	f.Add([]byte(datagram(7, 13, "hello")), true)
	f.Add([]byte(datagram(7, 10, "hello")), true)
	f.Add([]byte(datagram(7, 14, "hello")), true)
	f.Add([]byte(datagram(7, 0, "hello")), true)
	f.Add([]byte(datagram(7, 8, "")), false)
	f.Add([]byte{0, 5, 0, 7}, true)
	f.Fuzz(func(t *testing.T, segment []byte, sum bool) {
		if len(segment) > 1400 {
			return
		}
		inject(segment, sum)
		if n, err := receive(); err == nil {
			require.LessOrEqual(t, n+header.UDPMinimumSize, len(segment))
			require.Equal(t, int(header.UDP(segment).Length()), n+header.UDPMinimumSize)
		} else {
			require.Equal(t, unix.EAGAIN, err)
		}
		inject(datagram(7, 14, "honest"), true)
		n, err := receive()
		require.NoError(t, err)
		require.Equal(t, 6, n)
	})
}
