package platforms

import (
	"net/netip"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// server is where every device listens.
var server = netip.MustParseAddrPort("192.0.2.2:80")

// A Device is a listening socket of some TCP stack, in virtual time. It is not
// safe for concurrent use.
type Device interface {
	// Listen is listen(2), first or again.
	Listen(backlog int) error
	// Accept is accept(2) without waiting. It returns the client and what
	// reading from it finds: "open", "eof", "10 bytes" or an errno. The client
	// is invalid if there is none; an error is accept's own.
	Accept() (client netip.AddrPort, finds string, err error)
	// Close is close(2) on the listener.
	Close() error
	// Deliver hands over a segment of a client.
	Deliver(*listenq.Segment) error
	// ICMP hands over an ICMP error.
	ICMP(*listenq.ICMPError) error
	// Advance lets time pass.
	Advance(time.Duration) error
	// Sent returns what was sent since it was last called, in order.
	Sent() ([]Sent, error)
}

// Sent is a segment that a device has sent. Its flow is the device's: local
// side first.
type Sent struct {
	At time.Duration // since the device was made
	listenq.Segment
}

// packet is the IP packet of a client's segment.
func packet(s *listenq.Segment) []byte {
	seg := stacktest.Segment{Flags: s.Flags, Window: s.Window, Options: s.Options, Payload: make([]byte, s.Len)}
	return seg.Packet(s.Remote(), s.Local(), s.Seq, s.Ack)
}

// icmpPacket is the IP packet of an ICMP error.
func icmpPacket(e *listenq.ICMPError) []byte {
	return stacktest.ICMPError{Type: e.Type, Code: e.Code}.Packet(e.Local(), e.Remote(), e.Seq)
}

// sent takes a packet of a device apart; false means that it is no TCP.
func sent(at time.Duration, packet []byte) (Sent, bool) {
	from, to, s, ok := stacktest.ParsePacket(packet)
	if !ok {
		return Sent{}, false
	}
	return Sent{At: at, Segment: listenq.Segment{
		Flow:  listenq.NewFlow(from, to),
		Flags: s.Flags, Seq: uint32(s.Seq), Ack: uint32(s.Ack), Len: len(s.Payload),
		Options: s.Options,
	}}, true
}
