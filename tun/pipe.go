package tun

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

var _ gstack.LinkEndpoint = (*MemLink)(nil)

// PipeConfig describes a link in memory. The zero value has MTU 1500, queues
// of 1024 packets and delivers by itself.
type PipeConfig struct {
	// MTU in bytes of IP packet, 68 to 65520; at least 1280 for IPv6. 0
	// means 1500. There is no segmentation offload: for bulk data choose a
	// large MTU.
	MTU int

	// QueueLen is how many packets may wait for each end. More are dropped
	// and counted. 0 or less means 1024.
	QueueLen int

	// Manual stops the two ends from delivering by themselves: packets wait
	// until Deliver is called for their destination, and are delivered on
	// the caller's goroutine.
	Manual bool
}

// defaultPipeQueueLen holds four receive windows of 256 segments.
const defaultPipeQueueLen = 1024

// MemLink is one end of a link in memory. Packets written to it are
// delivered, in order, to the dispatcher of the other end; their payload is
// shared, not copied. All methods are safe for concurrent use.
//
// Checksums are computed and verified as on a real link: a link that carries
// what tests forge must not vouch for it.
type MemLink struct {
	peer   *MemLink
	mtu    atomic.Uint32
	manual bool

	// deliverMu keeps packets in order when Deliver is called from more
	// than one goroutine.
	deliverMu sync.Mutex

	mu     sync.Mutex
	wake   sync.Cond    // signalled when queue, run or closed change
	queue  packetQueue  // waiting for this end
	run    *memDelivery // of the dispatcher that is attached, or nil
	last   *memDelivery // the latest run, perhaps still ending
	closed bool
	stats  MemStats
}

// MemStats counts the packets that came for one end of a link in memory.
// Delivered + Dropped* + [MemLink.Pending] is what the other end wrote.
type MemStats struct {
	Delivered       uint64 // handed to the dispatcher
	DroppedFull     uint64 // the queue was full
	DroppedDetached uint64 // no dispatcher when its turn came, or end closed
	DroppedVersion  uint64 // neither IPv4 nor IPv6
}

// memDelivery is one stretch of time in which a dispatcher is attached.
type memDelivery struct {
	d    gstack.NetworkDispatcher
	done chan struct{} // closed when its goroutine, if any, has ended
}

// Pipe returns the two ends of a link in memory. Out-of-range values in cfg
// are moved to the nearest limit.
func Pipe(cfg PipeConfig) (a, b *MemLink) {
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	if cfg.QueueLen <= 0 {
		cfg.QueueLen = defaultPipeQueueLen
	}
	a, b = newMemLink(cfg), newMemLink(cfg)
	a.peer, b.peer = b, a
	return a, b
}

func newMemLink(cfg PipeConfig) *MemLink {
	m := &MemLink{manual: cfg.Manual, queue: packetQueue{limit: cfg.QueueLen}}
	m.mtu.Store(uint32(min(max(cfg.MTU, minMTU), maxMTU)))
	m.wake.L = &m.mu
	return m
}

// WritePackets queues packets for the other end. Those that do not fit are
// dropped, as on a wire, and counted there. It never blocks and delivers
// nothing itself, so it may be called from within a delivery.
func (m *MemLink) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return 0, &tcpip.ErrClosedForSend{}
	}
	for _, pkt := range pkts.AsSlice() {
		m.peer.enqueue(pkt)
	}
	return pkts.Len(), nil
}

// enqueue adds a copy of pkt that shares its payload.
func (m *MemLink) enqueue(pkt *gstack.PacketBuffer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		m.stats.DroppedDetached++
	case m.queue.full():
		m.stats.DroppedFull++
	default:
		// A fresh packet: the receiver parses headers from the start.
		m.queue.push(gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: pkt.ToBuffer()}))
		m.wake.Signal()
	}
}

// Pending returns how many packets wait for this end.
func (m *MemLink) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queue.len()
}

// Deliver hands the packet that has waited longest to this end's dispatcher,
// on the calling goroutine, and returns 1, or 0 if none waits. Without a
// dispatcher the packet is dropped, counted, and 1 returned. It is meant for
// PipeConfig.Manual; otherwise it competes with the link's own goroutine.
// It must not be called from within a delivery to the same end.
func (m *MemLink) Deliver() int {
	m.deliverMu.Lock()
	defer m.deliverMu.Unlock()
	m.mu.Lock()
	pkt := m.queue.pop()
	run := m.run
	m.mu.Unlock()
	if pkt == nil {
		return 0
	}
	m.hand(run, pkt)
	return 1
}

// hand gives pkt to the dispatcher of run and releases it.
func (m *MemLink) hand(run *memDelivery, pkt *gstack.PacketBuffer) {
	defer pkt.DecRef()
	proto, ok := ipVersion(pkt)
	m.mu.Lock()
	switch {
	case run == nil:
		m.stats.DroppedDetached++
	case !ok:
		m.stats.DroppedVersion++
	default:
		m.stats.Delivered++
	}
	m.mu.Unlock()
	if run != nil && ok {
		run.d.DeliverNetworkPacket(proto, pkt)
	}
}

