package tun

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// virtioHeaderLen is sizeof(struct virtio_net_hdr), the header that a TUN
// device opened with IFF_VNET_HDR puts before each packet unless
// TUNSETVNETHDRSZ asks for a longer one (drivers/net/tun.c).
const virtioHeaderLen = 10

// Values of virtioHeader.flags and virtioHeader.gsoType, from
// include/uapi/linux/virtio_net.h.
const (
	virtioNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM: partial checksum
	virtioDataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID: checksum was verified

	virtioGSONone  = 0
	virtioGSOTCPv4 = 1
	virtioGSOTCPv6 = 4
	virtioGSOECN   = 0x80 // a bit beside the type: the segment carries CWR
)

// virtioHeader is struct virtio_net_hdr. Offsets count from the first byte
// of the IP header: a TUN frame has no link header.
type virtioHeader struct {
	flags      uint8
	gsoType    uint8
	hdrLen     uint16 // a hint, and a wrong one for forwarded packets: never read
	gsoSize    uint16 // payload bytes per segment
	csumStart  uint16 // where summing starts
	csumOffset uint16 // where the sum goes, from csumStart
}

// decodeVirtio reads a header in host byte order, the legacy layout that TUN
// uses unless TUNSETVNETLE or TUNSETVNETBE was called. b must hold
// virtioHeaderLen bytes.
func decodeVirtio(b []byte) virtioHeader {
	_ = b[virtioHeaderLen-1]
	return virtioHeader{
		flags:      b[0],
		gsoType:    b[1],
		hdrLen:     binary.NativeEndian.Uint16(b[2:]),
		gsoSize:    binary.NativeEndian.Uint16(b[4:]),
		csumStart:  binary.NativeEndian.Uint16(b[6:]),
		csumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// encode writes h to b in the layout that decodeVirtio reads.
func (h virtioHeader) encode(b *[virtioHeaderLen]byte) {
	b[0] = h.flags
	b[1] = h.gsoType
	binary.NativeEndian.PutUint16(b[2:], h.hdrLen)
	binary.NativeEndian.PutUint16(b[4:], h.gsoSize)
	binary.NativeEndian.PutUint16(b[6:], h.csumStart)
	binary.NativeEndian.PutUint16(b[8:], h.csumOffset)
}

// virtioFor maps netstack's segmentation request to a virtio header.
// netHdr is the length of the network header as it is in the packet
// (gso.L3HdrLen assumes one without options), hdr the length of all headers
// and data that of the payload, in bytes.
//
// ok is false if the request cannot be expressed: the kernel would refuse or
// misread it.
func virtioFor(gso gstack.GSO, netHdr, hdr, data int) (h virtioHeader, ok bool) {
	if gso.Type == gstack.GSONone {
		return virtioHeader{}, true
	}
	if netHdr < header.IPv4MinimumSize || hdr <= netHdr || hdr > 0xffff {
		return virtioHeader{}, false
	}
	h.hdrLen = uint16(hdr)
	if gso.NeedsCsum {
		h.flags = virtioNeedsCsum
		h.csumStart = uint16(netHdr)
		h.csumOffset = gso.CsumOffset
	}
	// Compare as int: data may be 64 KiB, which an uint16 takes for 0.
	if data <= int(gso.MSS) {
		return h, true
	}
	switch gso.Type {
	case gstack.GSOTCPv4:
		h.gsoType = virtioGSOTCPv4
	case gstack.GSOTCPv6:
		h.gsoType = virtioGSOTCPv6
	default:
		return virtioHeader{}, false
	}
	h.gsoSize = gso.MSS
	// Linux wants every segmented packet to ask for its checksum too
	// (virtio 1.2, 5.1.6.2: GSO requires NEEDS_CSUM) and MSS > 0.
	return h, gso.NeedsCsum && gso.MSS > 0
}
