//go:build linux

package torture

import (
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// A wire is a host's link to the router. Each packet is an event of its own, so that
// whoever gets it is done with it before the next one comes.
type wire struct {
	*channel.Endpoint
	w          *world
	end        int
	dispatcher gstack.NetworkDispatcher
}

func newWire(w *world, end, mtu int) *wire {
	return &wire{Endpoint: channel.New(0, uint32(mtu), ""), w: w, end: end}
}

// Attach implements gstack.NetworkLinkEndpoint.
func (l *wire) Attach(d gstack.NetworkDispatcher) { l.dispatcher = d }

// IsAttached implements gstack.NetworkLinkEndpoint.
func (l *wire) IsAttached() bool { return l.dispatcher != nil }

// WritePackets implements gstack.LinkWriter.
func (l *wire) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		b := flat(pkt)
		l.w.after(0, func() { l.w.net.forward(l.end, b) })
	}
	return pkts.Len(), nil
}

// deliver hands a packet to the host.
func (l *wire) deliver(b []byte) {
	protocol := header.IPv4ProtocolNumber
	switch header.IPVersion(b) {
	case header.IPv4Version:
	case header.IPv6Version:
		protocol = header.IPv6ProtocolNumber
	default:
		return
	}
	if l.dispatcher == nil {
		return // closed
	}
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	defer pkt.DecRef()
	l.dispatcher.DeliverNetworkPacket(protocol, pkt)
}

func flat(pkt *gstack.PacketBuffer) []byte {
	buf := pkt.ToBuffer()
	defer buf.Release()
	return buf.Flatten()
}

// A tap notes what a host sends, before anything happens to it.
type tap struct {
	nested.Endpoint
	w   *world
	end int
}

func newTap(w *world, end int, below gstack.LinkEndpoint) *tap {
	t := &tap{w: w, end: end}
	t.Init(below, t)
	return t
}

// WritePackets implements gstack.LinkWriter.
func (t *tap) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	if t.w.rec.on {
		for _, pkt := range pkts.AsSlice() {
			t.w.rec.packet(t.end, "sends", flat(pkt))
		}
	}
	return t.Endpoint.WritePackets(pkts)
}

// A router joins both wires. It is where the path is narrow, and where a third party
// looks on.
type router struct {
	w   *world
	mtu int // in bytes; 0 for none of its own
}

func newRouter(w *world) *router { return &router{w: w} }

// addr is the router's, of the version of an IP packet.
func (r *router) addr(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr("2001:db8::fe")
	}
	return netip.MustParseAddr("192.0.2.254")
}

// forward takes a packet that one end has sent to the other.
func (r *router) forward(from int, b []byte) {
	to := r.w.hosts[1-from]
	if to == nil {
		return // still being built
	}
	seg := r.observe(from, b)
	if r.mtu == 0 || len(b) <= r.mtu {
		r.pass(from, b)
		return
	}
	h := header.IPv4(b)
	if header.IPVersion(b) == header.IPv4Version && h.IsValid(len(b)) && h.Flags()&header.IPv4FlagDontFragment == 0 {
		for _, fragment := range fragments(h, r.mtu) {
			r.w.after(0, func() { r.pass(from, fragment) })
		}
		return
	}
	if seg != nil {
		r.tooBig(from, seg)
	}
}

// pass delivers a packet.
func (r *router) pass(from int, b []byte) {
	r.w.rec.delivers(1-from, b)
	r.w.hosts[1-from].wire.deliver(b)
}

// A segmentSeen is a TCP segment that crosses the router.
type segmentSeen struct {
	stacktest.Segment
	c *connection
}

// tooBig answers a segment that does not fit.
func (r *router) tooBig(from int, seg *segmentSeen) {
	e := stacktest.ICMPError{Type: 3, Code: 4, MTU: uint32(r.mtu), From: r.addr(r.w.plan.ipv6)}
	if r.w.plan.ipv6 {
		e.Type, e.Code = 2, 0
	}
	b := e.Packet(seg.c.addr(from), seg.c.addr(1-from), uint32(seg.Seq))
	r.w.after(0, func() { r.pass(1-from, b) })
}

