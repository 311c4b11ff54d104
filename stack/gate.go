package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// netstackTCP is what netstack's own TCP offers to the rest of netstack.
type netstackTCP interface {
	gstack.TransportProtocol
	gstack.SendBufSizeProto
	QueuePacket(gstack.TransportEndpoint, gstack.TransportEndpointID, *gstack.PacketBuffer)
}

// gate is netstack's TCP with our passive open in front of it: it sees every
// inbound segment together with the endpoint that the demuxer found, and keeps
// those that concern a listen queue.
type gate struct {
	netstackTCP
	s *Stack
}

func (s *Stack) newGate(g *gstack.Stack) gstack.TransportProtocol {
	s.gate = &gate{netstackTCP: tcp.NewProtocol(g).(netstackTCP), s: s}
	return s.gate
}

// QueuePacket is called by the demuxer with locks of its own held, so nothing
// here may look an endpoint up or close one.
func (g *gate) QueuePacket(ep gstack.TransportEndpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) {
	g.s.activity.Add(1)
	e := ep.(*tcp.Endpoint)
	switch e.EndpointState() {
	case tcp.StateListen:
		if l := g.s.listenerAt(id); l != nil {
			g.listening(l, id, pkt)
			return
		}
	case tcp.StateTimeWait:
		if g.timeWait(id, pkt) {
			return
		}
		if isSYN(pkt) { // netstack is not done with the FIN
			g.closing(e, id, pkt)
			return
		}
	case tcp.StateError:
		if g.timeWait(id, pkt) {
			return
		}
	case tcp.StateClose:
		// A connection that came to TIME-WAIT since the demuxer looked.
		if g.timeWait(id, pkt) {
			return
		}
		// A listener closed since the demuxer looked: netstack would hand a SYN
		// to one that shares its port past the gate.
		if l := g.s.listenerAt(id); l != nil && l.hashed.Load() && isSYN(pkt) {
			g.listening(l, id, pkt)
			return
		}
	case tcp.StateFinWait1, tcp.StateFinWait2:
		if g.timeWait(id, pkt) {
			return
		}
		if isSYN(pkt) {
			g.closing(e, id, pkt)
			return
		}
		if !g.valid(e, id, pkt) || g.dead(e, id, pkt) {
			return
		}
	case tcp.StateClosing:
		if isSYN(pkt) {
			g.closing(e, id, pkt)
			return
		}
		if !g.valid(e, id, pkt) {
			return
		}
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateLastAck:
		if !g.valid(e, id, pkt) {
			return
		}
	case tcp.StateSynSent:
		if g.refutes(e, id, pkt) {
			return
		}
	case tcp.StateConnecting, tcp.StateSynRecv:
		if g.s.grafts.hold(id, pkt) {
			return
		}
		g.meets(e, id, pkt)
	}
	g.netstackTCP.QueuePacket(ep, id, pkt)
	if r := guardOf(e); r != nil {
		if c := r.cork.Load(); c != nil {
			c.saw(pkt)
		}
	}
}

// listening takes a segment that no connection claims.
func (g *gate) listening(l *Listener, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) {
	if g.s.grafts.hold(id, pkt) || g.timeWait(id, pkt) {
		return
	}
	seg, ok := g.parse(id, pkt)
	if !ok {
		return
	}
	if !seg.Flags.Has(listenq.SYN) && !l.holds(seg.Flow) {
		// The connection that it belongs to may have been registered since the
		// demuxer looked. Look again where that is allowed.
		g.lookAgain(l, id, pkt, seg)
		return
	}
	l.segment(&seg, arrival{ep: l.ep, id: id, pkt: pkt})
}

func (g *gate) lookAgain(l *Listener, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer, seg listenq.Segment) {
	pkt = pkt.IncRef()
	ok := g.s.later.do(func() {
		defer pkt.DecRef()
		found := g.s.g.FindTransportEndpoint(pkt.NetworkProtocolNumber, header.TCPProtocolNumber, id, pkt.NICID)
		if e, ok := found.(*tcp.Endpoint); ok && e.EndpointState() != tcp.StateListen {
			g.QueuePacket(e, id, pkt)
			return
		}
		if !g.s.grafts.hold(id, pkt) {
			l.segment(&seg, arrival{ep: l.ep, id: id, pkt: pkt})
		}
	})
	if !ok {
		pkt.DecRef()
		g.s.drop(func(d *Drops) { d.LaterOverflow++ })
	}
}

