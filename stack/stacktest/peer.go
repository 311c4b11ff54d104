package stacktest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
)

// A Peer is a client that sends exactly what it is told and answers nothing by
// itself.
type Peer struct {
	lab           *Lab
	name          string
	local, remote netip.AddrPort
	n             Numbers
	// next is the relative sequence number behind what was sent, and seen the
	// relative one behind what was received in order.
	next, seen int64
	tsVal      uint32 // the latest timestamp received

	received []Received
	examined int // how many of them expectations have looked at
}

// A Received is a segment and the time at which the stack sent it.
type Received struct {
	Segment
	At time.Duration
}

// Peer returns a new raw client of a listener, with an address of its own.
func (lab *Lab) Peer(name string, l *Listener) *Peer {
	lab.t.Helper()
	defer lab.drive("Peer")()
	local, remote := lab.place(l)
	return lab.peerAt(name, local, remote)
}

// PeerAt returns a raw client with a given address, to a given address of the
// stack, whether anybody listens there or not.
func (lab *Lab) PeerAt(name string, local, remote netip.AddrPort) *Peer {
	lab.t.Helper()
	defer lab.drive("PeerAt")()
	return lab.peerAt(name, local, remote)
}

func (lab *Lab) peerAt(name string, local, remote netip.AddrPort) *Peer {
	lab.t.Helper()
	p := &Peer{lab: lab, name: name, local: local, remote: remote}
	p.n.Own = lab.random.uint32()
	lab.enter(name, local, remote, p)
	return p
}

// enter gives a client its place on the wire.
func (lab *Lab) enter(name string, local, remote netip.AddrPort, e endpoint) {
	lab.t.Helper()
	flow := listenq.NewFlow(remote, local)
	if other, taken := lab.names[flow]; taken {
		lab.fatalf("client %s cannot have %v: it is %s's", name, local, other)
	}
	lab.wire.mu.Lock()
	defer lab.wire.mu.Unlock()
	lab.byFlow[flow], lab.names[flow] = e, name
}

// place chooses an address for a client of a listener, and the listener's
// address to connect to.
func (lab *Lab) place(l *Listener) (local, remote netip.AddrPort) {
	remote = l.addr()
	lab.hosts++
	a := remote.Addr()
	for range 99 + lab.hosts {
		a = a.Next()
	}
	return netip.AddrPortFrom(a, uint16(40000+lab.hosts)), remote
}

// Name returns the name that traces print.
func (p *Peer) Name() string { return p.name }

// Addr returns the client's address and port.
func (p *Peer) Addr() netip.AddrPort { return p.local }

// Timestamp returns the latest timestamp that the stack sent, to echo.
func (p *Peer) Timestamp() uint32 { return p.tsVal }

// Send delivers one segment exactly as given, and returns when the stack has
// dealt with it.
func (p *Peer) Send(s Segment) {
	p.lab.t.Helper()
	defer p.lab.drive("Send")()
	p.send(s)
}

func (p *Peer) send(s Segment) {
	if s.Window == 0 && !s.ZeroWindow {
		s.Window = 65535
	}
	var ack uint32
	if s.Flags.Has(ACK) {
		ack = p.n.Base(s.ISN) + uint32(s.Ack)
	}
	p.next = max(p.next, s.Seq+int64(length(s)))
	b := s.Packet(p.local, p.remote, p.n.Own+uint32(s.Seq), ack)
	p.lab.wire.deliver(packet{bytes: b, name: p.name, seg: s})
	p.lab.clock.Settle()
}

// length is what a segment occupies in sequence numbers.
func length(s Segment) int {
	n := len(s.Payload)
	if s.Flags.Has(SYN) {
		n++
	}
	if s.Flags.Has(FIN) {
		n++
	}
	return n
}

// SYN sends a SYN with an MSS of 1460 and no other option. Sent again, it is the
// same.
func (p *Peer) SYN() {
	p.lab.t.Helper()
	defer p.lab.drive("SYN")()
	p.send(Segment{Flags: SYN, Options: listenq.Options{MSS: 1460}})
}

