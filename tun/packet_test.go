package tun

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	tcpProto  = header.TCPProtocolNumber
	udpProto  = header.UDPProtocolNumber
	icmpProto = header.ICMPv4ProtocolNumber
)

func TestInspect(t *testing.T) {
	payload := bytes.Repeat([]byte("ulisten "), 64)
	tcp4, tcp6 := ipPacket(4, tcpProto, payload), ipPacket(6, tcpProto, payload)
	udp4, icmp4 := ipPacket(4, udpProto, payload), ipPacket(4, icmpProto, payload)
	needs := func(start, offset uint16) virtioHeader {
		return virtioHeader{flags: virtioNeedsCsum, csumStart: start, csumOffset: offset}
	}
	gso := func(typ uint8, size, start uint16) virtioHeader {
		return virtioHeader{flags: virtioNeedsCsum, gsoType: typ, gsoSize: size, csumStart: start, csumOffset: 16}
	}
	var none virtioHeader
	for _, tt := range []struct {
		name string
		h    virtioHeader
		pkt  []byte
		duty checksumDuty
		want verdict
	}{
		{"empty", none, nil, 0, dropShort},
		{"one byte", none, tcp4[:1], 0, dropShort},
		{"half an IPv4 header", none, tcp4[:19], 0, dropShort},
		{"half an IPv6 header", none, tcp6[:39], 0, dropShort},
		{"version 0", none, make([]byte, 60), 0, dropVersion},
		{"version 15", none, bytes.Repeat([]byte{0xff}, 60), 0, dropVersion},
		{"IPv4 truncated", none, tcp4[:len(tcp4)-1], 0, dropLength},
		{"IPv6 truncated", none, tcp6[:len(tcp6)-1], 0, dropLength},
		{"IPv4 header longer than packet", none, edit(tcp4[:20], func(b []byte) { b[0] = 0x4f }), 0, dropLength},
		{"IPv4 header too short", none, edit(tcp4, func(b []byte) { b[0] = 0x44 }), 0, dropLength},
		{"IPv4 total length below header", none, edit(tcp4, func(b []byte) { b[2], b[3] = 0, 19 }), 0, dropLength},
		{"IPv4 header checksum", none, append([]byte{0x45, 1}, tcp4[2:]...), 0, dropChecksum},

		{"TCP with its own checksum", none, tcp4, checksumVerify, accept},
		{"TCP over IPv6", none, tcp6, checksumVerify, accept},
		{"trailing bytes", none, append(bytes.Clone(tcp4), 1, 2, 3), checksumVerify, accept},
		{"TCP verified by the kernel", virtioHeader{flags: virtioDataValid}, tcp4, checksumDone, accept},
		{"ICMP is netstack's to verify", none, icmp4, checksumDone, accept},
		{"IPv4 fragment", none, edit(tcp4, func(b []byte) { b[6] = 0x20 }), checksumDone, accept},
		{"no room for a TCP header", none, ipPacket(4, 6, nil)[:20], 0, dropLength},

		{"partial TCP", needs(20, 16), tcp4, checksumDone, accept},
		{"partial TCP over IPv6", needs(40, 16), tcp6, checksumDone, accept},
		{"partial UDP", needs(20, 6), udp4, checksumDone, accept},
		{"partial ICMP", needs(20, 2), icmp4, checksumComplete, accept},
		{"partial at the wrong field", needs(20, 18), tcp4, checksumComplete, accept},
		{"partial inside a tunnel", needs(60, 16), tcp4, checksumComplete, accept},
		{"csum_start beyond the end", needs(uint16(len(tcp4)), 0), tcp4, 0, dropVirtio},
		{"csum_offset beyond the end", needs(20, uint16(len(tcp4)-21)), tcp4, 0, dropVirtio},
		{"both at their maximum", needs(65535, 65535), tcp4, 0, dropVirtio},

		{"TSO", gso(virtioGSOTCPv4, 100, 20), tcp4, checksumDone, accept},
		{"TSO over IPv6", gso(virtioGSOTCPv6, 100, 40), tcp6, checksumDone, accept},
		{"TSO with ECN", gso(virtioGSOTCPv4|virtioGSOECN, 100, 20), tcp4, checksumDone, accept},
		{"hdr_len is not believed", virtioHeader{flags: 1, gsoType: 1, hdrLen: 65535, gsoSize: 9, csumStart: 20, csumOffset: 16}, tcp4, checksumDone, accept},
		{"TSO without size", gso(virtioGSOTCPv4, 0, 20), tcp4, 0, dropVirtio},
		{"TSO without partial checksum", virtioHeader{gsoType: virtioGSOTCPv4, gsoSize: 100}, tcp4, 0, dropVirtio},
		{"TSO of the other version", gso(virtioGSOTCPv6, 100, 20), tcp4, 0, dropVirtio},
		{"TSO of UDP", virtioHeader{flags: 1, gsoType: 1, gsoSize: 100, csumStart: 20, csumOffset: 6}, udp4, 0, dropVirtio},
		{"UDP fragmentation offload", virtioHeader{flags: 1, gsoType: 3, gsoSize: 100, csumStart: 20, csumOffset: 6}, udp4, 0, dropVirtio},
		{"UDP segmentation offload", virtioHeader{flags: 1, gsoType: 5, gsoSize: 100, csumStart: 20, csumOffset: 6}, udp4, 0, dropVirtio},
	} {
		_, duty, got := inspect(tt.h, tt.pkt, len(tt.pkt))
		if got != tt.want || got == accept && duty != tt.duty {
			t.Errorf("%s: verdict %d duty %d, want %d %d", tt.name, got, duty, tt.want, tt.duty)
		}
	}
}

