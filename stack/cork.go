package stack

import (
	"io"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// tcpRTOMin is TCP_RTO_MIN.
const tcpRTOMin = 200 * time.Millisecond

// A cork holds back the end of what was written, as long as it fills no segment
// (TCP_CORK, MSG_MORE). netstack has a cork of its own, whose timer runs only once
// and which close does not pull; it is not used. Linux 6.18, tcp_write_xmit:
// what is held leaves when it fills a segment, when it is pushed, when everything
// else has been acknowledged for as long as ceiling says, or, if only MSG_MORE holds
// it, with the next ACK.
type cork struct {
	e     *Endpoint
	timer tcpip.Timer // runs while something is held

	mu    sync.Mutex
	on    bool   // TCP_CORK
	held  []byte // less than a segment
	more  bool   // the latest data said that more is to follow
	waits bool   // the timer was started for what is held
	una   uint32 // SND.UNA when something was last held or acknowledged
}

// saw is told of a segment for the connection, when netstack has it. The demuxer's
// locks are held.
func (c *cork) saw(pkt *gstack.PacketBuffer) {
	h, ok := headerOf(pkt)
	if !ok || h.Flags()&(header.TCPFlagAck|header.TCPFlagSyn|header.TCPFlagRst) != header.TCPFlagAck {
		return
	}
	ack, pure := h.AckNumber(), pkt.Data().Size() == 0
	c.e.s.later.do(func() { c.acked(ack, pure) }) // if not, the timer does
}

// Write sends data, of which more is to follow (MSG_MORE) or not; it returns how much
// was taken, and never waits.
func (e *Endpoint) Write(p tcpip.Payloader, more bool) (int64, tcpip.Error) {
	c := e.cork.Load()
	if c == nil {
		if !more {
			return e.ep.Write(p, tcpip.WriteOptions{})
		}
		c = e.corked()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(p, more)
}

// SetCork is TCP_CORK. Switched off it pushes, as far as Nagle's algorithm lets it.
func (e *Endpoint) SetCork(on bool) {
	if e.cork.Load() == nil && !on {
		return
	}
	c := e.corked()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on = on; !on {
		c.push()
	}
}

// Push sends what a cork holds back, as TCP_NODELAY does each time that it is set.
func (e *Endpoint) Push() {
	if c := e.cork.Load(); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.push()
	}
}

// finish sends what is held back by a cork or by Nagle's algorithm, since a FIN is
// to follow and leave with it (tcp_send_fin); until done is called nothing more is
// written.
func (e *Endpoint) finish() (done func()) {
	c := e.cork.Load()
	if c == nil {
		if !e.delays() {
			return func() {}
		}
		c = &cork{e: e}
	}
	c.mu.Lock()
	if len(c.held) == 0 && !e.delays() {
		return c.mu.Unlock
	}
	last := &lastSegment{push: !c.more}
	g := guardOf(e.ep)
	g.last.Store(last)
	e.ep.SocketOptions().SetDelayOption(false)
	c.push()
	return func() {
		g.last.Store(nil)
		if pkt := last.take(); pkt != nil {
			e.s.link.writeLate(pkt)
		}
		c.mu.Unlock()
	}
}

// delays reports whether Nagle's algorithm may hold something back.
func (e *Endpoint) delays() bool {
	if !e.ep.SocketOptions().GetDelayOption() {
		return false
	}
	e.ep.LockUser()
	defer e.ep.UnlockUser()
	return sentBy(e.ep).outstanding > 0
}

// discards reports whether close resets the connection and throws away what was not
// sent: because of SO_LINGER, or since something was not read (__tcp_close).
func (e *Endpoint) discards() bool {
	if l := e.ep.SocketOptions().GetLinger(); l.Enabled && l.Timeout == 0 {
		return true
	}
	unread, err := e.ep.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
	return err == nil && unread > 0
}

// corked returns the endpoint's cork, and makes it if there is none.
func (e *Endpoint) corked() *cork {
	if c := e.cork.Load(); c != nil {
		return c
	}
	c := &cork{e: e}
	c.timer = e.s.clock.AfterFunc(tcpRTOMin, c.expire)
	c.timer.Stop()
	if !e.cork.CompareAndSwap(nil, c) {
		return e.cork.Load()
	}
	return c
}

// heldBack returns how many bytes netstack does not know of.
func (e *Endpoint) heldBack() int {
	c := e.cork.Load()
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// uncork forgets what is held. It must not take the cork's lock: netstack may have
// the endpoint locked.
func (e *Endpoint) uncork() {
	if c := e.cork.Load(); c != nil {
		c.timer.Stop()
		guardOf(e.ep).cork.Store(nil)
	}
}

// write gives netstack what leaves, and holds the rest. The lock is held.
func (c *cork) write(p tcpip.Payloader, more bool) (int64, tcpip.Error) {
	s := c.sent()
	c.more = more
	before := len(c.held)
	all := before + p.Len()
	leaves := all
	switch {
	case p.Len() == 0:
		leaves = 0
	case (c.on || more) && s.maxPayload > 0:
		leaves -= all % s.maxPayload
	}
	// Also if nothing leaves, netstack says whether anything may be written now.
	n, err := c.e.ep.Write(&corkedPayload{held: c.held, p: p, left: leaves}, tcpip.WriteOptions{})
	if err != nil {
		return 0, err
	}
	c.held = slices.Delete(c.held, 0, min(int(n), before))
	taken := max(int(n)-before, 0)
	if int(n) == leaves {
		rest := p.Len()
		at := len(c.held)
		c.held = slices.Grow(c.held, rest)[:at+rest]
		if _, err := io.ReadFull(p, c.held[at:]); err != nil {
			c.held = c.held[:at]
			return int64(taken), &tcpip.ErrBadBuffer{}
		}
		taken += rest
	} else if taken == 0 {
		err = &tcpip.ErrWouldBlock{}
	}
	c.wait(leaves > 0)
	return int64(taken), err
}

// push sends what is held. There is always room for that in netstack's buffer: the
// kernel has it in its own already. The lock is held.
func (c *cork) push() {
	if len(c.held) == 0 {
		return
	}
	so := c.e.ep.SocketOptions()
	size, used := so.GetSendBufferSize(), int64(c.sent().buffered)
	if more := int64(len(c.held)); size < used+more {
		so.SetSendBufferSize(used+more, false)
		defer so.SetSendBufferSize(size, false)
	}
	c.e.ep.Write(&corkedPayload{held: c.held, left: len(c.held)}, tcpip.WriteOptions{}) // it fails if the connection is over
	c.held = c.held[:0]
	c.wait(true)
}

// wait has the timer run while something is held, which it does already unless
// something was sent. The lock is held.
func (c *cork) wait(restart bool) {
	if len(c.held) == 0 {
		c.waits = false
		c.e.uncork()
		return
	}
	c.una = c.sent().una
	guardOf(c.e.ep).cork.Store(c)
	if restart || !c.waits {
		c.waits = true
		c.timer.Reset(c.ceiling())
	}
}

// ceiling is how long something is held for good: tcp_probe0_base, which is the
// retransmission timeout, of which the variance is no less than TCP_RTO_MIN
// (tcp_set_rto). That tcp(7) speaks of 200 ms leaves the round trip out.
func (c *cork) ceiling() time.Duration {
	var t tcpip.TCPInfoOption
	c.e.ep.GetSockOpt(&t) // it cannot fail
	return max(t.RTO, t.RTT+tcpRTOMin)
}

// acked is told of an ACK when netstack may not have seen it yet. Only one that says
// exactly what has arrived counts, since others can be forged; one that comes with
// data counts if it says something new (tcp_rcv_established, tcp_ack_probe).
func (c *cork) acked(ack uint32, pure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) == 0 {
		return
	}
	c.e.ep.LockUser()
	c.e.ep.UnlockUser() // netstack looks at what it has queued
	s := c.sent()
	fresh := s.una != c.una
	c.una = s.una
	switch {
	case s.una != ack || !pure && !fresh:
	case !c.on:
		c.push()
	case s.outstanding == 0:
		c.timer.Reset(c.ceiling())
	}
}

// expire pushes, unless something that was sent is not acknowledged: then the time
// has not begun.
func (c *cork) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state := c.e.ep.EndpointState(); {
	case len(c.held) == 0:
	case c.sent().outstanding > 0 && state != tcp.StateError && state != tcp.StateClose:
		c.timer.Reset(c.ceiling())
	default:
		c.push()
	}
}

func (c *cork) sent() sent {
	c.e.ep.LockUser()
	defer c.e.ep.UnlockUser()
	return sentBy(c.e.ep)
}

// A corkedPayload is what was held and what is new, up to a number of bytes.
type corkedPayload struct {
	held []byte
	p    tcpip.Payloader
	left int
}

// Len implements tcpip.Payloader.
func (c *corkedPayload) Len() int { return c.left }

// Read implements io.Reader.
func (c *corkedPayload) Read(b []byte) (n int, err error) {
	b = b[:min(len(b), c.left)]
	switch {
	case c.left == 0:
		return 0, io.EOF
	case len(c.held) > 0:
		n = copy(b, c.held)
		c.held = c.held[n:]
	default:
		n, err = c.p.Read(b)
	}
	c.left -= n
	return n, err
}
