//go:build linux

package torture

import (
	"github.com/ulisten/ulisten/stack/stacktest"
)

// disturb sends what a third party has forged.
func (w *world) disturb(n noisePlan) {
	c := w.conns[n.conn]
	// victim is what the victim has sent so far, and alleged what the one has from
	// whom the packet seems to come.
	victim, alleged := &c.wire[n.to], &c.wire[1-n.to]
	if !victim.seen {
		return
	}
	dice := uint32(n.dice)
	s := stacktest.Segment{Flags: stacktest.ACK, Window: uint16(alleged.window >> alleged.scale)}
	if s.Window == 0 {
		s.ZeroWindow = true
	}
	if alleged.stamps {
		s.Options.Timestamps, s.Options.TSVal, s.Options.TSEcr = true, alleged.tsVal, victim.tsVal
	}
	seq, ack := victim.ack, alleged.ack
	const far = 1 << 30
	switch n.kind {
	case rstBlind:
		s.Flags, seq = stacktest.RST, dice
	case rstInWindow:
		if victim.window < 2 {
			return
		}
		s.Flags, seq = stacktest.RST, victim.ack+victim.window-1
	case rstExact:
		s.Flags = stacktest.RST
		c.killed = true
	case synInWindow:
		s.Flags, seq = stacktest.SYN, victim.ack+dice%1000
		s.Options = stacktest.Segment{}.Options
		if n.to == server && c.sides[server].fd < 0 {
			c.killed = true // a request (tcp_check_req, embryonic_reset)
		}
	case oldPacket:
		if len(alleged.packets) > 0 {
			w.forge(n, alleged.packets[dice%uint32(len(alleged.packets))])
		}
		return
	case probe:
		seq--
	case windowShut:
		s.Window, s.ZeroWindow = 0, true
	case windowOpen:
		s.Window, s.ZeroWindow = 65535, false
	case dataFarAck:
		s.Payload, ack = []byte("forged"), victim.next+far
	case finFarAck:
		s.Flags, ack = stacktest.FIN|stacktest.ACK, victim.next+far
	case dataOldStamp:
		if !alleged.stamps {
			return
		}
		s.Payload, s.Options.TSVal = []byte("forged"), alleged.tsVal-far
	default:
		w.disturbByICMP(n, c, victim, alleged)
		return
	}
	w.forge(n, s.Packet(c.addr(1-n.to), c.addr(n.to), seq, ack))
}

// disturbByICMP forges an ICMP error about a segment of the victim's.
func (w *world) disturbByICMP(n noisePlan, c *connection, victim, alleged *direction) {
	e := stacktest.ICMPError{Type: 3, Code: 1, From: w.net.addr(w.plan.ipv6)}
	if w.plan.ipv6 {
		e.Type, e.Code = 1, 3
	}
	seq := victim.isn
	if alleged.ack != 0 {
		seq = alleged.ack // the oldest that is in flight
	}
	switch n.kind {
	case icmpBlind:
		seq = uint32(n.dice)
	case icmpExact:
		if s := c.sides[n.to]; s.connecting || s.fd < 0 && !s.over {
			c.killed = true
		}
	case icmpBlindBig, icmpTooSmall:
		e.Type, e.Code, e.MTU = 3, 4, 68
		if w.plan.ipv6 {
			e.Type, e.Code = 2, 0
		}
		if n.kind == icmpBlindBig {
			seq = uint32(n.dice)
		}
	}
	w.forge(n, e.Packet(c.addr(n.to), c.addr(1-n.to), seq))
}

// forge delivers a packet, as if it came from the other end.
func (w *world) forge(n noisePlan, b []byte) {
	w.rec.forges(n, b)
	w.hosts[n.to].wire.deliver(b)
}
