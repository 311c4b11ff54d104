package stack

import (
	"fmt"

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
}

func (o *offer) init(g *gstack.Stack) error {
	var size tcpip.TCPReceiveBufferSizeRangeOption
	if err := g.TransportProtocolOption(header.TCPProtocolNumber, &size); err != nil {
		return fmt.Errorf("stack: receive buffer size: %w", errnoOf(err))
	}
	var sack tcpip.TCPSACKEnabled
	if err := g.TransportProtocolOption(header.TCPProtocolNumber, &sack); err != nil {
		return fmt.Errorf("stack: SACK: %w", errnoOf(err))
	}
	o.windowScale = tcp.FindWndScale(seqnum.Size(size.Max))
	o.halfBuffer = size.Default / 2
	o.sack = bool(sack)
	return nil
}

// window is the receive window in a SYN-ACK, not scaled: netstack's
// initialReceiveWindow.
func (o *offer) window(mss int) int {
	w := min(o.halfBuffer, 65535, 2*tcp.InitialCwnd*mss)
	w = w >> o.windowScale << o.windowScale
	return max(w, 1)
}

// A segmentOut is a segment that this package sends for a flow that netstack has
// no connection for.
type segmentOut struct {
	flags    header.TCPFlags
	seq, ack uint32
	window   int
	options  []byte
}

// send builds and sends a segment from the local side of id. A packet that
// cannot be sent is lost, as on any network.
func (s *Stack) send(id gstack.TransportEndpointID, out func(mss int) segmentOut) {
	protocol := header.IPv4ProtocolNumber
	if id.RemoteAddress.Len() == header.IPv6AddressSize {
		protocol = header.IPv6ProtocolNumber
	}
	route, err := s.g.FindRoute(nicID, id.LocalAddress, id.RemoteAddress, protocol, false)
	if err != nil {
		s.logger.Debug("no route for answer", "to", id.RemoteAddress, "cause", err)
		return
	}
	defer route.Release()

	seg := out(int(route.MTU()) - header.TCPMinimumSize)
	size := header.TCPMinimumSize + len(seg.options)
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{ReserveHeaderBytes: int(route.MaxHeaderLength()) + size})
	defer pkt.DecRef()
	pkt.Owner = ours
	pkt.TransportProtocolNumber = header.TCPProtocolNumber
	h := header.TCP(pkt.TransportHeader().Push(size))
	h.Encode(&header.TCPFields{
		SrcPort:    id.LocalPort,
		DstPort:    id.RemotePort,
		SeqNum:     seg.seq,
		AckNum:     seg.ack,
		DataOffset: uint8(size),
		Flags:      seg.flags,
		WindowSize: uint16(seg.window),
	})
	copy(h[header.TCPMinimumSize:], seg.options)
	if route.RequiresTXTransportChecksum() {
		h.SetChecksum(^checksum.Checksum(h, route.PseudoHeaderChecksum(header.TCPProtocolNumber, uint16(size))))
	}
	if err := route.WritePacket(gstack.NetworkHeaderParams{
		Protocol: header.TCPProtocolNumber,
		TTL:      route.DefaultTTL(),
		DF:       true,
	}, pkt); err != nil {
		s.logger.Debug("answer not sent", "to", id.RemoteAddress, "cause", err)
	}
}

// answer sends what an outcome asks for.
func (s *Stack) answer(id gstack.TransportEndpointID, o *listenq.Outcome) {
	switch o.Verdict {
	case listenq.SendSYNACK, listenq.SendCookie:
		s.send(id, func(mss int) segmentOut {
			var buf [40]byte
			return segmentOut{
				flags:   header.TCPFlagSyn | header.TCPFlagAck,
				seq:     o.Seq,
				ack:     o.Ack,
				window:  s.offer.window(mss),
				options: s.offer.synackOptions(buf[:], mss, &o.Handshake),
			}
		})
	case listenq.SendACK:
		s.send(id, func(mss int) segmentOut {
			var buf [12]byte
			window := s.offer.window(mss)
			if o.Handshake.Peer.WindowScaling {
				window >>= s.offer.windowScale
			}
			return segmentOut{
				flags:   header.TCPFlagAck,
				seq:     o.Seq,
				ack:     o.Ack,
				window:  window,
				options: ackOptions(buf[:], o.Handshake.Peer.Timestamps, o.Handshake.TSVal, o.Handshake.Peer.TSVal),
			}
		})
	case listenq.SendRST:
		flags := header.TCPFlags(header.TCPFlagRst)
		if o.RSTACK {
			flags |= header.TCPFlagAck
		}
		s.send(id, func(int) segmentOut {
			return segmentOut{flags: flags, seq: o.Seq, ack: o.Ack}
		})
	}
}

// synackOptions encodes the options of a SYN-ACK in Linux's order: MSS, SACK
// permitted and timestamps, window scale (tcp_options_write).
func (o *offer) synackOptions(b []byte, mss int, h *listenq.Handshake) []byte {
	n := header.EncodeMSSOption(uint32(mss), b)
	sack := o.sack && h.Peer.SACKPermitted
	if !h.Peer.Timestamps && sack {
		n += header.EncodeNOP(b[n:])
		n += header.EncodeNOP(b[n:])
	}
	if sack {
		n += header.EncodeSACKPermittedOption(b[n:])
	}
	if h.Peer.Timestamps {
		if !sack {
			n += header.EncodeNOP(b[n:])
			n += header.EncodeNOP(b[n:])
		}
		n += header.EncodeTSOption(h.TSVal, h.Peer.TSVal, b[n:])
	}
	if h.Peer.WindowScaling {
		n += header.EncodeNOP(b[n:])
		n += header.EncodeWSOption(o.windowScale, b[n:])
	}
	return b[:n]
}

// ackOptions encodes the timestamp option, if it is in use.
func ackOptions(b []byte, timestamps bool, val, ecr uint32) []byte {
	if !timestamps {
		return nil
	}
	n := header.EncodeNOP(b)
	n += header.EncodeNOP(b[n:])
	n += header.EncodeTSOption(val, ecr, b[n:])
	return b[:n]
}