func TestInspectIPv6Extensions(t *testing.T) {
	// chain puts extension headers of 8 bytes before a UDP header.
	chain := func(ids ...byte) []byte {
		udp := ipPacket(6, udpProto, []byte("payload"))
		var ext []byte
		next := udp[6]
		for i := len(ids) - 1; i >= 0; i-- {
			ext = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, ext...)
			next = ids[i]
		}
		pkt := append(bytes.Clone(udp[:40]), ext...)
		pkt[6] = next
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(udp)-40+len(ext)))
		return append(pkt, udp[40:]...)
	}
	const hop, routing, fragment, dest = 0, 43, 44, 60
	for _, tt := range []struct {
		name string
		pkt  []byte
		l4   int
	}{
		{"none", chain(), 40},
		{"hop by hop", chain(hop), 48},
		{"three", chain(hop, dest, routing), 64},
		{"fragment", chain(fragment), 0},
		{"fragment behind another", chain(hop, fragment), 0},
		{"too many", chain(bytes.Repeat([]byte{dest}, 8)...), 0},
		{"unknown", chain(253), 0},
		{"ends in an extension", edit(chain(hop), func(b []byte) { b[41] = 255 }), 0},
	} {
		d, v := parseIP(tt.pkt, len(tt.pkt))
		if v != accept || d.l4 != tt.l4 {
			t.Errorf("%s: verdict %d, transport at %d, want %d", tt.name, v, d.l4, tt.l4)
		}
	}
}

