package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link stands between netstack and the link that the user gave. It offers every
// packet that comes in to the express lane, judges ICMP errors, swallows the SYN-ACKs of connections
// being grafted, and turns round what the stack sends to its own addresses:
// netstack could do that by itself, but then packets would be delivered with its
// locks held, past this place.
type link struct {
	nested.Endpoint
	s          *Stack
	own        []tcpip.Address
	own4       []uint32        // those of IPv4
	broadcasts []tcpip.Address // of the IPv4 networks
}

func newLink(s *Stack, child gstack.LinkEndpoint, addresses []netip.Prefix) *link {
	l := &link{s: s}
	for _, p := range addresses {
		a := toAddress(p.Addr())
		l.own = append(l.own, a)
		if p.Addr().Is4() {
			four := p.Addr().As4()
			l.own4 = append(l.own4, binary.BigEndian.Uint32(four[:]))
			subnet := tcpip.AddressWithPrefix{Address: a, PrefixLen: p.Bits()}.Subnet()
			l.broadcasts = append(l.broadcasts, subnet.Broadcast())
		}
	}
	l.Init(child, l)
	return l
}

// mtu is the size of the largest IP packet, headers included.
func (l *link) mtu() int { return int(l.MTU()) }

// isOwn reports whether an address is the stack's.
func (l *link) isOwn(a tcpip.Address) bool {
	for _, own := range l.own {
		if a == own {
			return true
		}
	}
	return false
}

// DeliverNetworkPacket implements gstack.NetworkDispatcher; the user's link calls
// it.
func (l *link) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	if !l.refuses(protocol, fixedHeader(protocol, pkt), pkt) {
		// To look further into a packet may move it.
		l.deliver(protocol, fixedHeader(protocol, pkt), pkt)
	}
}

// deliver takes a packet with its fixedHeader.
func (l *link) deliver(protocol tcpip.NetworkProtocolNumber, h []byte, pkt *gstack.PacketBuffer) {
	if carriesICMP(protocol, h) {
		if l.s.icmp(protocol, pkt) {
			return
		}
	} else if l.s.gate.express(protocol, pkt) {
		return
	}
	l.Endpoint.DeliverNetworkPacket(protocol, pkt)
}

// fixedHeader returns an IP header without what is optional in it, or nil if the
// packet is shorter.
func fixedHeader(protocol tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) []byte {
	size := header.IPv4MinimumSize
	if protocol == header.IPv6ProtocolNumber {
		size = header.IPv6MinimumSize
	}
	b, ok := pkt.Data().PullUp(size)
	if !ok {
		return nil
	}
	return b
}

// WritePackets implements gstack.LinkWriter; netstack calls it.
func (l *link) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	l.s.activity.Add(1)
	waits := false
	for _, pkt := range pkts.AsSlice() {
		if g, ok := pkt.Owner.(*guard); ok {
			g.leaves(pkt)
			waits = waits || g.last.Load() != nil
		}
	}
	if waits {
		return l.writeLast(pkts.AsSlice())
	}
	return l.write(pkts)
}

// writeLast is WritePackets while the FIN of a connection is about to be sent.
func (l *link) writeLast(pkts []*gstack.PacketBuffer) (int, tcpip.Error) {
	checksummed := l.Capabilities()&gstack.CapabilityTXChecksumOffload == 0
	for n, pkt := range pkts {
		out := []*gstack.PacketBuffer{pkt.IncRef()}
		if g, ok := pkt.Owner.(*guard); ok {
			if last := g.last.Load(); last != nil {
				out = last.next(out[0], checksummed)
			}
		}
		for _, pkt := range out {
			if err := l.writeLate(pkt); err != nil {
				return n, err
			}
		}
	}
	return len(pkts), nil
}

// writeLate writes a packet that may have waited, and releases it.
func (l *link) writeLate(pkt *gstack.PacketBuffer) tcpip.Error {
	defer pkt.DecRef()
	var one gstack.PacketBufferList
	one.PushBack(pkt)
	_, err := l.write(one)
	return err
}

// write sends packets, but for those that do not go out.
func (l *link) write(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range pkts.AsSlice() {
		if l.swallows(pkt) || l.isOwn(destination(pkt)) || isICMP(pkt) {
			return l.writeSome(pkts.AsSlice(), i)
		}
	}
	return l.Endpoint.WritePackets(pkts)
}

// writeSome is write for a list whose packet i, and none before it, does
// not go out.
func (l *link) writeSome(pkts []*gstack.PacketBuffer, i int) (int, tcpip.Error) {
	for n, pkt := range pkts {
		switch {
		case n >= i && l.swallows(pkt):
			if header.TCP(pkt.TransportHeader().Slice()).Flags()&header.TCPFlagRst == 0 {
				l.s.grafts.synack(pkt)
			}
		case n >= i && l.isOwn(destination(pkt)):
			l.turnRound(pkt)
		case n >= i && l.s.icmpLimit.withholds(pkt):
		default:
			if err := l.writeOne(pkt); err != nil {
				return n, err
			}
		}
	}
	return len(pkts), nil
}

func (l *link) writeOne(pkt *gstack.PacketBuffer) tcpip.Error {
	var one gstack.PacketBufferList
	one.PushBack(pkt)
	_, err := l.Endpoint.WritePackets(one)
	return err
}

// swallows reports whether pkt, which netstack made, must not go out: the SYN-ACK of
// a graft, or a RST for a segment that came while netstack gave up a connection in
// TIME-WAIT.
func (l *link) swallows(pkt *gstack.PacketBuffer) bool {
	if pkt.TransportProtocolNumber != header.TCPProtocolNumber {
		return false
	}
	h := header.TCP(pkt.TransportHeader().Slice())
	if len(h) < header.TCPMinimumSize {
		return false
	}
	switch f := h.Flags(); {
	case f == header.TCPFlagSyn|header.TCPFlagAck:
		return l.s.grafts.wants(pkt)
	case f&header.TCPFlagRst != 0:
		return l.s.timeWaits.has(flowOf(idOfOutgoing(pkt)))
	}
	return false
}

// turnRound delivers a packet that the stack has sent to itself.
func (l *link) turnRound(pkt *gstack.PacketBuffer) {
	in := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: pkt.ToBuffer()})
	in.RXChecksumValidated = true // it has not left this process
	protocol := pkt.NetworkProtocolNumber
	ok := l.s.later.do(func() {
		l.deliver(protocol, fixedHeader(protocol, in), in)
		in.DecRef()
	})
	if !ok {
		in.DecRef()
		l.s.drop(func(d *Drops) { d.LaterOverflow++ })
	}
}

// destination returns where a packet goes.
func destination(pkt *gstack.PacketBuffer) tcpip.Address {
	h := pkt.NetworkHeader().Slice()
	switch {
	case pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber && len(h) >= header.IPv4MinimumSize:
		return header.IPv4(h).DestinationAddress()
	case pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber && len(h) >= header.IPv6MinimumSize:
		return header.IPv6(h).DestinationAddress()
	}
	return tcpip.Address{}
}
