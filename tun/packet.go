package tun

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// verdict says what becomes of a received frame.
type verdict uint8

const (
	accept       verdict = iota
	dropShort            // no room for the headers it must have
	dropVersion          // first nibble is neither 4 nor 6
	dropLength           // length fields disagree with the frame
	dropVirtio           // virtio header contradicts the packet
	dropChecksum         // checksum not vouched for by the kernel, and wrong
	numVerdicts
)

// checksumDuty says what is left to do about a frame's transport checksum
// before netstack may believe it.
type checksumDuty uint8

const (
	checksumDone     checksumDuty = iota // vouched for, or nothing to check
	checksumVerify                       // compare with the payload
	checksumComplete                     // the kernel left a partial sum: finish it, then verify
)

// datagram is what inspection learns about an IP packet.
type datagram struct {
	proto     tcpip.NetworkProtocolNumber
	length    int   // bytes of the whole IP packet by its own header
	transport uint8 // TCP or UDP if l4 > 0
	l4        int   // offset of the transport header; 0: fragment, not TCP or UDP, or too deep
}

// udpChecksumOffset is where a UDP header (RFC 768) has its checksum.
const udpChecksumOffset = 6

// ipv6MaxExtensions bounds the walk over extension headers. Netstack's and
// Linux's own senders use at most two.
const ipv6MaxExtensions = 8

// parseIP reads the IP header of a packet of n bytes, of which b is the
// beginning. Nothing in b is trusted.
func parseIP(b []byte, n int) (datagram, verdict) {
	if len(b) == 0 || n < len(b) {
		return datagram{}, dropShort
	}
	switch b[0] >> 4 {
	case header.IPv4Version:
		return parseIPv4(b, n)
	case header.IPv6Version:
		return parseIPv6(b, n)
	}
	return datagram{}, dropVersion
}

func parseIPv4(b []byte, n int) (datagram, verdict) {
	if len(b) < header.IPv4MinimumSize {
		return datagram{}, dropShort
	}
	d := datagram{
		proto:  header.IPv4ProtocolNumber,
		length: int(binary.BigEndian.Uint16(b[2:])),
	}
	hdr := int(b[0]&0x0f) * 4
	if hdr < header.IPv4MinimumSize || d.length < hdr || d.length > n || len(b) < hdr {
		return datagram{}, dropLength
	}
	// More-fragments bit or an offset: the checksum covers other packets too.
	if binary.BigEndian.Uint16(b[6:])&0x3fff == 0 {
		d.setTransport(b[9], hdr)
	}
	return d, accept
}

func parseIPv6(b []byte, n int) (datagram, verdict) {
	if len(b) < header.IPv6MinimumSize {
		return datagram{}, dropShort
	}
	d := datagram{
		proto:  header.IPv6ProtocolNumber,
		length: header.IPv6MinimumSize + int(binary.BigEndian.Uint16(b[4:])),
	}
	if d.length > n {
		return datagram{}, dropLength
	}
	next, off := b[6], header.IPv6MinimumSize
	for range ipv6MaxExtensions {
		switch header.IPv6ExtensionHeaderIdentifier(next) {
		case header.IPv6HopByHopOptionsExtHdrIdentifier,
			header.IPv6RoutingExtHdrIdentifier,
			header.IPv6DestinationOptionsExtHdrIdentifier:
			if off+2 > len(b) {
				return d, accept
			}
			// RFC 8200 4.2: length in 8-byte units, not counting the first.
			next, off = b[off], off+8+8*int(b[off+1])
		default:
			d.setTransport(next, off)
			return d, accept
		}
	}
	return d, accept
}

// setTransport notes a TCP or UDP header at off, if the packet is long
// enough to hold its checksum field.
func (d *datagram) setTransport(proto uint8, off int) {
	var need int
	switch tcpip.TransportProtocolNumber(proto) {
	case header.TCPProtocolNumber:
		need = header.TCPMinimumSize
	case header.UDPProtocolNumber:
		need = header.UDPMinimumSize
	default:
		return
	}
	if off+need <= d.length {
		d.transport, d.l4 = proto, off
	}
}

// csumField is the offset of the checksum field from the transport header.
func (d *datagram) csumField() int {
	if tcpip.TransportProtocolNumber(d.transport) == header.TCPProtocolNumber {
		return header.TCPChecksumOffset
	}
	return udpChecksumOffset
}