// ACK acknowledges all that was received in order.
func (p *Peer) ACK() {
	p.lab.t.Helper()
	defer p.lab.drive("ACK")()
	p.send(Segment{Flags: ACK, Seq: p.next, Ack: p.seen})
}

// Data sends the next bytes.
func (p *Peer) Data(payload string) {
	p.lab.t.Helper()
	defer p.lab.drive("Data")()
	p.send(Segment{Flags: PSH | ACK, Seq: p.next, Ack: p.seen, Payload: []byte(payload)})
}

// FIN ends the sending direction.
func (p *Peer) FIN() {
	p.lab.t.Helper()
	defer p.lab.drive("FIN")()
	p.send(Segment{Flags: FIN | ACK, Seq: p.next, Ack: p.seen})
}

// RST resets the connection at exactly the next sequence number.
func (p *Peer) RST() {
	p.lab.t.Helper()
	defer p.lab.drive("RST")()
	p.send(Segment{Flags: RST, Seq: p.next})
}

// Handshake opens a connection: SYN, SYN-ACK, ACK. It fails the test if there is
// no SYN-ACK. What the stack makes of the final ACK shows in its queues.
func (p *Peer) Handshake() {
	p.lab.t.Helper()
	p.SYN()
	p.Expect("SYN-ACK")
	p.ACK()
}

// arrives implements endpoint.
func (p *Peer) arrives(r received) {
	s := p.n.Relative(absolute(header.TCP(append(slices.Clip(r.tcp), r.payload...))))
	p.lab.wire.resolved(r.number, s)
	if s.Options.Timestamps {
		p.tsVal = s.Options.TSVal
	}
	switch {
	case s.Flags.Has(SYN):
		p.seen = 1
	case s.Seq == p.seen:
		p.seen += int64(length(s))
	}
	p.received = append(p.received, Received{Segment: s, At: r.at})
}

// Received returns all segments that the stack has sent to the client so far,
// whether an expectation has looked at them or not.
func (p *Peer) Received() []Received { return slices.Clone(p.received) }

// Expect fails the test unless the next segment that the stack sent to the client
// is as described, and returns it. The pattern begins with the flags, joined by
// hyphens; numbers and options follow, in any order, and what is not named may be
// anything:
//
//	SYN-ACK
//	SYN-ACK seq=0 ack=1 mss=1460 sack ts ws
//	ACK seq=1 ack=11 len=0
//	RST
//
// PSH counts only if the pattern names it.
func (p *Peer) Expect(pattern string) Segment {
	p.lab.t.Helper()
	defer p.lab.drive("Expect")()
	want, err := parsePattern(pattern)
	if err != nil {
		p.lab.fatalf("Expect: %v", err)
	}
	if p.examined == len(p.received) {
		p.lab.fatalf("%s should have received %s, and received nothing%s", p.name, pattern, p.further())
	}
	got := p.received[p.examined].Segment
	if complaint := want.mismatch(got); complaint != "" {
		p.lab.fatalf("%s should have received %s, and received %v: %s", p.name, pattern, got, complaint)
	}
	p.examined++
	return got
}

func (p *Peer) further() string {
	if p.examined == 0 {
		return " at all"
	}
	return fmt.Sprintf(" beyond %d segments", p.examined)
}

// ExpectNothing fails the test if the stack has sent the client something that no
// Expect has asked for.
func (p *Peer) ExpectNothing() {
	p.lab.t.Helper()
	defer p.lab.drive("ExpectNothing")()
	if p.examined < len(p.received) {
		var lines []string
		for _, r := range p.received[p.examined:] {
			lines = append(lines, fmt.Sprintf("%s %v", at(r.At), r.Segment))
		}
		p.lab.fatalf("%s should have received nothing, and received %s", p.name, strings.Join(lines, ", "))
	}
}
