//go:build linux

package packets

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A Machine is what scripts are played on: a stack with the socket calls of a
// process, and the wire that it sends to.
type Machine interface {
	Calls
	// Now is the time since the machine was made.
	Now() time.Duration
	// AdvanceTo lets time pass, and what is due happen.
	AdvanceTo(t time.Duration)
	// Await is AdvanceTo, but ends when the stack has sent something.
	Await(t time.Duration)
	// Inject gives the stack a packet.
	Inject(packet []byte) error
	// Sent returns what the stack has sent since the last call.
	Sent() []Sent
	// SetSysctl changes a setting.
	SetSysctl(name, value string) error
	// Early and Late are how far packets may be off their time: earlier, and, by
	// the delay that they should have, later.
	Early() time.Duration
	Late(delay time.Duration) time.Duration
}

// Sent is a packet that a stack has sent.
type Sent struct {
	At     time.Duration
	Packet []byte
}

const (
	// peerISN is the initial sequence number of the peer: soon after it the
	// numbers begin at 0 again.
	peerISN = 1<<32 - 300
	// listenPort is the port that bind gets, and connectPort the peer's then; a
	// dialed connection goes to listenPort.
	listenPort, connectPort = 8080, 40000
	// mtu4 and mtu6 leave room for the same segments.
	mtu4, mtu6 = 1500, 1520
)

// The addresses of the stack and of the peer.
var (
	stack4 = netip.MustParsePrefix("192.0.2.1/24")
	stack6 = netip.MustParsePrefix("2001:db8::1/64")
	peer4  = netip.MustParseAddr("192.0.2.2")
	peer6  = netip.MustParseAddr("2001:db8::2")
)

func mtu(version int) int {
	if version == 4 {
		return mtu4
	}
	return mtu6
}

// A player is a script under way.
type player struct {
	m           Machine
	flow        flow
	bound       netip.AddrPort
	descriptors map[int]*descriptor
	latest      *descriptor // connected or accepted
	// last is when the event before happened, and behind by how much the script is
	// behind its own times: by what all events were late.
	last, behind time.Duration
	// came are packets that no event has looked at.
	came    []Sent
	waiting *waiting
	edge    edge
	// isn is the number on the wire that is 0 in the script, for what the stack
	// sends; renew says that its next SYN has a new one. stackSYN and peerSYN are
	// the script's numbers of the latest SYNs.
	isn               uint32
	renew             bool
	stackSYN, peerSYN uint32
	// stamps are the timestamps of the stack on the wire by those in the script,
	// and stamp is the difference that there was first, had the script been in
	// time.
	stamps map[uint32]uint32
	stamp  uint32
	// log is what has crossed the wire.
	log []string
}

// waiting is a call that has to wait.
type waiting struct {
	event Event
	call  *Call
	// end is when it should return, and latest when it must.
	end, latest time.Duration
}

// Play plays a script over a version of IP. The error says in which line what was
// not as the script has it.
func Play(m Machine, s *Script, version int) error {
	p := &player{m: m, descriptors: make(map[int]*descriptor), stamps: make(map[uint32]uint32)}
	p.bound = netip.AddrPortFrom(stack4.Addr(), listenPort)
	p.flow = flow{peer: netip.AddrPortFrom(peer4, connectPort), stack: p.bound}
	if version == 6 {
		p.bound = netip.AddrPortFrom(stack6.Addr(), listenPort)
		p.flow = flow{peer: netip.AddrPortFrom(peer6, connectPort), stack: p.bound}
	}
	defer func() {
		for _, d := range p.descriptors {
			_ = m.Close(d.fd)
		}
	}()
	at := func(e Event, err error) error {
		for _, sent := range append(p.came, m.Sent()...) {
			if r, ok := dissect(sent.Packet); ok {
				p.log = append(p.log, p.show(sent.At, &r)+" // nobody has looked at it")
			}
		}
		return fmt.Errorf("%s:%d: %s\n\t%w\n%s", s.Name, e.Line, e.Text, err, strings.Join(p.log, "\n"))
	}
	for _, e := range s.Events {
		if err := p.play(e); err != nil {
			return at(e, err)
		}
	}
	end := s.Events[len(s.Events)-1]
	if err := p.finish(); err != nil {
		return at(end, err)
	}
	p.settle()
	for _, sent := range p.came {
		if r, ok := dissect(sent.Packet); ok {
			return at(end, fmt.Errorf("nothing more should have come, and there came %s", p.show(sent.At, &r)))
		}
	}
	return nil
}

