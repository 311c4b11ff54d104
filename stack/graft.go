package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
)

const (
	// heldLimit bounds the segments held for one connection while it is being
	// grafted, which takes microseconds; a sender's first window fits.
	heldLimit = 64
	// minMSS is the least segment size that a client can force on us, options
	// included (Linux TCP_MIN_MSS).
	minMSS = 88
	// maxMSS is the most that TCP_MAXSEG takes (MAX_TCP_WINDOW).
	maxMSS = 32767
)

// An arrival is a segment on its way through the gate.
type arrival struct {
	ep  *tcp.Endpoint // the listener's
	id  gstack.TransportEndpointID
	pkt *gstack.PacketBuffer
}

// A graft is a connection between listenq's promotion and netstack's endpoint.
type graft struct {
	l         *Listener
	conn      listenq.Conn
	handshake listenq.Handshake
	offer     *offer // what the client was told
	id        gstack.TransportEndpointID
	window    uint16     // of the segment that completed the handshake
	syn       segmentOut // what netstack gets
	held      []*gstack.PacketBuffer
	end       waiter.Entry // of netstack's endpoint, until it is established

	since    time.Duration // when it was promoted, or begun again
	injected bool          // somebody gives netstack the SYN, or has
	queued   atomic.Bool   // netstack has the SYN
	retried  bool
	// abandoned says that the listener was closed, and the client is reset.
	abandoned bool
}

// grafts are the connections being grafted, by flow.
type grafts struct {
	s *Stack
	// count is len(byFlow), readable without the lock: nearly always 0.
	count atomic.Int32

	mu     sync.Mutex
	byFlow map[gstack.TransportEndpointID]*graft
	timer  tcpip.Timer
	closed bool
	losses losses
}

func (g *grafts) init(s *Stack) {
	g.s = s
	g.byFlow = make(map[gstack.TransportEndpointID]*graft)
}

// begin hands a promoted connection to netstack: a SYN with what the handshake
// agreed on goes to the endpoint of the arrival. The rest happens in
// synack, when netstack answers it.
func (g *grafts) begin(l *Listener, seg *listenq.Segment, o *listenq.Outcome, a arrival) {
	gr := &graft{
		l:         l,
		conn:      listenq.Conn{ID: o.Conn, Flow: o.Flow},
		handshake: o.Handshake,
		offer:     l.offer.Load(),
		id:        a.id,
		window:    seg.Window,
		since:     g.s.now(),
		syn: segmentOut{
			flags:   header.TCPFlagSyn,
			seq:     o.Handshake.IRS,
			window:  int(seg.Window),
			options: synOptions(make([]byte, 40), l.offer.Load().allows(o.Handshake.Peer)),
		},
	}
	if seg.Len > 0 || seg.Flags.Has(listenq.FIN) {
		gr.held = append(gr.held, a.pkt.IncRef())
	}
	g.mu.Lock()
	g.byFlow[a.id] = gr
	g.count.Store(int32(len(g.byFlow)))
	if g.timer == nil && !g.closed {
		g.timer = g.s.clock.AfterFunc(graftLook, g.look)
	}
	g.mu.Unlock()

	if g.s.timeWaits.isLeaving(gr.conn.Flow) {
		// The flow's old connection, which came to TIME-WAIT a moment ago, is in
		// the way until netstack has ended it; timeWaits.left begins again.
		return
	}
	g.start(a.id)
}

// start queues the synthetic SYN of a flow's graft to its listening endpoint, unless
// there is none or somebody has.
func (g *grafts) start(id gstack.TransportEndpointID) {
	if gr := g.claim(id); gr != nil {
		g.inject(gr.l.ep, id, gr.syn)
		gr.queued.Store(true)
	}
}

// claim returns the graft of a flow for the one who is to inject its SYN; nil if
// there is none, or another has.
func (g *grafts) claim(id gstack.TransportEndpointID) *graft {
	g.mu.Lock()
	defer g.mu.Unlock()
	gr := g.byFlow[id]
	if gr == nil || gr.injected {
		return nil
	}
	gr.injected = true
	return gr
}

// again begins with a flow that is still to be grafted, if nothing is in the way.
func (g *grafts) again(id gstack.TransportEndpointID) {
	protocol := networkProtocol(fromAddress(id.RemoteAddress))
	ep, ok := g.s.g.FindTransportEndpoint(protocol, header.TCPProtocolNumber, id, nicID).(*tcp.Endpoint)
	if !ok || ep.EndpointState() != tcp.StateListen {
		return
	}
	g.start(id)
}

// has reports whether a flow is being grafted.
func (g *grafts) has(id gstack.TransportEndpointID) bool {
	if g.count.Load() == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.byFlow[id]
	return ok
}

// hold keeps a segment of a connection that is being grafted; false means that
// none is.
func (g *grafts) hold(id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) bool {
	if g.count.Load() == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	gr, ok := g.byFlow[id]
	if !ok {
		return false
	}
	if len(gr.held) == heldLimit {
		g.s.drop(func(d *Drops) { d.HeldOverflow++ })
		return true
	}
	gr.held = append(gr.held, pkt.IncRef())
	return true
}