// inspect judges a packet of n bytes, of which b is the beginning, by the
// virtio header that came before it, and says what must be done about its
// checksum. The IPv4 header checksum is verified here: netstack skips it
// together with the transport checksum.
func inspect(h virtioHeader, b []byte, n int) (datagram, checksumDuty, verdict) {
	d, v := parseIP(b, n)
	if v != accept {
		return d, checksumDone, v
	}
	if d.proto == header.IPv4ProtocolNumber && !header.IPv4(b).IsChecksumValid() {
		return d, checksumDone, dropChecksum
	}
	partial := h.flags&virtioNeedsCsum != 0
	if partial && int(h.csumStart)+int(h.csumOffset)+2 > d.length {
		return d, checksumDone, dropVirtio
	}
	// The kernel sums what a local sender wrote, so a partial checksum that
	// stands where the transport header has it means an intact packet.
	vouched := partial && d.l4 > 0 &&
		int(h.csumStart) == d.l4 && int(h.csumOffset) == d.csumField()

	switch h.gsoType &^ virtioGSOECN {
	case virtioGSONone:
	case virtioGSOTCPv4, virtioGSOTCPv6:
		want := tcpip.NetworkProtocolNumber(header.IPv4ProtocolNumber)
		if h.gsoType&^virtioGSOECN == virtioGSOTCPv6 {
			want = header.IPv6ProtocolNumber
		}
		// Netstack takes the segments as one, so hdr_len is not needed;
		// gso_size is not either, but 0 is a broken sender.
		if !vouched || d.proto != want || h.gsoSize == 0 ||
			tcpip.TransportProtocolNumber(d.transport) != header.TCPProtocolNumber {
			return d, checksumDone, dropVirtio
		}
	default:
		// UDP segmentation was not asked for, and netstack would take the
		// datagrams for one.
		return d, checksumDone, dropVirtio
	}

	switch {
	case vouched:
		return d, checksumDone, accept
	case partial:
		return d, checksumComplete, accept
	case h.flags&virtioDataValid != 0 || d.l4 == 0:
		return d, checksumDone, accept
	}
	return d, checksumVerify, accept
}

// settleChecksum does its duty on pkt, whose data is exactly the IP packet
// that inspect saw. It reports accept or the reason to drop.
func settleChecksum(pkt *gstack.PacketBuffer, h virtioHeader, d datagram, duty checksumDuty) verdict {
	if duty == checksumDone {
		return accept
	}
	if duty == checksumComplete {
		// A protocol other than TCP and UDP, or one inside a tunnel.
		sum := ^pkt.Data().ChecksumAtOffset(int(h.csumStart))
		if sum == 0 {
			sum = 0xffff // as skb_checksum_help: 0 means "none" in UDP
		}
		at := int(h.csumStart) + int(h.csumOffset)
		b, ok := pkt.Data().PullUp(at + 2)
		if !ok {
			return dropVirtio
		}
		binary.BigEndian.PutUint16(b[at:], sum)
	}
	if d.l4 == 0 {
		return accept
	}
	b, ok := pkt.Data().PullUp(d.l4 + d.csumField() + 2)
	if !ok {
		return dropLength
	}
	if d.proto == header.IPv4ProtocolNumber &&
		tcpip.TransportProtocolNumber(d.transport) == header.UDPProtocolNumber &&
		b[d.l4+udpChecksumOffset] == 0 && b[d.l4+udpChecksumOffset+1] == 0 {
		return accept // RFC 768: the sender computed none
	}
	sum := checksum.Combine(pseudoHeaderSum(d, b), pkt.Data().ChecksumAtOffset(d.l4))
	if sum != 0xffff {
		return dropChecksum
	}
	return accept
}

// pseudoHeaderSum is the sum over the pseudo header (RFC 9293 3.1, RFC 8200
// 8.1) of the packet that starts with b.
func pseudoHeaderSum(d datagram, b []byte) uint16 {
	addrs := b[12:20]
	if d.proto == header.IPv6ProtocolNumber {
		addrs = b[8:40]
	}
	sum := checksum.Checksum(addrs, uint16(d.transport))
	return checksum.Combine(sum, uint16(d.length-d.l4))
}
