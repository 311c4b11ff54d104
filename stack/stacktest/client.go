package stacktest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
)

const (
	// synRetries and linearTimeouts are the kernel's defaults of
	// tcp_syn_retries and tcp_syn_linear_timeouts (6.5 and later).
	synRetries     = 6
	linearTimeouts = 4
	// firstTimeout is TCP_TIMEOUT_INIT, and minTimeout TCP_RTO_MIN, to which the
	// timeout falls when a round trip has been measured.
	firstTimeout = time.Second
	minTimeout   = 200 * time.Millisecond
	maxTimeout   = 120 * time.Second
	// dataRetries is tcp_retries2.
	dataRetries = 15
	// flightLimit is the initial congestion window, in segments. It never grows.
	flightLimit = 10
	clientScale = 7
)

// ClientConfig says how a Client connects.
type ClientConfig struct {
	// SYNRetries is TCP_SYNCNT. 0 stands for tcp_syn_retries, which is 6: with
	// the 4 linear timeouts of Linux 6.5 and later, SYNs go out after 0, 1, 2,
	// 3, 4, 5, 7, 11, 19, 35 and 67 s, and ETIMEDOUT comes after 131 s.
	SYNRetries int
	// Delay is how long a packet is on the way, in each direction.
	Delay time.Duration
}

type clientState uint8

const (
	connecting clientState = iota
	connected
	over
)

// A Client connects, retransmits and answers like a Linux socket, as far as a
// listen queue can tell: it has no congestion control, and its segments are never
// lost.
type Client struct {
	lab           *Lab
	name          string
	local, remote netip.AddrPort
	cfg           ClientConfig
	state         clientState
	err           syscall.Errno
	n             Numbers

	una, nxt uint32 // the oldest not acknowledged, and the next to send
	rcvNxt   uint32
	mss      int
	queue    []byte // from una on
	fin      bool   // after queue
	finSent  bool
	inbox    []byte
	eof      bool
	peerTS   uint32
	ts       bool

	timer   tcpip.Timer
	due     time.Duration // when it fires
	retries int
}

// Dial returns a client that has sent its first SYN to a listener.
func (lab *Lab) Dial(name string, l *Listener) *Client {
	lab.t.Helper()
	return lab.DialWith(name, l, ClientConfig{})
}

// DialWith is Dial with a configuration.
func (lab *Lab) DialWith(name string, l *Listener, cfg ClientConfig) *Client {
	lab.t.Helper()
	defer lab.drive("Dial")()
	if cfg.SYNRetries < 0 || cfg.SYNRetries > 127 || cfg.Delay < 0 {
		lab.fatalf("Dial: SYNRetries is %d and Delay %v: use 0 to 127, and a delay that is not negative", cfg.SYNRetries, cfg.Delay)
	}
	if cfg.SYNRetries == 0 {
		cfg.SYNRetries = synRetries
	}
	local, remote := lab.place(l)
	c := &Client{lab: lab, name: name, local: local, remote: remote, cfg: cfg, mss: 1460}
	c.n.Own = lab.random.uint32()
	c.una, c.nxt = c.n.Own, c.n.Own+1
	lab.enter(name, local, remote, c)
	c.sendSYN()
	c.arm(firstTimeout)
	lab.clock.Settle()
	return c
}

// Name returns the name that traces print.
func (c *Client) Name() string { return c.name }

// Connected reports whether connect(2) has succeeded, as the client sees it: it
// has the SYN-ACK. What the listener made of its final ACK it cannot know. It
// stays true when the connection fails later.
func (c *Client) Connected() bool { return len(c.n.ISN) > 0 }

// Err returns the errno with which connecting or the connection has failed, or
// nil.
func (c *Client) Err() error {
	if c.err == 0 {
		return nil
	}
	return c.err
}

// ExpectConnecting fails the test unless the client still sends SYNs.
func (c *Client) ExpectConnecting() {
	c.lab.t.Helper()
	defer c.lab.drive("ExpectConnecting")()
	if c.state != connecting {
		c.lab.fatalf("%s should still be connecting, and %s", c.name, c.describe())
	}
}

// ExpectConnected fails the test unless the client has its SYN-ACK and no error.
func (c *Client) ExpectConnected() {
	c.lab.t.Helper()
	defer c.lab.drive("ExpectConnected")()
	if !c.Connected() || c.err != 0 {
		c.lab.fatalf("%s should be connected, and %s", c.name, c.describe())
	}
}