// wants reports whether a SYN-ACK of netstack must not go out: because it
// belongs to a connection being grafted, or because netstack must not have made
// one for a port that is ours. That of a connection which both sides open at the
// same time is netstack's own affair.
func (g *grafts) wants(pkt *gstack.PacketBuffer) bool {
	id := idOfOutgoing(pkt)
	if g.has(id) {
		return true
	}
	remote := netip.AddrPortFrom(fromAddress(id.RemoteAddress), id.RemotePort)
	return g.s.listenerAt(id) != nil && !g.s.bindings.opens(id.LocalPort, remote)
}

// synack gets netstack's answer to the synthetic SYN. It runs on the goroutine
// that made the endpoint, with the endpoint locked and registered: the moment to
// give it the numbers that the client knows, and to queue what the client sent.
func (g *grafts) synack(pkt *gstack.PacketBuffer) {
	id := idOfOutgoing(pkt)
	ep, _ := g.s.g.FindTransportEndpoint(pkt.NetworkProtocolNumber, header.TCPProtocolNumber, id, nicID).(*tcp.Endpoint)

	g.mu.Lock()
	gr, ok := g.byFlow[id]
	abandoned := ok && gr.abandoned
	g.mu.Unlock()
	switch {
	case ep == nil:
		return
	case !ok && g.s.grafted(id.LocalPort, ep):
		// netstack repeats a SYN-ACK whose ACK it has in its queue but had no
		// processor to look at for a second.
		return
	case !ok || header.TCP(pkt.TransportHeader().Slice()).AckNumber() != gr.syn.seq+1:
		g.stray(ep, id)
		return
	case abandoned:
		g.remove(gr)
		g.s.later.do(ep.Abort)
		return
	}
	mss := gr.offer.mss(id.RemoteAddress)
	adopt(ep, g.s.clock.NowMonotonic(), &gr.handshake, gr.offer, gr.offer.window(mss, &gr.handshake))
	g.s.guardAccepted(ep, gr)
	gr.end.Init(gr, waiter.EventHUp)
	waiterQueue(ep).EventRegister(&gr.end)
	gr.l.promoted.adopt(ep, gr)

	g.mu.Lock()
	defer g.mu.Unlock()
	seg := segmentOut{
		flags:  header.TCPFlagAck,
		seq:    gr.handshake.IRS + 1,
		ack:    gr.handshake.ISS + 1,
		window: int(gr.window),
	}
	if gr.handshake.Peer.Timestamps {
		var buf [12]byte
		seg.options = timestampOption(buf[:], gr.handshake.Peer.TSVal, 0)
	}
	g.inject(ep, id, seg)
	for _, pkt := range gr.held {
		if g.s.gate.valid(ep, id, pkt) {
			g.s.gate.netstackTCP.QueuePacket(ep, id, pkt)
		}
		pkt.DecRef()
	}
	gr.held = nil
	delete(g.byFlow, id)
	g.count.Store(int32(len(g.byFlow)))
}

// stray ends a handshake that netstack began by itself: a SYN that it moved from
// a closing connection to its listener. The client's next SYN starts afresh. If
// a connection is being grafted on the same flow, the stray was in its way.
func (g *grafts) stray(ep *tcp.Endpoint, id gstack.TransportEndpointID) {
	g.s.drop(func(d *Drops) { d.Strays++ })
	g.s.logger.Debug("netstack began a handshake by itself", "client", id.RemoteAddress)
	g.s.later.do(func() {
		ep.Abort()
		g.mu.Lock()
		if gr := g.byFlow[id]; gr != nil {
			gr.injected = false
			gr.queued.Store(false)
		}
		g.mu.Unlock()
		g.again(id)
	})
}

// inject queues a segment to an endpoint as if the client had sent it.
func (g *grafts) inject(ep *tcp.Endpoint, id gstack.TransportEndpointID, seg segmentOut) {
	pkt, ok := seg.packet(id.RemoteAddress, id.LocalAddress, id.RemotePort, id.LocalPort)
	if !ok {
		return
	}
	defer pkt.DecRef()
	pkt.NICID = nicID
	pkt.RXChecksumValidated = true
	g.s.gate.netstackTCP.QueuePacket(ep, id, pkt)
}

// synOptions encodes what both sides agreed on, as the client's SYN had it.
func synOptions(b []byte, peer listenq.Options) []byte {
	n := header.EncodeMSSOption(uint32(max(peer.MSS, minMSS)), b)
	if peer.SACKPermitted {
		n += header.EncodeSACKPermittedOption(b[n:])
	}
	if peer.Timestamps {
		n += header.EncodeTSOption(peer.TSVal, 0, b[n:])
	}
	if peer.WindowScaling {
		n += header.EncodeWSOption(int(peer.WindowScale), b[n:])
	}
	for n%4 != 0 {
		n += header.EncodeNOP(b[n:])
	}
	return b[:n]
}

// idOfOutgoing is the endpoint that sends a TCP packet.
func idOfOutgoing(pkt *gstack.PacketBuffer) gstack.TransportEndpointID {
	t := header.TCP(pkt.TransportHeader().Slice())
	id := gstack.TransportEndpointID{LocalPort: t.SourcePort(), RemotePort: t.DestinationPort()}
	if pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		h := header.IPv4(pkt.NetworkHeader().Slice())
		id.LocalAddress, id.RemoteAddress = h.SourceAddress(), h.DestinationAddress()
	} else {
		h := header.IPv6(pkt.NetworkHeader().Slice())
		id.LocalAddress, id.RemoteAddress = h.SourceAddress(), h.DestinationAddress()
	}
	return id
}