// fragments cuts an IPv4 packet without options (RFC 791, section 3.2).
func fragments(h header.IPv4, mtu int) (all [][]byte) {
	const unit = 8
	hl := int(h.HeaderLength())
	payload := h[hl:]
	most := (mtu - hl) / unit * unit
	for offset := 0; offset < len(payload); offset += most {
		part := payload[offset:min(offset+most, len(payload))]
		b := make([]byte, hl+len(part))
		copy(b, h[:hl])
		copy(b[hl:], part)
		f := header.IPv4(b)
		f.SetTotalLength(uint16(len(b)))
		flags := h.Flags()
		if offset+most < len(payload) {
			flags |= header.IPv4FlagMoreFragments
		}
		f.SetFlagsFragmentOffset(flags, h.FragmentOffset()+uint16(offset))
		f.SetChecksum(0)
		f.SetChecksum(^f.CalculateChecksum())
		all = append(all, b)
	}
	return all
}

// A direction is what has crossed the router from one end of a connection.
type direction struct {
	seen    bool
	isn     uint32
	next    uint32 // beyond the last byte, SYN or FIN
	ack     uint32
	window  uint32 // scaled
	scale   uint8
	stamps  bool
	tsVal   uint32
	resets  int           // RSTs that arrived
	last    time.Duration // when the last packet arrived
	packets [][]byte      // some
}

// packetsKept is how many packets of each direction can come once more.
const packetsKept = 64

// observe notes an undamaged segment of one of the connections.
func (r *router) observe(from int, b []byte) *segmentSeen {
	if !intact(b) {
		return nil
	}
	source, dest, s, ok := stacktest.ParsePacket(b)
	if !ok {
		return nil
	}
	port := source.Port()
	if from == server {
		port = dest.Port()
	}
	c := r.w.byPort(int(port))
	if c == nil {
		return nil
	}
	d := &c.wire[from]
	d.last = r.w.now()
	if s.Flags.Has(listenq.RST) {
		d.resets++
		return &segmentSeen{s, c}
	}
	if len(d.packets) < packetsKept {
		d.packets = append(d.packets, b)
	}
	next := uint32(s.Seq) + uint32(len(s.Payload))
	if s.Flags.Has(listenq.FIN) {
		next++
	}
	if s.Flags.Has(listenq.SYN) {
		next++
		d.isn, d.next, d.scale = uint32(s.Seq), next, s.Options.WindowScale
	}
	if !d.seen || int32(next-d.next) > 0 {
		d.next = next
	}
	d.seen = true
	if s.Flags.Has(listenq.ACK) && (d.ack == 0 || int32(uint32(s.Ack)-d.ack) >= 0) {
		d.ack, d.window = uint32(s.Ack), uint32(s.Window)<<d.scale
	}
	if s.Options.Timestamps {
		d.stamps, d.tsVal = true, s.Options.TSVal
	}
	return &segmentSeen{s, c}
}

// intact reports whether the checksums of a TCP packet hold.
func intact(b []byte) bool {
	var src, dst tcpip.Address
	var segment []byte
	switch {
	case header.IPVersion(b) == header.IPv4Version:
		h := header.IPv4(b)
		if !h.IsValid(len(b)) || !h.IsChecksumValid() || h.Protocol() != uint8(header.TCPProtocolNumber) {
			return false
		}
		src, dst, segment = h.SourceAddress(), h.DestinationAddress(), h.Payload()
	case header.IPVersion(b) == header.IPv6Version:
		h := header.IPv6(b)
		if !h.IsValid(len(b)) || h.NextHeader() != uint8(header.TCPProtocolNumber) {
			return false
		}
		src, dst, segment = h.SourceAddress(), h.DestinationAddress(), h.Payload()
	default:
		return false
	}
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, uint16(len(segment)))
	return checksum.Checksum(segment, sum) == 0xffff
}
