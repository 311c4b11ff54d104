package stacktest

import (
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
)

// A wire is the link of the stack under test. What the stack sends is noted and
// handed to the client that it is for.
type wire struct {
	*channel.Endpoint
	lab        *Lab
	dispatcher gstack.NetworkDispatcher

	mu      sync.Mutex
	packets []packet
}

// A packet is an IP packet as it crossed the wire.
type packet struct {
	at      time.Duration // on the clock, since the lab was made
	toStack bool
	bytes   []byte
	name    string     // of the client
	seg     Segment    // relative to the client's connection
	icmp    *ICMPError // in place of a segment
}

// received is a segment on its way to a client.
type received struct {
	at      time.Duration
	flow    listenq.Flow
	tcp     header.TCP
	payload []byte
	number  int // in wire.packets
}

func newWire(lab *Lab, mtu uint32) *wire {
	return &wire{Endpoint: channel.New(0, mtu, ""), lab: lab}
}

// Attach implements gstack.NetworkLinkEndpoint.
func (w *wire) Attach(d gstack.NetworkDispatcher) { w.dispatcher = d }

// IsAttached implements gstack.NetworkLinkEndpoint.
func (w *wire) IsAttached() bool { return w.dispatcher != nil }

// WritePackets implements gstack.LinkWriter; the stack calls it.
func (w *wire) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		b := pkt.ToBuffer()
		w.leaves(b.Flatten())
		b.Release()
	}
	return pkts.Len(), nil
}

// leaves handles one packet that the stack sends.
func (w *wire) leaves(b []byte) {
	local, remote, t, ok := dissect(b)
	if !ok {
		return // not TCP: netstack's own router solicitations and the like
	}
	r := received{
		at:      w.lab.clock.Elapsed(),
		flow:    listenq.NewFlow(local, remote),
		tcp:     t[:t.DataOffset()],
		payload: t[t.DataOffset():],
	}
	w.mu.Lock()
	r.number = len(w.packets)
	name, known := w.lab.names[r.flow]
	if !known {
		name = remote.String()
	}
	w.packets = append(w.packets, packet{at: r.at, bytes: b, name: name, seg: absolute(t)})
	w.mu.Unlock()
	if e, ok := w.lab.byFlow[r.flow]; ok {
		e.arrives(r)
	}
}

// resolved replaces the absolute numbers of a packet by relative ones.
func (w *wire) resolved(number int, seg Segment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.packets[number].seg = seg
}

// deliver hands a packet to the stack.
func (w *wire) deliver(p packet) {
	b := p.bytes
	p.at, p.toStack = w.lab.clock.Elapsed(), true
	w.mu.Lock()
	w.packets = append(w.packets, p)
	w.mu.Unlock()
	protocol := header.IPv4ProtocolNumber
	if b[0]>>4 == 6 {
		protocol = header.IPv6ProtocolNumber
	}
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	defer pkt.DecRef()
	w.dispatcher.DeliverNetworkPacket(protocol, pkt)
}

// dissect takes a TCP packet apart.
func dissect(b []byte) (src, dst netip.AddrPort, t header.TCP, ok bool) {
	var from, to tcpip.Address
	switch {
	case len(b) >= header.IPv4MinimumSize && b[0]>>4 == 4:
		h := header.IPv4(b)
		if h.Protocol() != uint8(header.TCPProtocolNumber) {
			return src, dst, nil, false
		}
		if int(h.HeaderLength()) > len(b) {
			return src, dst, nil, false
		}
		from, to, t = h.SourceAddress(), h.DestinationAddress(), header.TCP(b[h.HeaderLength():])
	case len(b) >= header.IPv6MinimumSize && b[0]>>4 == 6:
		h := header.IPv6(b)
		if h.NextHeader() != uint8(header.TCPProtocolNumber) {
			return src, dst, nil, false
		}
		from, to, t = h.SourceAddress(), h.DestinationAddress(), header.TCP(b[header.IPv6MinimumSize:])
	default:
		return src, dst, nil, false
	}
	if len(t) < header.TCPMinimumSize || int(t.DataOffset()) < header.TCPMinimumSize || int(t.DataOffset()) > len(t) {
		return src, dst, nil, false
	}
	a, _ := netip.AddrFromSlice(from.AsSlice())
	z, _ := netip.AddrFromSlice(to.AsSlice())
	return netip.AddrPortFrom(a, t.SourcePort()), netip.AddrPortFrom(z, t.DestinationPort()), t, true
}
