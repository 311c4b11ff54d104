package stacktest

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// An ICMPError is an ICMP error about a segment that the stack has sent to a
// client, or seems to have sent.
type ICMPError struct {
	// Type and Code are those of RFC 792 where the client's address is IPv4, and
	// of RFC 4443 where it is IPv6: host unreachable is 3/1, and 1/3.
	Type, Code uint8
	// MTU is what "too big" names, in bytes: 0 to 65535 in IPv4.
	MTU uint32
	// Seq is the sequence number that is quoted, relative to the stack's initial
	// one: a SYN-ACK has 0.
	Seq int64
	// ISN says which initial sequence number of the stack Seq is relative to, if
	// it has used several: 1, 2, ...; 0 is the newest.
	ISN int
	// From is who reports the error; the zero Addr stands for the client.
	From netip.Addr
}

// String prints what is not obvious:
//
//	ICMP 3/4 seq=1 mtu=1400
func (e ICMPError) String() string {
	text := fmt.Sprintf("ICMP %d/%d seq=%d", e.Type, e.Code, e.Seq)
	if e.ISN > 1 {
		text += fmt.Sprintf(" isn=%d", e.ISN)
	}
	if e.MTU != 0 {
		text += fmt.Sprintf(" mtu=%d", e.MTU)
	}
	return text
}

// Packet returns the IP packet of the error, about a segment from the stack's side
// of a connection to the client's, with an absolute number in place of its own. It
// quotes the IP header and 8 bytes of the segment's, as RFC 792 asks for.
func (e ICMPError) Packet(stack, client netip.AddrPort, seq uint32) []byte {
	quote := Segment{Flags: ACK}.Packet(stack, client, seq, 0)
	from := e.From
	if !from.IsValid() {
		from = client.Addr()
	}
	src, dst := tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(stack.Addr().AsSlice())
	if client.Addr().Is6() {
		return e.packet6(src, dst, quote[:header.IPv6MinimumSize+quotedTransport])
	}
	return e.packet4(src, dst, quote[:header.IPv4MinimumSize+quotedTransport])
}

// quotedTransport is how much of a TCP header an error quotes, in bytes.
const quotedTransport = 8

func (e ICMPError) packet4(src, dst tcpip.Address, quote []byte) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize+len(quote))
	h := header.IPv4(b)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)),
		TTL:         64,
		Protocol:    uint8(header.ICMPv4ProtocolNumber),
		SrcAddr:     src,
		DstAddr:     dst,
	})
	h.SetChecksum(^h.CalculateChecksum())
	m := b[header.IPv4MinimumSize:]
	m[0], m[1] = e.Type, e.Code
	binary.BigEndian.PutUint16(m[6:], uint16(e.MTU))
	copy(m[header.ICMPv4MinimumSize:], quote)
	header.ICMPv4(m).SetChecksum(^checksum.Checksum(m, 0))
	return b
}

func (e ICMPError) packet6(src, dst tcpip.Address, quote []byte) []byte {
	b := make([]byte, header.IPv6MinimumSize+header.ICMPv6ErrorHeaderSize+len(quote))
	m := b[header.IPv6MinimumSize:]
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength:     uint16(len(m)),
		TransportProtocol: header.ICMPv6ProtocolNumber,
		HopLimit:          64,
		SrcAddr:           src,
		DstAddr:           dst,
	})
	m[0], m[1] = e.Type, e.Code
	binary.BigEndian.PutUint32(m[4:], e.MTU)
	copy(m[header.ICMPv6ErrorHeaderSize:], quote)
	sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, src, dst, uint16(len(m)))
	header.ICMPv6(m).SetChecksum(^checksum.Checksum(m, sum))
	return b
}

// SendICMP delivers an ICMP error about the client's connection, and returns when
// the stack has dealt with it.
func (p *Peer) SendICMP(e ICMPError) {
	p.lab.t.Helper()
	defer p.lab.drive("SendICMP")()
	b := e.Packet(p.remote, p.local, p.n.Base(e.ISN)+uint32(e.Seq))
	p.lab.wire.deliver(packet{bytes: b, name: p.name, icmp: &e})
	p.lab.clock.Settle()
}