// timeWait takes a segment of a connection in TIME-WAIT; false means that there is
// none. A SYN that may replace it goes to the listener, as the first of a new
// connection (tcp_v4_rcv, label do_time_wait).
func (g *gate) timeWait(id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) bool {
	if g.s.timeWaits.count.Load() == 0 {
		return false
	}
	flow := flowOf(id)
	if !g.s.timeWaits.has(flow) {
		if !g.s.timeWaits.isLeaving(flow) {
			return false
		}
		g.unclaimed(id, pkt)
		return true
	}
	seg, ok := g.parse(id, pkt)
	if !ok {
		return true
	}
	l := g.s.opener(id, seg.Flags)
	verdict, iss, ok := g.s.timeWaits.answer(id, &seg, l != nil)
	if ok && verdict == twSYN && l != nil {
		seg.TimeWait, seg.ISS = true, iss
		l.segment(&seg, arrival{ep: l.ep, id: id, pkt: pkt})
	}
	return ok
}

// opener returns the listener that a client reaches which begins on a flow; nil if
// there is none, or the flags are not those of a client that begins.
func (s *Stack) opener(id gstack.TransportEndpointID, f listenq.Flags) *Listener {
	if !renews(f) {
		return nil
	}
	l := s.listenerAt(id)
	if l == nil || l.shut.Load() || !l.hashed.Load() {
		return nil
	}
	return l
}

// unclaimed takes a segment that no connection claims, although netstack still has
// an endpoint for it.
func (g *gate) unclaimed(id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) {
	l := g.s.listenerAt(id)
	if l == nil {
		g.netstackTCP.HandleUnknownDestinationPacket(id, pkt)
		return
	}
	if seg, ok := g.parse(id, pkt); ok && !g.s.grafts.hold(id, pkt) {
		l.segment(&seg, arrival{ep: l.ep, id: id, pkt: pkt})
	}
}

// closing takes a SYN for a connection that this side has closed. A client that
// reuses its port is quick: its SYN can be here while netstack is still busy with
// the FIN that leads to TIME-WAIT, so wait until it has nothing to do.
func (g *gate) closing(ep *tcp.Endpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) {
	pkt = pkt.IncRef()
	ok := g.s.later.do(func() {
		defer pkt.DecRef()
		g.s.idle.wait(g.s.g)
		found := g.s.g.FindTransportEndpoint(pkt.NetworkProtocolNumber, header.TCPProtocolNumber, id, pkt.NICID)
		switch e, _ := found.(*tcp.Endpoint); {
		case e == nil:
			g.HandleUnknownDestinationPacket(id, pkt)
		case e != ep || !g.timeWait(id, pkt):
			if e == ep {
				g.netstackTCP.QueuePacket(e, id, pkt)
			} else {
				g.QueuePacket(e, id, pkt)
			}
		}
	})
	if !ok {
		pkt.DecRef()
		g.s.drop(func(d *Drops) { d.LaterOverflow++ })
	}
}

// opens reports whether flags are those of a client that begins.
func opens(f listenq.Flags) bool {
	return f&(listenq.SYN|listenq.ACK|listenq.RST|listenq.FIN) == listenq.SYN
}

func isSYN(pkt *gstack.PacketBuffer) bool {
	h := header.TCP(pkt.TransportHeader().Slice())
	return len(h) >= header.TCPMinimumSize && h.Flags()&header.TCPFlagSyn != 0
}

// parse checks a segment and turns it into what listenq decides about. Segments
// that do not hold together are counted and forgotten.
func (g *gate) parse(id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) (listenq.Segment, bool) {
	h := header.TCP(pkt.TransportHeader().Slice())
	if len(h) < header.TCPMinimumSize || int(h.DataOffset()) < header.TCPMinimumSize || int(h.DataOffset()) > len(h) {
		g.s.drop(func(d *Drops) { d.Malformed++ })
		return listenq.Segment{}, false
	}
	if !pkt.RXChecksumValidated &&
		!h.IsChecksumValid(id.RemoteAddress, id.LocalAddress, pkt.Data().Checksum(), uint16(pkt.Data().Size())) {
		g.s.drop(func(d *Drops) { d.Checksum++ })
		return listenq.Segment{}, false
	}
	return segmentOf(id, h, pkt.Data().Size()), true
}

func flowOf(id gstack.TransportEndpointID) listenq.Flow {
	return listenq.NewFlow(
		netip.AddrPortFrom(fromAddress(id.LocalAddress), id.LocalPort),
		netip.AddrPortFrom(fromAddress(id.RemoteAddress), id.RemotePort))
}
