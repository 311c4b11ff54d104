package stack

import (
	"bytes"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link stands between netstack and the link that the user gave. It swallows the
// SYN-ACKs of connections being grafted, and turns round what the stack sends to
// its own addresses: netstack could do that by itself, but then packets would be
// delivered with its locks held, past this place.
type link struct {
	nested.Endpoint
	s    *Stack
	own4 [][]byte
	own6 [][]byte
}

func newLink(s *Stack, child gstack.LinkEndpoint, addresses []netip.Prefix) *link {
	l := &link{s: s}
	for _, p := range addresses {
		if p.Addr().Is4() {
			l.own4 = append(l.own4, p.Addr().AsSlice())
		} else {
			l.own6 = append(l.own6, p.Addr().AsSlice())
		}
	}
	l.Init(child, l)
	return l
}

// WritePackets implements gstack.LinkWriter.
func (l *link) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range pkts.AsSlice() {
		if l.swallows(pkt) || l.toSelf(pkt) {
			return l.writeSome(pkts.AsSlice(), i)
		}
	}
	return l.Endpoint.WritePackets(pkts)
}

// writeSome is WritePackets for a list whose packet i, and none before it, does
// not go out.
func (l *link) writeSome(pkts []*gstack.PacketBuffer, i int) (int, tcpip.Error) {
	for n, pkt := range pkts {
		switch {
		case n >= i && l.swallows(pkt):
			l.s.grafts.synack(pkt)
		case n >= i && l.toSelf(pkt):
			l.turnRound(pkt)
		default:
			var one gstack.PacketBufferList
			one.PushBack(pkt)
			if _, err := l.Endpoint.WritePackets(one); err != nil {
				return n, err
			}
		}
	}
	return len(pkts), nil
}

// swallows reports whether pkt is a SYN-ACK that netstack, not this package,
// made.
func (l *link) swallows(pkt *gstack.PacketBuffer) bool {
	if pkt.TransportProtocolNumber != header.TCPProtocolNumber || pkt.Owner == ours {
		return false
	}
	h := header.TCP(pkt.TransportHeader().Slice())
	return len(h) >= header.TCPMinimumSize && h.Flags() == header.TCPFlagSyn|header.TCPFlagAck && l.s.grafts.wants(pkt)
}

func (l *link) toSelf(pkt *gstack.PacketBuffer) bool {
	h := pkt.NetworkHeader().Slice()
	var own [][]byte
	var dst []byte
	switch {
	case pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber && len(h) >= header.IPv4MinimumSize:
		own, dst = l.own4, h[16:20]
	case pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber && len(h) >= header.IPv6MinimumSize:
		own, dst = l.own6, h[24:40]
	}
	for _, a := range own {
		if bytes.Equal(a, dst) {
			return true
		}
	}
	return false
}

func (l *link) turnRound(pkt *gstack.PacketBuffer) {
	in := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: pkt.ToBuffer()})
	in.RXChecksumValidated = true // it has not left this process
	protocol := pkt.NetworkProtocolNumber
	ok := l.s.later.do(func() {
		l.DeliverNetworkPacket(protocol, in)
		in.DecRef()
	})
	if !ok {
		in.DecRef()
		l.s.drop(func(d *Drops) { d.LaterOverflow++ })
	}
}