// ExpectError fails the test unless connect(2), or the connection, has failed
// with this errno: ECONNREFUSED for a RST that answers the SYN, ETIMEDOUT for no
// answer, ECONNRESET for a RST after the SYN-ACK.
func (c *Client) ExpectError(want syscall.Errno) {
	c.lab.t.Helper()
	defer c.lab.drive("ExpectError")()
	if !errors.Is(c.err, want) {
		c.lab.fatalf("%s should have failed with %v, and %s", c.name, want, c.describe())
	}
}

func (c *Client) describe() string {
	switch {
	case c.err != 0 && !c.Connected():
		return fmt.Sprintf("connect failed with %v", c.err)
	case c.err != 0:
		return fmt.Sprintf("was connected and then failed with %v", c.err)
	case c.state == connecting:
		return fmt.Sprintf("is still connecting, after %d SYNs", c.retries+1)
	}
	return "is connected"
}

// Write sends data, and sends it again until it is acknowledged. It fails the
// test if the client cannot write (any more).
func (c *Client) Write(data string) {
	c.lab.t.Helper()
	defer c.lab.drive("Write")()
	if c.err != 0 || c.fin || !c.Connected() {
		c.lab.fatalf("%s cannot write: it %s", c.name, c.describe())
	}
	c.queue = append(c.queue, data...)
	c.push()
	c.lab.clock.Settle()
}

// Read returns what has arrived since the last call, possibly nothing.
func (c *Client) Read() string {
	defer c.lab.drive("Read")()
	data := string(c.inbox)
	c.inbox = nil
	return data
}

// EOF reports whether the stack has ended its direction of the connection.
func (c *Client) EOF() bool { return c.eof }

// Close ends the client's direction: a FIN follows what was written. A client
// that is still connecting gives up in silence.
func (c *Client) Close() {
	c.lab.t.Helper()
	defer c.lab.drive("Close")()
	switch {
	case c.state == connecting:
		c.end(0)
	case c.state == connected && !c.fin:
		c.fin = true
		c.push()
	}
	c.lab.clock.Settle()
}

// Abort ends the connection with a RST.
func (c *Client) Abort() {
	c.lab.t.Helper()
	defer c.lab.drive("Abort")()
	if c.state == connected {
		c.transmit(Segment{Flags: RST | ACK, ZeroWindow: true}, c.nxt)
	}
	c.end(0)
	c.lab.clock.Settle()
}

func (c *Client) end(err syscall.Errno) {
	c.state, c.err = over, err
	c.disarm()
}

// sendSYN sends the SYN of a Linux client.
func (c *Client) sendSYN() {
	c.transmit(Segment{Flags: SYN, Options: listenq.Options{
		MSS: 1460, SACKPermitted: true, Timestamps: true, WindowScaling: true, WindowScale: clientScale,
	}}, c.n.Own)
}

// transmit sends a segment whose Seq is seq, absolute.
func (c *Client) transmit(s Segment, seq uint32) {
	s.Seq = int64(int32(seq - c.n.Own))
	if !s.ZeroWindow {
		s.Window = 64240
		if !s.Flags.Has(SYN) {
			s.Window >>= clientScale
		}
	}
	if c.ts {
		s.Options.Timestamps, s.Options.TSEcr = true, c.peerTS
	}
	if s.Options.Timestamps {
		s.Options.TSVal = uint32(c.lab.clock.Elapsed() / time.Millisecond)
	}
	var ack uint32
	if s.Flags.Has(ACK) {
		ack = c.rcvNxt
		s.Ack = int64(int32(ack - c.n.Base(0)))
	}
	b := s.Packet(c.local, c.remote, seq, ack)
	c.lab.clock.AfterFunc(c.cfg.Delay, func() { c.lab.wire.deliver(packet{bytes: b, name: c.name, seg: s}) })
}

func (c *Client) acknowledge() { c.transmit(Segment{Flags: ACK}, c.nxt) }

// push sends what may be sent and was not yet.
func (c *Client) push() {
	if c.state != connected {
		return
	}
	inFlight := int(c.nxt - c.una)
	for inFlight < len(c.queue) && inFlight < flightLimit*c.mss {
		n := min(c.mss, len(c.queue)-inFlight)
		c.transmit(c.piece(inFlight, n), c.nxt)
		c.nxt += uint32(n)
		inFlight += n
	}
	if c.fin && !c.finSent && inFlight == len(c.queue) {
		c.transmit(Segment{Flags: FIN | ACK}, c.nxt)
		c.nxt++
		c.finSent = true
	}
	if c.nxt != c.una && c.timer == nil {
		c.arm(minTimeout)
	}
}

func (c *Client) piece(from, n int) Segment {
	s := Segment{Flags: ACK, Payload: slices.Clone(c.queue[from : from+n])}
	if from+n == len(c.queue) {
		s.Flags |= PSH
	}
	return s
}

