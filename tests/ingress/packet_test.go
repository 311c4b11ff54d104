//go:build linux

package ingress

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func toAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// A message is what an IP packet carries, with the address pair that its checksum
// covers.
type message struct {
	src, dst netip.Addr
	protocol uint8
	bytes    []byte
}

// sum puts the checksum over the pseudo header and the message at an offset.
func (m message) sum(offset int) message {
	binary.BigEndian.PutUint16(m.bytes[offset:], 0)
	sum := header.PseudoHeaderChecksum(tcpip.TransportProtocolNumber(m.protocol), toAddress(m.src), toAddress(m.dst), uint16(len(m.bytes)))
	binary.BigEndian.PutUint16(m.bytes[offset:], ^checksum.Checksum(m.bytes, sum))
	return m
}

// syn is a SYN to a port, with so many bytes of payload: a short one is a plain
// packet, a long one is not.
func syn(src, dst netip.Addr, srcPort, port uint16, payload int) message {
	options := []byte{2, 4, 5, 180}
	b := make([]byte, header.TCPMinimumSize+len(options)+payload)
	header.TCP(b).Encode(&header.TCPFields{
		SrcPort: srcPort, DstPort: port, SeqNum: 1000, DataOffset: uint8(header.TCPMinimumSize + len(options)),
		Flags: header.TCPFlagSyn, WindowSize: 65535,
	})
	copy(b[header.TCPMinimumSize:], options)
	return message{src, dst, unix.IPPROTO_TCP, b}.sum(header.TCPChecksumOffset)
}

func udp(src, dst netip.Addr, srcPort, port uint16, payload int) message {
	b := make([]byte, header.UDPMinimumSize+payload)
	header.UDP(b).Encode(&header.UDPFields{SrcPort: srcPort, DstPort: port, Length: uint16(len(b))})
	return message{src, dst, unix.IPPROTO_UDP, b}.sum(6)
}

// echo is an echo request with some payload.
func echo(src, dst netip.Addr, payload int) message {
	b := make([]byte, 8+payload)
	if src.Is4() {
		b[0] = 8
		binary.BigEndian.PutUint16(b[2:], ^checksum.Checksum(b, 0))
		return message{src, dst, unix.IPPROTO_ICMP, b}
	}
	b[0] = 128
	return message{src, dst, unix.IPPROTO_ICMPV6, b}.sum(2)
}

// ip4 puts a message into an IPv4 packet with options, which are padded.
func ip4(m message, options ...byte) header.IPv4 {
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	b := make([]byte, header.IPv4MinimumSize+len(options), header.IPv4MinimumSize+len(options)+len(m.bytes))
	h := header.IPv4(b)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(cap(b)), ID: 1, TTL: 64, Protocol: m.protocol,
		SrcAddr: toAddress(m.src), DstAddr: toAddress(m.dst),
	})
	h.SetHeaderLength(uint8(len(b)))
	copy(b[header.IPv4MinimumSize:], options)
	return sum4(append(b, m.bytes...))
}

// sum4 repairs the header's checksum.
func sum4(b []byte) header.IPv4 {
	h := header.IPv4(b)
	h.SetChecksum(0)
	h.SetChecksum(^checksum.Checksum(b[:h.HeaderLength()], 0))
	return h
}

// fragments4 cuts the payload of a packet at offsets, which are multiples of 8.
func fragments4(packet header.IPv4, cuts ...int) (all [][]byte) {
	payload := packet[packet.HeaderLength():]
	from := 0
	for _, to := range append(cuts, len(payload)) {
		b := append([]byte(nil), packet[:packet.HeaderLength()]...)
		b = append(b, payload[from:to]...)
		h := header.IPv4(b)
		h.SetTotalLength(uint16(len(b)))
		flags := uint8(0)
		if to < len(payload) {
			flags = header.IPv4FlagMoreFragments
		}
		h.SetFlagsFragmentOffset(flags, uint16(from))
		all = append(all, sum4(b))
		from = to
	}
	return all
}

// An extension is an IPv6 extension header; its first byte is filled in when it is
// put into a packet.
type extension struct {
	protocol uint8
	bytes    []byte
}

// options is a header of options, padded by nothing: their length must fit.
func options(protocol uint8, tlvs ...byte) extension {
	b := append([]byte{0, 0}, tlvs...)
	if len(b)%8 != 0 {
		panic("options: not a multiple of eight bytes")
	}
	b[1] = uint8(len(b)/8 - 1)
	return extension{protocol, b}
}

func routing(kind, left uint8, words int) extension {
	b := make([]byte, 8+8*words)
	b[1], b[2], b[3] = uint8(words), kind, left
	return extension{unix.IPPROTO_ROUTING, b}
}

func fragment(id uint32, offset int, more bool) extension {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b[2:], uint16(offset))
	if more {
		b[3] |= 1
	}
	binary.BigEndian.PutUint32(b[4:], id)
	return extension{unix.IPPROTO_FRAGMENT, b}
}

// ip6 puts a message into an IPv6 packet behind extension headers.
func ip6(m message, extensions ...extension) header.IPv6 {
	b := make([]byte, header.IPv6MinimumSize)
	next := 6 // where the number of what follows stands
	header.IPv6(b).Encode(&header.IPv6Fields{HopLimit: 64, SrcAddr: toAddress(m.src), DstAddr: toAddress(m.dst)})
	for _, x := range extensions {
		b[next] = x.protocol
		next = len(b)
		b = append(b, x.bytes...)
	}
	b[next] = m.protocol
	b = append(b, m.bytes...)
	h := header.IPv6(b)
	h.SetPayloadLength(uint16(len(b) - header.IPv6MinimumSize))
	return h
}

// piece is a part of a message, for fragments.
func (m message) piece(from, to int) message {
	m.bytes = m.bytes[from:to]
	return m
}

// ip puts a message into a packet of its family.
func ip(m message) []byte {
	if m.src.Is4() {
		return ip4(m)
	}
	return ip6(m)
}
