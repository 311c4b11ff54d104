package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// expressLimit is the size up to which a SYN can take the express lane: both
// headers with all options fit.
const expressLimit = 120

// express takes an ordinary SYN for a listener straight from the link, before
// netstack's IP layer spends several times on it what the decision costs; in a
// flood that is nearly all the work there is. It returns false for everything
// else, and for everything that is in the least unusual: fragments, IP options,
// extension headers, odd source addresses, flows that have a connection. Those
// go through netstack and meet the gate there.
func (g *gate) express(protocol tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) bool {
	size := pkt.Data().Size()
	if size > expressLimit {
		return false
	}
	b, ok := pkt.Data().PullUp(size)
	if !ok {
		return false
	}
	id, t, ok := g.s.link.plainSYN(protocol, b)
	if !ok {
		return false
	}
	if !pkt.RXChecksumValidated && !checksumValid(id, t) {
		g.s.drop(func(d *Drops) { d.Checksum++ })
		return true
	}
	ep, ok := g.s.g.FindTransportEndpoint(protocol, header.TCPProtocolNumber, id, nicID).(*tcp.Endpoint)
	if !ok || ep.EndpointState() != tcp.StateListen {
		return false
	}
	l := g.s.listenerAt(id)
	if l == nil || g.s.grafts.has(id) {
		return false
	}
	seg := segmentOf(id, t, len(t)-int(t.DataOffset()))
	if g.s.timeWaits.has(seg.Flow) {
		return false
	}
	l.segment(&seg, arrival{ep: l.ep, id: id, pkt: pkt})
	return true
}

// plainSYN recognises a packet that holds a SYN and nothing else of interest,
// from a unicast address to one of the stack's own.
func (l *link) plainSYN(protocol tcpip.NetworkProtocolNumber, b []byte) (id gstack.TransportEndpointID, t header.TCP, ok bool) {
	var src, dst tcpip.Address
	switch protocol {
	case header.IPv4ProtocolNumber:
		if len(b) < header.IPv4MinimumSize+header.TCPMinimumSize {
			return id, nil, false
		}
		h := header.IPv4(b)
		const version4NoOptions = 0x45
		if b[0] != version4NoOptions || int(h.TotalLength()) != len(b) ||
			h.More() || h.FragmentOffset() != 0 || h.Protocol() != uint8(header.TCPProtocolNumber) ||
			checksum.Checksum(b[:header.IPv4MinimumSize], 0) != 0xffff {
			return id, nil, false
		}
		src, dst = h.SourceAddress(), h.DestinationAddress()
		t = header.TCP(b[header.IPv4MinimumSize:])
	case header.IPv6ProtocolNumber:
		if len(b) < header.IPv6MinimumSize+header.TCPMinimumSize {
			return id, nil, false
		}
		h := header.IPv6(b)
		if b[0]>>4 != 6 || int(h.PayloadLength()) != len(b)-header.IPv6MinimumSize ||
			h.NextHeader() != uint8(header.TCPProtocolNumber) {
			return id, nil, false
		}
		src, dst = h.SourceAddress(), h.DestinationAddress()
		t = header.TCP(b[header.IPv6MinimumSize:])
	default:
		return id, nil, false
	}
	const others = header.TCPFlagAck | header.TCPFlagRst | header.TCPFlagFin
	if t.Flags()&(header.TCPFlagSyn|others) != header.TCPFlagSyn ||
		int(t.DataOffset()) < header.TCPMinimumSize || int(t.DataOffset()) > len(t) ||
		!l.isOwn(dst) || l.isOwn(src) || !l.plainSource(src) {
		return id, nil, false
	}
	return gstack.TransportEndpointID{
		LocalPort:     t.DestinationPort(),
		LocalAddress:  dst,
		RemotePort:    t.SourcePort(),
		RemoteAddress: src,
	}, t, true
}

// plainSource reports whether an address can be a client's without a closer
// look.
func (l *link) plainSource(src tcpip.Address) bool {
	if src.Len() == header.IPv6AddressSize {
		return src != header.IPv6Any && src != header.IPv6Loopback && !header.IsV6MulticastAddress(src) && !header.IsV4MappedAddress(src)
	}
	if first := src.As4()[0]; first == 0 || first == 127 || first >= 224 {
		return false
	}
	for _, broadcast := range l.broadcasts {
		if src == broadcast {
			return false
		}
	}
	return true
}

// checksumValid checks a whole TCP segment.
func checksumValid(id gstack.TransportEndpointID, t header.TCP) bool {
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, id.RemoteAddress, id.LocalAddress, uint16(len(t)))
	return checksum.Checksum(t, sum) == 0xffff
}

// segmentOf turns a TCP header that holds together, and the number of payload
// bytes behind it, into what listenq decides about.
func segmentOf(id gstack.TransportEndpointID, t header.TCP, payload int) listenq.Segment {
	seg := listenq.Segment{
		Flow:   flowOf(id),
		Flags:  listenq.Flags(t.Flags()),
		Seq:    t.SequenceNumber(),
		Ack:    t.AckNumber(),
		Window: t.WindowSize(),
		Len:    payload,
	}
	options := t[header.TCPMinimumSize:t.DataOffset()]
	if seg.Flags.Has(listenq.SYN) {
		o := header.ParseSynOptions(options, seg.Flags.Has(listenq.ACK))
		seg.Options = listenq.Options{
			MSS:           o.MSS,
			WindowScaling: o.WS >= 0,
			WindowScale:   uint8(max(o.WS, 0)),
			SACKPermitted: o.SACKPermitted,
			Timestamps:    o.TS,
			TSVal:         o.TSVal,
			TSEcr:         o.TSEcr,
		}
	} else {
		o := header.ParseTCPOptions(options)
		seg.Options = listenq.Options{Timestamps: o.TS, TSVal: o.TSVal, TSEcr: o.TSEcr}
	}
	return seg
}