// arm starts the retransmission timer. A chain of timeouts is reckoned from its
// first, because each timer sees the clock a little late.
func (c *Client) arm(d time.Duration) {
	now := c.lab.clock.Elapsed()
	if c.retries == 0 {
		c.due = now
	}
	c.due += d
	c.timer = c.lab.clock.AfterFunc(c.due-now, c.timeout)
}

func (c *Client) disarm() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.retries = 0
}

// timeout is the retransmission timer.
func (c *Client) timeout() {
	c.timer = nil
	switch {
	case c.state == connecting && c.retries == c.cfg.SYNRetries+linearTimeouts,
		c.state == connected && c.retries == dataRetries:
		c.end(syscall.ETIMEDOUT)
		return
	case c.state == connecting:
		c.sendSYN()
	case c.state == connected && len(c.queue) > 0:
		c.transmit(c.piece(0, min(c.mss, len(c.queue))), c.una)
	case c.state == connected:
		c.transmit(Segment{Flags: FIN | ACK}, c.una)
	default:
		return
	}
	c.retries++
	if c.state == connecting {
		c.arm(firstTimeout << max(c.retries-linearTimeouts, 0))
	} else {
		c.arm(min(minTimeout<<c.retries, maxTimeout))
	}
}

// arrives implements endpoint. The stack may hold locks of its own while it
// sends, so the client answers later.
func (c *Client) arrives(r received) {
	t := header.TCP(append(slices.Clip(r.tcp), r.payload...))
	raw := absolute(t)
	seen := Numbers{Own: c.n.Own, ISN: slices.Clone(c.n.ISN)}
	c.lab.wire.resolved(r.number, seen.Relative(raw))
	c.lab.clock.AfterFunc(c.cfg.Delay, func() { c.receive(raw) })
}

// receive is what tcp_rcv_synsent_state_process, tcp_validate_incoming and
// tcp_ack make of a segment; its numbers are absolute.
func (c *Client) receive(s Segment) {
	seq, ack := uint32(s.Seq), uint32(s.Ack)
	switch {
	case c.state == over:
		c.refuse(s)
	case c.state == connecting:
		c.receiveConnecting(s, seq, ack)
	case s.Flags.Has(RST):
		switch {
		case seq == c.rcvNxt && c.eof:
			c.end(syscall.EPIPE)
		case seq == c.rcvNxt:
			c.end(syscall.ECONNRESET)
		case int32(seq-c.rcvNxt) > 0 && int32(seq-c.rcvNxt) < 64240:
			c.acknowledge()
		}
	case s.Flags.Has(SYN), seq != c.rcvNxt && (length(s) > 0 || int32(seq-c.rcvNxt) < 0):
		c.acknowledge()
	default:
		c.receiveConnected(s, ack)
	}
}

func (c *Client) receiveConnecting(s Segment, seq, ack uint32) {
	switch {
	case s.Flags.Has(ACK) && ack != c.n.Own+1:
		c.refuse(s)
	case s.Flags.Has(RST | ACK):
		c.end(syscall.ECONNREFUSED)
	case s.Flags.Has(SYN | ACK):
		c.n.ISN = append(c.n.ISN, seq)
		c.disarm()
		c.state, c.una, c.rcvNxt = connected, c.nxt, seq+1
		if s.Options.MSS != 0 {
			c.mss = min(c.mss, int(s.Options.MSS))
		}
		if s.Options.Timestamps {
			const option = 12
			c.ts, c.peerTS, c.mss = true, s.Options.TSVal, c.mss-option
		}
		c.acknowledge()
	}
}

func (c *Client) receiveConnected(s Segment, ack uint32) {
	if s.Options.Timestamps {
		c.peerTS = s.Options.TSVal
	}
	if n := int32(ack - c.una); s.Flags.Has(ACK) && n > 0 && int32(ack-c.nxt) <= 0 {
		c.queue = c.queue[min(int(n), len(c.queue)):]
		c.una = ack
		c.disarm()
	}
	c.inbox = append(c.inbox, s.Payload...)
	c.rcvNxt += uint32(length(s))
	c.eof = c.eof || s.Flags.Has(FIN)
	if length(s) > 0 {
		c.acknowledge()
	}
	c.push()
}

// refuse answers a segment that no connection explains.
func (c *Client) refuse(s Segment) {
	if s.Flags.Has(ACK) && !s.Flags.Has(RST) {
		c.transmit(Segment{Flags: RST, ZeroWindow: true}, uint32(s.Ack))
	}
}
