package platforms

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Transcript is what a device did with a script, command by command.
type Transcript []Step

// A Step is what followed from one command.
type Step struct {
	Command
	// Said is what listen and accept returned.
	Said string
	// Answers are the segments that the device sent, those of one client
	// together.
	Answers []Answer
	// established are the clients whose connections listenq has handed over.
	established []string
}

// An Answer is a segment that a client got.
type Answer struct {
	At     time.Duration
	Client string
	What   string // flags, and numbers relative to both sides' initial ones
}

// String prints a step as
//
//	syn a
//	    0s a gets SYN-ACK seq=0 ack=1
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(s.Text)
	if s.Said != "" {
		b.WriteString(": " + s.Said)
	}
	b.WriteByte('\n')
	for _, a := range s.Answers {
		fmt.Fprintf(&b, "    %v %s gets %s\n", a.At.Round(10*time.Millisecond), a.Client, a.What)
	}
	return b.String()
}

// A player keeps the clients of a script.
type player struct {
	device  Device
	clients []*client
}

// A client sends what the script says and remembers what it needs to.
type client struct {
	name      string
	address   netip.AddrPort
	iss       uint32
	next      uint32 // relative
	peer      uint32 // the device's initial sequence number
	handshake bool   // a SYN-ACK has told it
}

// Play runs a script on a device.
func Play(s Script, d Device) (Transcript, error) {
	p := player{device: d}
	var t Transcript
	for _, c := range s.Commands {
		step := Step{Command: c}
		if err := p.do(&step); err != nil {
			return t, fmt.Errorf("%s:%d: %s: %w", s.Name, c.Line, c.Text, err)
		}
		if q, ok := d.(*Queue); ok {
			for _, c := range p.clients {
				if q.Established(listenq.NewFlow(server, c.address)) {
					step.established = append(step.established, c.name)
				}
			}
		}
		slices.SortStableFunc(step.Answers, func(a, b Answer) int { return strings.Compare(a.Client, b.Client) })
		t = append(t, step)
	}
	return t, nil
}

func (p *player) do(step *Step) error {
	switch step.verb {
	case "listen":
		step.Said = "ok"
		if err := p.device.Listen(step.number); err != nil {
			step.Said = err.Error()
		}
	case "accept":
		step.Said = p.accept()
	case "close":
		if err := p.device.Close(); err != nil {
			return err
		}
	case "wait":
		if err := p.device.Advance(step.wait); err != nil {
			return err
		}
	}
	for _, name := range step.clients {
		if err := p.send(p.client(name), step); err != nil {
			return err
		}
	}
	return p.collect(step)
}

// send is what one client does for a command.
func (p *player) send(c *client, step *Step) error {
	switch step.verb {
	case "syn":
		return p.segment(c, listenq.Segment{Flags: listenq.SYN})
	case "ack":
		return p.segment(c, listenq.Segment{Flags: listenq.ACK, Seq: c.next, Ack: 1})
	case "data":
		return p.segment(c, listenq.Segment{Flags: listenq.PSH | listenq.ACK, Seq: c.next, Ack: 1, Len: step.number})
	case "fin":
		return p.segment(c, listenq.Segment{Flags: listenq.FIN | listenq.ACK, Seq: c.next, Ack: 1})
	case "icmp":
		e := step.icmp
		e.Flow = listenq.NewFlow(server, c.address)
		e.Seq += c.peer
		return p.device.ICMP(&e)
	case "send":
		next := c.next
		defer func() { c.next = next }() // it may be anything
		return p.segment(c, step.segment)
	}
	// open
	before := len(step.Answers)
	if err := p.segment(c, listenq.Segment{Flags: listenq.SYN}); err != nil {
		return err
	}
	if err := p.collect(step); err != nil {
		return err
	}
	synack := func(a Answer) bool { return a.Client == c.name && strings.HasPrefix(a.What, "SYN-ACK") }
	if !slices.ContainsFunc(step.Answers[before:], synack) {
		return nil
	}
	if err := p.segment(c, listenq.Segment{Flags: listenq.ACK, Seq: 1, Ack: 1}); err != nil {
		return err
	}
	return p.collect(step)
}

// segment sends a segment with relative numbers.
func (p *player) segment(c *client, s listenq.Segment) error {
	s.Flow = listenq.NewFlow(server, c.address)
	s.Window = 65535
	end := s.Seq + uint32(s.Len)
	if s.Flags.Has(listenq.SYN) {
		s.Options.MSS = 1460
		end++
	}
	if s.Flags.Has(listenq.FIN) {
		end++
	}
	c.next = max(c.next, end)
	s.Seq += c.iss
	if s.Flags.Has(listenq.ACK) {
		s.Ack += c.peer
	}
	return p.device.Deliver(&s)
}

// collect adds what the device has sent to a step.
func (p *player) collect(step *Step) error {
	all, err := p.device.Sent()
	if err != nil {
		return err
	}
	for _, s := range all {
		c := p.at(s.Remote())
		if c == nil {
			return fmt.Errorf("the device sent a segment to %v, which is nobody", s.Remote())
		}
		if s.Flags.Has(listenq.SYN) {
			c.peer, c.handshake = s.Seq, true
		}
		step.Answers = append(step.Answers, Answer{At: s.At, Client: c.name, What: c.describe(&s.Segment)})
	}
	return nil
}

// describe leaves the numbers of a RST out: they depend on what it answers, and
// an aborted connection's on the stack.
func (c *client) describe(s *listenq.Segment) string {
	if s.Flags.Has(listenq.RST) {
		return "RST"
	}
	seq := s.Seq
	if c.handshake {
		seq -= c.peer
	}
	return fmt.Sprintf("%v seq=%d ack=%d", s.Flags&^listenq.PSH, seq, s.Ack-c.iss)
}

func (p *player) accept() string {
	from, finds, err := p.device.Accept()
	switch {
	case err != nil:
		return err.Error()
	case !from.IsValid():
		return "none"
	}
	return p.at(from).name + ", " + finds
}

// client returns the client with a name, new if it has not spoken yet.
func (p *player) client(name string) *client {
	for _, c := range p.clients {
		if c.name == name {
			return c
		}
	}
	i := len(p.clients)
	c := &client{
		name:    name,
		address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}), uint16(40000+i)),
		iss:     uint32(1+i) * 1_000_000,
		peer:    5_000_000,
	}
	p.clients = append(p.clients, c)
	return c
}

func (p *player) at(address netip.AddrPort) *client {
	for _, c := range p.clients {
		if c.address == address {
			return c
		}
	}
	return nil
}