// ipVersion looks at the first nibble of an inbound packet.
func ipVersion(pkt *gstack.PacketBuffer) (tcpip.NetworkProtocolNumber, bool) {
	views, off := pkt.AsViewList()
	if v := views.Front(); v != nil && v.Size() > off {
		switch v.AsSlice()[off] >> 4 {
		case header.IPv4Version:
			return header.IPv4ProtocolNumber, true
		case header.IPv6Version:
			return header.IPv6ProtocolNumber, true
		}
	}
	return 0, false
}

// deliverLoop delivers to run's dispatcher until it is detached.
func (m *MemLink) deliverLoop(run, prev *memDelivery) {
	defer close(run.done)
	if prev != nil {
		<-prev.done
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		for m.run == run && m.queue.len() == 0 {
			m.wake.Wait()
		}
		if m.run != run {
			return
		}
		pkt := m.queue.pop()
		m.mu.Unlock()
		m.hand(run, pkt)
		m.mu.Lock()
	}
}

// Attach implements [gstack.LinkEndpoint]. With nil, nothing is delivered
// any more once the packet in flight, if any, has been; Wait waits for that.
// Packets go on waiting for a dispatcher that may be attached later.
func (m *MemLink) Attach(d gstack.NetworkDispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run = nil
	m.wake.Broadcast()
	if d == nil || m.closed {
		return
	}
	prev := m.last
	m.run = &memDelivery{d: d, done: make(chan struct{})}
	m.last = m.run
	if m.manual {
		close(m.run.done)
		return
	}
	go m.deliverLoop(m.run, prev)
}

// IsAttached implements [gstack.LinkEndpoint].
func (m *MemLink) IsAttached() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run != nil
}

// Wait implements [gstack.LinkEndpoint]: it returns when no delivering
// goroutine is running, so after Attach(nil) or Close.
func (m *MemLink) Wait() {
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	if last != nil {
		<-last.done
	}
}

// Close detaches this end, drops what waits for it and waits for its
// goroutine. What the other end writes afterwards is dropped and counted.
// Calling it again does nothing. It must not be called from within a
// delivery to this end.
func (m *MemLink) Close() {
	m.mu.Lock()
	m.closed = true
	m.run = nil
	for pkt := m.queue.pop(); pkt != nil; pkt = m.queue.pop() {
		m.stats.DroppedDetached++
		pkt.DecRef()
	}
	m.wake.Broadcast()
	m.mu.Unlock()
	m.Wait()
}

// Stats returns the counters of packets that came for this end.
func (m *MemLink) Stats() MemStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// SetOnCloseAction implements [gstack.LinkEndpoint] and does nothing.
func (m *MemLink) SetOnCloseAction(func()) {}

// MTU implements [gstack.LinkEndpoint], in bytes of IP packet.
func (m *MemLink) MTU() uint32 { return m.mtu.Load() }

// SetMTU implements [gstack.LinkEndpoint]. It changes what this end sends,
// not what it receives.
func (m *MemLink) SetMTU(mtu uint32) { m.mtu.Store(mtu) }

// Capabilities implements [gstack.LinkEndpoint]: none.
func (m *MemLink) Capabilities() gstack.LinkEndpointCapabilities { return gstack.CapabilityNone }

// MaxHeaderLength implements [gstack.LinkEndpoint]: no link header.
func (m *MemLink) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements [gstack.LinkEndpoint]: there is none.
func (m *MemLink) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements [gstack.LinkEndpoint] and does nothing.
func (m *MemLink) SetLinkAddress(tcpip.LinkAddress) {}

// ARPHardwareType implements [gstack.LinkEndpoint].
func (m *MemLink) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements [gstack.LinkEndpoint] and does nothing.
func (m *MemLink) AddHeader(*gstack.PacketBuffer) {}

// ParseHeader implements [gstack.LinkEndpoint]: there is nothing to parse.
func (m *MemLink) ParseHeader(*gstack.PacketBuffer) bool { return true }

// packetQueue is a bounded first-in-first-out queue. It grows to what was
// needed, at most limit.
type packetQueue struct {
	ring  []*gstack.PacketBuffer
	head  int // index of the oldest
	n     int
	limit int
}

func (q *packetQueue) len() int   { return q.n }
func (q *packetQueue) full() bool { return q.n >= q.limit }

// push adds a packet; the queue must not be full.
func (q *packetQueue) push(pkt *gstack.PacketBuffer) {
	if q.n == len(q.ring) {
		ring := make([]*gstack.PacketBuffer, min(max(16, 2*q.n), q.limit))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)%len(q.ring)] = pkt
	q.n++
}

// pop removes the oldest packet; nil if there is none.
func (q *packetQueue) pop() *gstack.PacketBuffer {
	if q.n == 0 {
		return nil
	}
	pkt := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return pkt
}
