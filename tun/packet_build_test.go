package tun

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// ipPacket builds a whole packet from the host to the stack, 192.0.2.1 to .2
// or 2001:db8::1 to ::2, with correct checksums. For TCP and UDP the payload
// follows a minimal header; for other protocols it follows the IP header.
func ipPacket(version int, proto tcpip.TransportProtocolNumber, payload []byte) []byte {
	var transport []byte
	field := -1
	switch proto {
	case header.TCPProtocolNumber:
		transport, field = make([]byte, header.TCPMinimumSize), header.TCPChecksumOffset
		header.TCP(transport).Encode(&header.TCPFields{
			SrcPort: 1025, DstPort: 7, SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 65535,
		})
	case header.UDPProtocolNumber:
		transport, field = make([]byte, header.UDPMinimumSize), udpChecksumOffset
		header.UDP(transport).Encode(&header.UDPFields{
			SrcPort: 1025, DstPort: 7, Length: uint16(header.UDPMinimumSize + len(payload)),
		})
	}
	transport = append(transport, payload...)
	src, dst := address(0, version), address(1, version)
	if field >= 0 {
		sum := header.PseudoHeaderChecksum(proto, src, dst, uint16(len(transport)))
		binary.BigEndian.PutUint16(transport[field:], ^checksum.Checksum(transport, sum))
	}
	if version == 4 {
		ip := make(header.IPv4, header.IPv4MinimumSize)
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(ip) + len(transport)), TTL: 64, Protocol: uint8(proto), SrcAddr: src, DstAddr: dst,
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		return append(ip, transport...)
	}
	ip := make(header.IPv6, header.IPv6MinimumSize)
	ip.Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(transport)), TransportProtocol: proto, HopLimit: 64, SrcAddr: src, DstAddr: dst,
	})
	return append(ip, transport...)
}

// address returns the host's (0) or the stack's (1) address.
func address(of, version int) tcpip.Address {
	a := [2]netip.Addr{hostPrefixes[0].Addr(), stackAddrs[0]}
	if version == 6 {
		a = [2]netip.Addr{hostPrefixes[1].Addr(), stackAddrs[1]}
	}
	return tcpip.AddrFromSlice(a[of].AsSlice())
}

// edit returns a copy of b after change. IPv4 header checksums are made
// right again, so that the change itself is what gets noticed.
func edit(b []byte, change func(b []byte)) []byte {
	b = append([]byte(nil), b...)
	change(b)
	if len(b) >= header.IPv4MinimumSize && b[0] == 0x45 {
		ip := header.IPv4(b)
		ip.SetChecksum(0)
		ip.SetChecksum(^ip.CalculateChecksum())
	}
	return b
}

// partialSum replaces the checksum at start+offset by the sum of the pseudo
// header, as the kernel leaves it.
func partialSum(b []byte, start, offset int) []byte {
	return edit(b, func(b []byte) {
		d, _ := parseIP(b, len(b))
		binary.BigEndian.PutUint16(b[start+offset:], pseudoHeaderSum(d, b))
	})
}

// inbound makes a packet as a link delivers it, in views of the given size.
func inbound(b []byte, viewSize int) *gstack.PacketBuffer {
	var buf buffer.Buffer
	for len(b) > 0 {
		n := min(viewSize, len(b))
		v := buffer.NewViewSize(n)
		v.WriteAt(b[:n], 0)
		buf.Append(v)
		b = b[n:]
	}
	return gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buf})
}

// outbound builds a packet as netstack hands it to a link: head room, then
// the headers, then the payload in a view of its own.
func outbound(ip, transport, payload []byte) *gstack.PacketBuffer {
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{
		ReserveHeaderBytes: len(ip) + len(transport) + 16,
		Payload:            buffer.MakeWithData(payload),
	})
	copy(pkt.TransportHeader().Push(len(transport)), transport)
	copy(pkt.NetworkHeader().Push(len(ip)), ip)
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	return pkt
}