// play lets an event happen, or checks that it does.
func (p *player) play(e Event) error {
	from, to, end := e.At.From, e.At.To, e.At.End
	if e.At.Relative {
		from, to, end = p.last+from, p.last+to, p.last+end
	}
	if s, ok := e.Action.(*Segment); ok && !s.In {
		return p.expect(s, from, to)
	}
	if c, ok := e.Action.(*Call); ok && p.waiting != nil {
		if err := p.finish(); err != nil {
			return fmt.Errorf("before %s: %w", c.Name, err)
		}
	}
	if err := p.pass(from); err != nil {
		return err
	}
	p.happened(p.m.Now(), from)
	defer p.settle()
	switch a := e.Action.(type) {
	case *Call:
		return p.call(e, a, end)
	case *Segment:
		return p.inject(a)
	case *ICMP:
		p.note("< %s %s about %d", a.Type, a.Code, a.Seq)
		return p.m.Inject(a.packet(p.flow, p.isn+a.Seq))
	case Settings:
		for _, s := range a {
			if err := p.m.SetSysctl(s.Name, s.Value); err != nil {
				return err
			}
		}
		return nil
	case Assertion:
		return p.assert(a)
	}
	return fmt.Errorf("cannot play a %T", e.Action)
}

// happened notes when an event has happened that was due at another time.
func (p *player) happened(at, due time.Duration) {
	p.behind += at - due
	p.last = at
}

// settle lets what has happened have its consequences.
func (p *player) settle() {
	p.m.AdvanceTo(p.m.Now())
	p.came = append(p.came, p.m.Sent()...)
}

// glance is how often calls that wait are tried again.
const glance = time.Millisecond

// pass lets time pass, during which a call may wait.
func (p *player) pass(until time.Duration) error {
	for p.waiting != nil && p.m.Now() < until {
		p.m.AdvanceTo(min(p.m.Now()+glance, until))
		if err := p.retry(); err != nil {
			return err
		}
	}
	p.m.AdvanceTo(max(until, p.m.Now()))
	p.settle()
	return nil
}

// retry tries a call that waits again.
func (p *player) retry() error {
	w := p.waiting
	result, err := p.make(w.call)
	if waits(err) {
		return nil
	}
	p.waiting = nil
	if now := p.m.Now(); now < w.end-p.m.Early() || now > w.latest {
		return fmt.Errorf("the call of line %d should have returned at %s, and did at %s", w.event.Line, seconds(w.end), seconds(now))
	}
	return w.call.check(result, err)
}

func waits(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EALREADY)
}

// finish waits for the end of a call that waits, if one does.
func (p *player) finish() error {
	if p.waiting == nil {
		return nil
	}
	w := p.waiting
	if err := p.pass(w.latest); err != nil {
		return err
	}
	if p.waiting != nil {
		return fmt.Errorf("the call of line %d still waits at %s", w.event.Line, seconds(p.m.Now()))
	}
	return nil
}

// call makes a call and checks what it returns, or begins to wait.
func (p *player) call(e Event, c *Call, end time.Duration) error {
	if e.At.Waits {
		p.waiting = &waiting{e, c, end, end + p.m.Late(end-p.last)}
		return p.retry()
	}
	result, err := p.make(c)
	return c.check(result, err)
}

