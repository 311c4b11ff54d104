package stack

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// offer is what our SYN-ACKs promise, which must be what netstack will do.
type offer struct {
	windowScale int
	// halfBuffer is the part of a new receive buffer that netstack offers as
	// window, in bytes.
	halfBuffer int
	sack       bool
	mss4, mss6 int
}

func (o *offer) init(g *gstack.Stack, mtu int) error {
	var size tcpip.TCPReceiveBufferSizeRangeOption
	if err := g.TransportProtocolOption(header.TCPProtocolNumber, &size); err != nil {
		return fmt.Errorf("stack: receive buffer size: %w", Errno(err))
	}
	var sack tcpip.TCPSACKEnabled
	if err := g.TransportProtocolOption(header.TCPProtocolNumber, &sack); err != nil {
		return fmt.Errorf("stack: SACK: %w", Errno(err))
	}
	o.windowScale = tcp.FindWndScale(seqnum.Size(size.Max))
	o.halfBuffer = size.Default / 2
	o.sack = bool(sack)
	o.mss4 = mtu - header.IPv4MinimumSize - header.TCPMinimumSize
	o.mss6 = mtu - header.IPv6MinimumSize - header.TCPMinimumSize
	return nil
}

// atMost returns the offer of a socket with TCP_MAXSEG; 0 stands for none.
func (o offer) atMost(maxSegment int) offer {
	if maxSegment != 0 {
		o.mss4, o.mss6 = min(o.mss4, maxSegment), min(o.mss6, maxSegment)
	}
	return o
}

// mss is the largest segment that the stack takes from an address.
func (o *offer) mss(remote tcpip.Address) int {
	if remote.Len() == header.IPv6AddressSize {
		return o.mss6
	}
	return o.mss4
}

// window is the receive window in a SYN-ACK, not scaled: netstack's
// initialReceiveWindow.
func (o *offer) window(mss int) int {
	w := min(o.halfBuffer, 65535, 2*tcp.InitialCwnd*mss)
	w = w >> o.windowScale << o.windowScale
	return max(w, 1)
}

// hopLimit is the time to live of what this package sends (Linux
// ip_default_ttl).
const hopLimit = 64

// A segmentOut is a segment without payload.
type segmentOut struct {
	flags    header.TCPFlags
	seq, ack uint32
	window   int
	options  []byte
}

// packet returns the segment as it goes from one socket to another, with both
// headers in place and both checksums.
func (seg *segmentOut) packet(src, dst tcpip.Address, srcPort, dstPort uint16) *gstack.PacketBuffer {
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

	protocol := header.IPv4ProtocolNumber
	if src.Len() == header.IPv6AddressSize {
		protocol = header.IPv6ProtocolNumber
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength:     uint16(size),
			TransportProtocol: header.TCPProtocolNumber,
			HopLimit:          hopLimit,
			SrcAddr:           src,
			DstAddr:           dst,
		})
	} else {
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)),
			Flags:       header.IPv4FlagDontFragment,
			TTL:         hopLimit,
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
	return pkt
}

// send sends a segment from the local side of id, past netstack, which knows of
// no connection there. A packet that cannot be sent is lost, as on any network.
func (s *Stack) send(id gstack.TransportEndpointID, seg segmentOut) {
	pkt := seg.packet(id.LocalAddress, id.RemoteAddress, id.LocalPort, id.RemotePort)
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
		seg.window = offer.window(mss)
		seg.options = offer.synackOptions(options[:], mss, &o.Handshake)
	case listenq.SendACK:
		seg.flags = header.TCPFlagAck
		seg.window = offer.window(mss)
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

// synackOptions encodes the options of a SYN-ACK in Linux's order: MSS, SACK
// permitted and timestamps, window scale (tcp_options_write).
func (o *offer) synackOptions(b []byte, mss int, h *listenq.Handshake) []byte {
	n := header.EncodeMSSOption(uint32(mss), b)
	sack := o.sack && h.Peer.SACKPermitted
	if sack != h.Peer.Timestamps { // one alone is padded to four bytes
		n += header.EncodeNOP(b[n:])
		n += header.EncodeNOP(b[n:])
	}
	if sack {
		n += header.EncodeSACKPermittedOption(b[n:])
	}
	if h.Peer.Timestamps {
		n += header.EncodeTSOption(h.TSVal, h.Peer.TSVal, b[n:])
	}
	if h.Peer.WindowScaling {
		n += header.EncodeNOP(b[n:])
		n += header.EncodeWSOption(o.windowScale, b[n:])
	}
	return b[:n]
}

// timestampOption encodes the timestamp option alone.
func timestampOption(b []byte, val, ecr uint32) []byte {
	n := header.EncodeNOP(b)
	n += header.EncodeNOP(b[n:])
	n += header.EncodeTSOption(val, ecr, b[n:])
	return b[:n]
}
