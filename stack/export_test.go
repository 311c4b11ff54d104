package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// RepeatSYNACK has netstack's side send a SYN-ACK, as its own timer does when a
// handshake is not finished after a second.
func RepeatSYNACK(s *Stack, local, remote netip.AddrPort) {
	write(s, segmentOut{flags: header.TCPFlagSyn | header.TCPFlagAck}, local, remote)
}

// RefuseSegment has netstack's side send a RST, as it does for segments that were
// still queued to an endpoint when that ended.
func RefuseSegment(s *Stack, local, remote netip.AddrPort) {
	write(s, segmentOut{flags: header.TCPFlagRst}, local, remote)
}

func write(s *Stack, seg segmentOut, local, remote netip.AddrPort) {
	pkt, _ := seg.packet(toAddress(local.Addr()), toAddress(remote.Addr()), local.Port(), remote.Port())
	defer pkt.DecRef()
	var one gstack.PacketBufferList
	one.PushBack(pkt)
	s.link.WritePackets(one)
}

// An ICMPError is what the stack reads in an ICMP error.
type ICMPError struct {
	Flow       listenq.Flow
	Seq, MTU   uint32
	Type, Code uint8
}

// ReadICMP says what the stack reads in an IP packet, and whose it is: "other",
// "ours" or "refused".
func ReadICMP(s *Stack, b []byte) (ICMPError, string) {
	protocol := header.IPv4ProtocolNumber
	if b[0]>>4 == header.IPv6Version {
		protocol = header.IPv6ProtocolNumber
	}
	e, fate := s.link.parseICMP(protocol, b)
	whose := []string{"other", "ours", "refused"}[fate]
	if fate != icmpAboutUs {
		return ICMPError{}, whose
	}
	return ICMPError{flowOf(e.id), e.seq, e.mtu, e.kind, e.code}, whose
}

// Hold keeps netstack's workers from looking at what is queued to a listener, as a
// processor that is busy does.
func (l *Listener) Hold() (release func()) {
	l.ep.LockUser()
	return l.ep.UnlockUser
}

// Held keeps what the graft queues to endpoints in a certain state from netstack, as
// if it had no time to look.
type Held struct {
	netstackTCP
	state tcp.EndpointState
	held  []func()
	eps   []*tcp.Endpoint
}

func Hold(s *Stack, state tcp.EndpointState) *Held {
	h := &Held{netstackTCP: s.gate.netstackTCP, state: state}
	s.gate.netstackTCP = h
	return h
}

func (h *Held) QueuePacket(ep gstack.TransportEndpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) {
	e := ep.(*tcp.Endpoint)
	if e.EndpointState() != h.state {
		h.netstackTCP.QueuePacket(ep, id, pkt)
		return
	}
	pkt = pkt.IncRef()
	h.eps = append(h.eps, e)
	h.held = append(h.held, func() {
		h.netstackTCP.QueuePacket(ep, id, pkt)
		pkt.DecRef()
	})
}

// Release lets netstack look.
func (h *Held) Release() {
	for _, queue := range h.held {
		queue()
	}
	h.held = nil
}

// Abort ends the connections that were held.
func (h *Held) Abort() {
	for _, ep := range h.eps {
		ep.Abort()
	}
}

// SegmentBetween reports whether a segment can be built from one address to another.
func SegmentBetween(from, to netip.Addr) bool {
	pkt, ok := new(segmentOut).packet(toAddress(from), toAddress(to), 80, 1000)
	if ok {
		pkt.DecRef()
	}
	return ok
}

// ICMPBudgets returns how many destinations of ICMP errors are remembered.
func ICMPBudgets(s *Stack) int { return len(s.icmpLimit.recent) + len(s.icmpLimit.older) }

// ReceiveMemory is what a connection's receive buffer is charged, in bytes.
func ReceiveMemory(c *Conn) int { return receiveMemory(c.ep) }
