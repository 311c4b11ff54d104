//go:build linux

package packets

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A flow is the two ends of the connection.
type flow struct{ peer, stack netip.AddrPort }

func (f flow) version() int {
	if f.peer.Addr().Is4() {
		return 4
	}
	return 6
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// ipHeader returns the IP header of a packet from the peer to the stack.
func (f flow) ipHeader(head Packet, protocol tcpip.TransportProtocolNumber, payload int) []byte {
	const ttl = 64
	src, dst := address(f.peer.Addr()), address(f.stack.Addr())
	if f.version() == 6 {
		b := make([]byte, header.IPv6MinimumSize)
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength:     uint16(payload),
			TransportProtocol: protocol,
			HopLimit:          head.TTL.or(ttl),
			TrafficClass:      head.TOS.or(0),
			SrcAddr:           src,
			DstAddr:           dst,
		})
		return b
	}
	h := header.IPv4(make([]byte, header.IPv4MinimumSize))
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(h) + payload),
		Flags:       header.IPv4FlagDontFragment,
		TTL:         head.TTL.or(ttl),
		TOS:         head.TOS.or(0),
		Protocol:    uint8(protocol),
		SrcAddr:     src,
		DstAddr:     dst,
	})
	h.SetChecksum(^h.CalculateChecksum())
	return h
}

// packet returns a packet from the peer to the stack.
func (f flow) packet(head Packet, fields header.TCPFields, options, payload []byte) []byte {
	size := header.TCPMinimumSize + len(options)
	t := header.TCP(make([]byte, size, size+len(payload)))
	fields.SrcPort, fields.DstPort, fields.DataOffset = f.peer.Port(), f.stack.Port(), uint8(size)
	t.Encode(&fields)
	copy(t[header.TCPMinimumSize:], options)
	t = append(t, payload...)
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, address(f.peer.Addr()), address(f.stack.Addr()), uint16(len(t)))
	t.SetChecksum(^checksum.Checksum(t, sum))
	return append(f.ipHeader(head, header.TCPProtocolNumber, len(t)), t...)
}

// A received is a segment that has come from the stack.
type received struct {
	ttl, tos uint8
	flow     flow // with the stack's end as it was in the packet
	tcp      header.TCP
}

func (r *received) payload() []byte { return r.tcp[r.tcp.DataOffset():] }

// dissect takes a packet of the stack apart. It is false for one that is no TCP
// segment.
func dissect(b []byte) (r received, ok bool) {
	var from, to tcpip.Address
	switch {
	case len(b) >= header.IPv4MinimumSize && b[0]>>4 == 4:
		h := header.IPv4(b)
		if h.Protocol() != uint8(header.TCPProtocolNumber) || int(h.HeaderLength()) > len(b) {
			return r, false
		}
		from, to, r.ttl, r.tcp = h.SourceAddress(), h.DestinationAddress(), h.TTL(), header.TCP(b[h.HeaderLength():])
		r.tos, _ = h.TOS()
	case len(b) >= header.IPv6MinimumSize && b[0]>>4 == 6:
		h := header.IPv6(b)
		if h.NextHeader() != uint8(header.TCPProtocolNumber) {
			return r, false
		}
		from, to, r.ttl, r.tcp = h.SourceAddress(), h.DestinationAddress(), h.HopLimit(), header.TCP(b[header.IPv6MinimumSize:])
		r.tos, _ = h.TOS()
	default:
		return r, false
	}
	if len(r.tcp) < header.TCPMinimumSize || r.tcp.DataOffset() < header.TCPMinimumSize || int(r.tcp.DataOffset()) > len(r.tcp) {
		return r, false
	}
	source, _ := netip.AddrFromSlice(from.AsSlice())
	target, _ := netip.AddrFromSlice(to.AsSlice())
	r.flow = flow{netip.AddrPortFrom(target, r.tcp.DestinationPort()), netip.AddrPortFrom(source, r.tcp.SourcePort())}
	return r, true
}

// sockaddr is an address as the calls have it.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}
