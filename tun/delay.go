package tun

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// DelayConfig describes a Delay.
type DelayConfig struct {
	// Delay is how long each packet that is sent waits; negative means 0. What
	// is received is not delayed, so this is the round trip time that the other
	// side sees.
	Delay time.Duration

	// QueueLen is how many packets may wait. More are dropped and counted. 0 or
	// less means 4096.
	QueueLen int

	// Clock is the time that the delay is measured in, as a rule that of the
	// stack; nil means real time.
	Clock tcpip.Clock
}

// defaultDelayQueueLen holds 100 ms of 40,000 packets/s.
const defaultDelayQueueLen = 4096

// Delay is a link with latency: packets sent through it reach the link that it
// wraps after a constant delay, in order. Segments that the link below can take
// whole cross whole. All methods are safe for concurrent use.
type Delay struct {
	nested.Endpoint
	clock tcpip.Clock
	delay time.Duration

	mu      sync.Mutex
	idle    sync.Cond // signalled when busy becomes false
	queue   packetQueue
	due     []tcpip.MonotonicTime // of the packets in queue, same order
	timer   tcpip.Timer
	busy    bool // a goroutine is sending what is due
	closed  bool
	dropped uint64
}

var _ gstack.LinkEndpoint = (*Delay)(nil)

// NewDelay wraps a link. The Delay owns it and closes it.
func NewDelay(link gstack.LinkEndpoint, cfg DelayConfig) *Delay {
	if cfg.QueueLen <= 0 {
		cfg.QueueLen = defaultDelayQueueLen
	}
	if cfg.Clock == nil {
		cfg.Clock = tcpip.NewStdClock()
	}
	d := &Delay{
		clock: cfg.Clock,
		delay: max(cfg.Delay, 0),
		queue: packetQueue{limit: cfg.QueueLen},
	}
	d.idle.L = &d.mu
	d.Init(link, d)
	return d
}

// WritePackets implements gstack.LinkEndpoint. Packets that find no room are
// dropped, as on a wire, and counted.
func (d *Delay) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, &tcpip.ErrClosedForSend{}
	}
	due := d.clock.NowMonotonic().Add(d.delay)
	for _, pkt := range pkts.AsSlice() {
		if d.queue.full() {
			d.dropped++
			continue
		}
		d.queue.push(pkt.IncRef())
		d.due = append(d.due, due)
	}
	if d.timer == nil && !d.busy && d.queue.len() > 0 {
		d.timer = d.clock.AfterFunc(d.delay, d.send)
	}
	return pkts.Len(), nil
}

// send passes on what is due. The timer runs it, and there is only one timer,
// so packets keep their order.
func (d *Delay) send() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = nil
	d.busy = true
	for !d.closed && d.queue.len() > 0 {
		left := d.due[0].Sub(d.clock.NowMonotonic())
		if left > 0 {
			d.timer = d.clock.AfterFunc(left, d.send)
			break
		}
		var one gstack.PacketBufferList
		one.PushBack(d.queue.pop())
		d.due = d.due[1:]
		d.mu.Unlock()
		// The link below counts what it cannot carry.
		_, _ = d.Endpoint.WritePackets(one)
		one.Reset()
		d.mu.Lock()
	}
	d.busy = false
	d.idle.Broadcast()
}

// Pending returns how many packets wait.
func (d *Delay) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.len()
}

// Dropped returns how many packets found no room.
func (d *Delay) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropped
}

// Close drops what waits and closes the link below. Calling it again does
// nothing. It must not be called from within the delivery of a packet.
func (d *Delay) Close() {
	d.mu.Lock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	for d.busy {
		d.idle.Wait()
	}
	for pkt := d.queue.pop(); pkt != nil; pkt = d.queue.pop() {
		pkt.DecRef()
	}
	d.due = nil
	d.mu.Unlock()
	d.Endpoint.Close()
}
