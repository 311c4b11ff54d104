package stack

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A lastSegment is the latest data of a connection whose FIN is about to be sent, and
// waits for it: netstack gives a FIN a segment of its own; on Linux it leaves with the
// data that is still to be sent, if there is any (tcp_send_fin). That is so for the
// first transmission; a second one is netstack's.
type lastSegment struct {
	push bool // whether the segment with the FIN carries PSH

	mu   sync.Mutex
	pkt  *gstack.PacketBuffer // nil if there is none yet
	over bool                 // nothing waits any more
}

// take returns what waits, if anything: the caller's to send. What a goroutine that
// looked earlier still brings goes on at once.
func (l *lastSegment) take() *gstack.PacketBuffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	pkt := l.pkt
	l.pkt, l.over = nil, true
	return pkt
}

// next takes a packet of netstack over, and returns what is to be sent in its place.
func (l *lastSegment) next(pkt *gstack.PacketBuffer, checksummed bool) []*gstack.PacketBuffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := headerOf(pkt)
	if !ok || l.over {
		return []*gstack.PacketBuffer{pkt}
	}
	var out []*gstack.PacketBuffer
	if data := l.pkt; data != nil {
		l.pkt = nil
		out = append(out, data)
		if h.Flags().Contains(header.TCPFlagFin) && l.finish(data, h, checksummed) {
			pkt.DecRef()
			return out
		}
	}
	if pkt.Data().Size() > 0 {
		l.pkt = pkt
		return out
	}
	return append(out, pkt)
}

// finish gives data the FIN that follows it; false means that it does not.
func (l *lastSegment) finish(data *gstack.PacketBuffer, fin header.TCP, checksummed bool) bool {
	h := header.TCP(data.TransportHeader().Slice())
	if h.SequenceNumber()+uint32(data.Data().Size()) != fin.SequenceNumber() {
		return false
	}
	before := h.Flags()
	after := before | header.TCPFlagFin
	if !l.push {
		after &^= header.TCPFlagPsh
	}
	h.SetFlags(uint8(after))
	if checksummed && !data.GSOOptions.NeedsCsum { // RFC 1624
		sum := uint32(^h.Checksum()) + uint32(^uint16(before)) + uint32(after)
		sum = sum&0xffff + sum>>16
		h.SetChecksum(^uint16(sum&0xffff + sum>>16))
	}
	return true
}
