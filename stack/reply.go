package stack

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
)

// hopLimit is the time to live of what this package sends (Linux
// ip_default_ttl).
const hopLimit = 64

// A segmentOut is a segment without payload.
type segmentOut struct {
	flags    header.TCPFlags
	seq, ack uint32
	window   int
	options  []byte
	ttl, tos uint8 // 0 stand for the defaults
}

// packet returns the segment as it goes from one socket to another, with both
// headers in place and both checksums. Between the IP versions nothing goes.
func (seg *segmentOut) packet(src, dst tcpip.Address, srcPort, dstPort uint16) (*gstack.PacketBuffer, bool) {
	if src.Len() != dst.Len() {
		return nil, false
	}
	size := header.TCPMinimumSize + len(seg.options)
	ip := header.IPv4MinimumSize
	if src.Len() == header.IPv6AddressSize {
		ip = header.IPv6MinimumSize
	}
	view := buffer.NewViewSize(ip + size)
	b := view.AsSlice()
	t := header.TCP(b[ip:])
	t.Encode(&header.TCPFields{
		SrcPort:    srcPort,
		DstPort:    dstPort,
		SeqNum:     seg.seq,
		AckNum:     seg.ack,
		DataOffset: uint8(size),
		Flags:      seg.flags,
		WindowSize: uint16(seg.window),
	})
	copy(t[header.TCPMinimumSize:], seg.options)
	t.SetChecksum(^checksum.Checksum(t, header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, uint16(size))))

	protocol, ttl := header.IPv4ProtocolNumber, seg.ttl
	if ttl == 0 {
		ttl = hopLimit
	}
	if src.Len() == header.IPv6AddressSize {
		protocol = header.IPv6ProtocolNumber
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength:     uint16(size),
			TransportProtocol: header.TCPProtocolNumber,
			HopLimit:          ttl,
			TrafficClass:      seg.tos,
			SrcAddr:           src,
			DstAddr:           dst,
		})
	} else {
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)),
			Flags:       header.IPv4FlagDontFragment,
			TTL:         ttl,
			TOS:         seg.tos,
			Protocol:    uint8(header.TCPProtocolNumber),
			SrcAddr:     src,
			DstAddr:     dst,
		})
		h.SetChecksum(^h.CalculateChecksum())
	}

	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	pkt.NetworkProtocolNumber = protocol
	pkt.TransportProtocolNumber = header.TCPProtocolNumber
	pkt.NetworkHeader().Consume(ip)
	pkt.TransportHeader().Consume(size)
	return pkt, true
}

// send sends a segment from the local side of id, past netstack, which knows of
// no connection there. A packet that cannot be sent is lost, as on any network.
func (s *Stack) send(id gstack.TransportEndpointID, seg segmentOut) {
	pkt, ok := seg.packet(id.LocalAddress, id.RemoteAddress, id.LocalPort, id.RemotePort)
	if !ok {
		return
	}
	defer pkt.DecRef()
	if s.link.isOwn(id.RemoteAddress) {
		s.link.turnRound(pkt)
		return
	}
	if err := s.link.writeOne(pkt); err != nil {
		s.logger.Debug("answer not sent", "to", id.RemoteAddress, "cause", err)
	}
}

// answer sends what an outcome asks for, with the offer of its listener.
func (s *Stack) answer(offer *offer, id gstack.TransportEndpointID, o *listenq.Outcome) {
	var options [40]byte
	mss := offer.mss(id.RemoteAddress)
	seg := segmentOut{seq: o.Seq, ack: o.Ack}
	switch o.Verdict {
	case listenq.SendSYNACK, listenq.SendCookie:
		seg.flags = header.TCPFlagSyn | header.TCPFlagAck
		seg.window = offer.window(mss, &o.Handshake)
		seg.options = offer.synackOptions(options[:], mss, &o.Handshake)
		seg.ttl, seg.tos = offer.ipFields(id.RemoteAddress)
	case listenq.SendACK:
		seg.flags = header.TCPFlagAck
		seg.window = offer.window(mss, &o.Handshake)
		if o.Handshake.Peer.WindowScaling {
			seg.window >>= offer.windowScale
		}
		if o.Handshake.Peer.Timestamps {
			seg.options = timestampOption(options[:], o.Handshake.TSVal, o.Handshake.Peer.TSVal)
		}
	case listenq.SendRST:
		seg.flags = header.TCPFlagRst
		if o.RSTACK {
			seg.flags |= header.TCPFlagAck
		}
	default:
		return
	}
	s.send(id, seg)
}

// timestampOption encodes the timestamp option alone.
func timestampOption(b []byte, val, ecr uint32) []byte {
	n := header.EncodeNOP(b)
	n += header.EncodeNOP(b[n:])
	n += header.EncodeTSOption(val, ecr, b[n:])
	return b[:n]
}