// make makes a call.
func (p *player) make(c *Call) (int, error) {
	def := calls[c.Name]
	var d *descriptor
	name := none
	switch def.arguments[0] {
	case onDescriptor:
		name = c.Args[0].number
	case pollSet:
		name = c.Args[0].fields["fd"]
	}
	if name != none {
		var ok bool
		if d, ok = p.descriptors[name]; !ok {
			return -1, fmt.Errorf("the script has no descriptor %d", name)
		}
	}
	n, err := def.make(p, d, c.Args)
	if err == nil && (c.Name == "socket" || c.Name == "accept") {
		// Scripts number their descriptors as they like.
		p.descriptors[c.Result] = p.descriptors[none]
		delete(p.descriptors, none)
		n = c.Result
	}
	return n, err
}

// check compares what a call has returned.
func (c *Call) check(result int, err error) error {
	var errno unix.Errno
	switch isErrno := errors.As(err, &errno); {
	case err != nil && !isErrno:
		return err
	case errno != c.Error:
		return fmt.Errorf("%s returned %s", c.Name, outcome(result, errno))
	case errno == 0 && result != c.Result:
		return fmt.Errorf("%s returned %s", c.Name, outcome(result, errno))
	}
	return nil
}

func outcome(result int, errno unix.Errno) string {
	if errno != 0 {
		return "-1 " + unix.ErrnoName(errno)
	}
	return fmt.Sprint(result)
}

// assert checks fields of TCP_INFO.
func (p *player) assert(a Assertion) error {
	if p.latest == nil {
		return errors.New("no connection was accepted or connected before")
	}
	info, err := tcpInfo(p.m, p.latest.fd)
	if err != nil {
		return fmt.Errorf("TCP_INFO: %w", err)
	}
	for _, k := range a {
		if got, ok := k.holds(info); !ok {
			return fmt.Errorf("%s is %d", k.field, got)
		}
	}
	return nil
}

// tcpInfo returns TCP_INFO.
func tcpInfo(c Calls, fd int) (*unix.TCPInfo, error) {
	info := new(unix.TCPInfo)
	b := unsafe.Slice((*byte)(unsafe.Pointer(info)), unix.SizeofTCPInfo)
	_, err := c.Getsockopt(fd, unix.SOL_TCP, unix.TCP_INFO, b)
	return info, err
}

// inject gives the stack a segment.
func (p *player) inject(s *Segment) error {
	if s.Flags.Contains(header.TCPFlagSyn) {
		p.peerSYN = s.Seq
		p.edge.agree(s.Options)
		if !s.Flags.Contains(header.TCPFlagAck) {
			p.renew = true
		}
	}
	fields := header.TCPFields{SeqNum: peerISN + s.Seq, Flags: s.Flags, WindowSize: s.Window.or(0)}
	if s.Flags.Contains(header.TCPFlagAck) {
		fields.AckNum = p.isn + s.Ack
	}
	b := p.flow.packet(s.Packet, fields, encodeOptions(p.toWire(s.Options)), pattern(s.Seq, s.Len))
	if r, ok := dissect(b); ok {
		p.note("< %s", describe(r.tcp, s.Seq, s.Ack, s.Options))
	}
	return p.m.Inject(b)
}

// note adds to the log.
func (p *player) note(format string, a ...any) {
	p.log = append(p.log, fmt.Sprintf("%8s ", seconds(p.m.Now()))+fmt.Sprintf(format, a...))
}

// seconds shows a time as scripts have it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.4f", d.Seconds()) }

// pattern returns the payload from a relative sequence number on.
func pattern(seq uint32, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = patternByte(seq + uint32(i))
	}
	return b
}

// patternByte has a period that is no power of two.
func patternByte(seq uint32) byte { return byte(seq % 251) }

// wrongByte returns the first place where a payload is not the pattern; -1 is
// none.
func wrongByte(b []byte, seq uint32) int {
	for i := range b {
		if b[i] != patternByte(seq+uint32(i)) {
			return i
		}
	}
	return -1
}