func TestSettleChecksum(t *testing.T) {
	payload := bytes.Repeat([]byte("ulisten!"), 300)
	corrupt := func(b []byte) []byte { return edit(b, func(b []byte) { b[len(b)-1] ^= 1 }) }
	// IPv4 in IPv4: the outer packet has no checksum, the inner a partial one.
	inner := ipPacket(4, tcpProto, payload)
	tunnel := ipPacket(4, 4, partialSum(inner, 20, 16))
	// A UDP packet whose sum is 0, and with it a partial checksum.
	var zero []byte
	for i := range 1 << 16 {
		zero = ipPacket(4, udpProto, []byte{byte(i >> 8), byte(i)})
		if sum := header.UDP(zero[20:]).Checksum(); sum == 0 || sum == 0xffff {
			break
		}
	}
	zeroDone := edit(zero, func(b []byte) { header.UDP(b[20:]).SetChecksum(0xffff) })
	icmp := ipPacket(4, icmpProto, append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, payload...))
	icmpDone := edit(icmp, func(b []byte) { header.ICMPv4(b[20:]).SetChecksum(header.ICMPv4Checksum(b[20:], 0)) })
	noSum := edit(ipPacket(4, udpProto, payload), func(b []byte) { b[26], b[27] = 0, 0 })
	noSum6 := edit(ipPacket(6, udpProto, payload), func(b []byte) { b[46], b[47] = 0, 0 })
	needs := func(start, offset uint16) virtioHeader {
		return virtioHeader{flags: virtioNeedsCsum, csumStart: start, csumOffset: offset}
	}
	var none virtioHeader
	for _, tt := range []struct {
		name   string
		h      virtioHeader
		pkt    []byte
		want   verdict
		result []byte // nil: pkt unchanged
	}{
		{"TCP", none, ipPacket(4, tcpProto, payload), accept, nil},
		{"TCP without payload", none, ipPacket(4, tcpProto, nil), accept, nil},
		{"TCP over IPv6, odd length", none, ipPacket(6, tcpProto, payload[:101]), accept, nil},
		{"UDP", none, ipPacket(4, udpProto, payload), accept, nil},
		{"UDP over IPv6", none, ipPacket(6, udpProto, payload), accept, nil},
		{"UDP without checksum", none, noSum, accept, nil},
		{"UDP over IPv6 needs one", none, noSum6, dropChecksum, nil},
		{"corrupt TCP", none, corrupt(ipPacket(4, tcpProto, payload)), dropChecksum, nil},
		{"corrupt TCP over IPv6", none, corrupt(ipPacket(6, tcpProto, payload)), dropChecksum, nil},
		{"corrupt UDP", none, corrupt(ipPacket(4, udpProto, payload)), dropChecksum, nil},
		{"partial TCP is left alone", needs(20, 16), partialSum(inner, 20, 16), accept, nil},
		{"partial ICMP is completed", needs(20, 2), icmp, accept, icmpDone},
		{"partial TCP in a tunnel is completed", needs(40, 16), tunnel, accept, ipPacket(4, 4, inner)},
		{"partial UDP in a tunnel, sum 0", needs(40, 6), ipPacket(4, 4, partialSum(zero, 20, 6)), accept, ipPacket(4, 4, zeroDone)},
		{"completed at the wrong field", needs(20, 14), ipPacket(4, tcpProto, payload), dropChecksum, nil},
	} {
		for _, viewSize := range []int{4096, 64, 37} {
			d, duty, v := inspect(tt.h, tt.pkt, len(tt.pkt))
			if v != accept {
				t.Errorf("%s: inspect: verdict %d", tt.name, v)
				continue
			}
			pkt := inbound(tt.pkt, viewSize)
			got := settleChecksum(pkt, tt.h, d, duty)
			want := tt.result
			if want == nil {
				want = tt.pkt
			}
			v2 := pkt.ToView()
			if got != tt.want || got == accept && !bytes.Equal(v2.AsSlice(), want) {
				t.Errorf("%s, views of %d: verdict %d, want %d; bytes right: %v", tt.name, viewSize, got, tt.want, bytes.Equal(v2.AsSlice(), want))
			}
			v2.Release()
			pkt.DecRef()
		}
	}
}

// FuzzInspect feeds a virtio header and packet as they come off a device to
// everything that looks at them. It must not panic, and what it accepts must
// be within the frame.
func FuzzInspect(f *testing.F) {
	for _, pkt := range [][]byte{
		ipPacket(4, tcpProto, []byte("tcp")), ipPacket(6, tcpProto, nil),
		ipPacket(4, udpProto, []byte("udp")), ipPacket(6, udpProto, []byte("udp6")),
		ipPacket(4, icmpProto, []byte{8, 0, 0, 0}), {}, {0}, {0xf0}, {0x45}, {0x60},
	} {
		for _, h := range []virtioHeader{
			{},
			{flags: virtioNeedsCsum, csumStart: 20, csumOffset: 16},
			{flags: virtioNeedsCsum, csumStart: 40, csumOffset: 6, gsoType: virtioGSOTCPv6, gsoSize: 100},
			{flags: virtioNeedsCsum, csumStart: 20, csumOffset: 16, gsoType: virtioGSOTCPv4},
			{flags: virtioNeedsCsum, csumStart: 65535, csumOffset: 65535, hdrLen: 65535},
		} {
			var b [virtioHeaderLen]byte
			h.encode(&b)
			f.Add(append(b[:], pkt...))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) <= virtioHeaderLen {
			return
		}
		h, b := decodeVirtio(frame), frame[virtioHeaderLen:]
		d, duty, v := inspect(h, b[:min(len(b), rxSizes[0]-virtioHeaderLen)], len(b))
		if v != accept {
			return
		}
		if d.length <= 0 || d.length > len(b) || d.l4 < 0 || d.l4 >= d.length {
			t.Fatalf("accepted %+v in a packet of %d bytes", d, len(b))
		}
		pkt := inbound(b, 64)
		defer pkt.DecRef()
		pkt.Data().CapLength(d.length)
		settleChecksum(pkt, h, d, duty)
		if pkt.Data().Size() != d.length {
			t.Fatalf("length changed from %d to %d", d.length, pkt.Data().Size())
		}
	})
}
