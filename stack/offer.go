package stack

import (
	"math/bits"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// An Offer is what a listening socket says of itself in a SYN-ACK, beside the rules of
// its queue. The zero value is a socket as Linux makes it. Connections inherit it.
type Offer struct {
	// MaxSegment is TCP_MAXSEG: the most that a SYN-ACK offers and that a connection
	// sends, options included, 88 to 32767 bytes; 0 leaves it to the link.
	MaxSegment int
	// ReceiveBuffer is SO_RCVBUF as it reads back, twice what was set, in bytes; half
	// of it is the window that is offered. 0 leaves it to netstack. The window scale
	// is that of the buffer at the time of listen.
	ReceiveBuffer int
	// TTL and HopLimit are IP_TTL and IPV6_UNICAST_HOPS; 0 stands for 64.
	TTL, HopLimit uint8
	// TOS and TrafficClass are IP_TOS and IPV6_TCLASS.
	TOS, TrafficClass uint8
}

// offer is what SYN-ACKs of a listener promise. What netstack would say instead never
// leaves: adopt makes a connection keep the promise. An offer never changes.
type offer struct {
	Offer
	windowScale int
	// halfBuffer is the part of a new receive buffer that netstack offers as
	// window, in bytes.
	halfBuffer int
	sack       bool
	mss4, mss6 int
}

// newOffer returns what a listener offers that has these options, by netstack's
// settings of the moment.
func (s *Stack) newOffer(options Offer) *offer {
	var size tcpip.TCPReceiveBufferSizeRangeOption
	s.g.TransportProtocolOption(header.TCPProtocolNumber, &size) // it cannot fail
	var sack tcpip.TCPSACKEnabled
	s.g.TransportProtocolOption(header.TCPProtocolNumber, &sack)
	o := &offer{
		Offer:       options,
		windowScale: tcp.FindWndScale(seqnum.Size(size.Max)),
		halfBuffer:  size.Default / 2,
		sack:        bool(sack),
		mss4:        s.link.mtu() - header.IPv4MinimumSize - header.TCPMinimumSize,
		mss6:        s.link.mtu() - header.IPv6MinimumSize - header.TCPMinimumSize,
	}
	if most := options.MaxSegment; most != 0 {
		o.mss4, o.mss6 = min(o.mss4, most), min(o.mss6, most)
	}
	if options.ReceiveBuffer != 0 {
		o.windowScale = min(max(bits.Len(uint(options.ReceiveBuffer/2))-16, 0), header.MaxWndScale)
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

// ipFields are the TTL and the type of service, or what IPv6 has for them, of a
// SYN-ACK to an address.
func (o *offer) ipFields(remote tcpip.Address) (ttl, tos uint8) {
	if remote.Len() == header.IPv6AddressSize {
		return o.HopLimit, o.TrafficClass
	}
	return o.TTL, o.TOS
}

// window is the receive window in a SYN-ACK, in bytes, not scaled: half of the buffer
// in whole segments, if that was set (tcp_select_initial_window with
// TCP_DEFAULT_SCALING_RATIO), or netstack's initialReceiveWindow.
func (o *offer) window(mss int, h *listenq.Handshake) int {
	if space := o.ReceiveBuffer / 2; space != 0 {
		if h.Peer.Timestamps {
			mss -= timestampSize
		}
		if space > mss {
			space -= space % mss
		}
		return min(space, 65535)
	}
	w := min(o.halfBuffer, 65535, 2*tcp.InitialCwnd*mss)
	w = w >> o.windowScale << o.windowScale
	return max(w, 1)
}

// timestampSize is the length of the timestamp option with its padding.
const timestampSize = 12

// allows bounds what the peer takes by what the socket wants to send.
func (o *offer) allows(peer listenq.Options) listenq.Options {
	if o.MaxSegment != 0 {
		peer.MSS = min(peer.MSS, uint16(o.MaxSegment))
	}
	return peer
}

// inherit gives a connection the options of its listener.
func (o *offer) inherit(ep *tcp.Endpoint) {
	set := func(name tcpip.SockOptInt, v uint8) {
		if v != 0 {
			ep.SetSockOptInt(name, int(v)) // in range
		}
	}
	set(tcpip.IPv4TTLOption, o.TTL)
	set(tcpip.IPv6HopLimitOption, o.HopLimit)
	set(tcpip.IPv4TOSOption, o.TOS)
	set(tcpip.IPv6TrafficClassOption, o.TrafficClass)
	if size := int64(o.ReceiveBuffer); size != 0 {
		ep.SocketOptions().SetReceiveBufferSize(size, true) // no more tuning
	}
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
