package tun

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// An Impairment is what a path does to the packets that are sent into it. The
// zero value does nothing. Shares are probabilities, 0 (never) to 1 (always).
//
// Loss, LossBurst, Duplicate, Late, Corrupt and Rate speak of single packets, as
// they are on a wire: with any of them the link offers no segmentation offload,
// and netstack sends packets of at most the MTU. Delay and Jitter alone leave
// segments whole.
type Impairment struct {
	// Seed is where chance begins. Each packet draws the same number of times,
	// whatever is switched on, so equal seeds and equal packets have equal
	// fates, and what one impairment does does not depend on the others.
	Seed uint64

	// Delay is how long each packet waits; negative means 0. What is received
	// is not delayed, so this is the round trip time that the other side sees.
	Delay time.Duration

	// Jitter is how much longer than Delay a packet may wait, as behind others
	// in a queue: uniformly chosen, and order is kept.
	Jitter time.Duration

	// Loss is the share of packets that are lost.
	Loss float64

	// LossBurst is how many packets in a row are lost, on average. The share
	// stays Loss, up to LossBurst/(LossBurst+1): the model is Gilbert's, with
	// one packet at least between bursts. 1 or less means that each packet is
	// lost or not by itself.
	LossBurst float64

	// Duplicate is the share of packets that arrive twice, one right after the
	// other.
	Duplicate float64

	// Late is the share of packets that wait LateBy longer than the others and
	// are overtaken by those sent meanwhile.
	Late   float64
	LateBy time.Duration

	// Corrupt is the share of packets in which one byte changes, to any other
	// value. It is one that a checksum covers: of an IPv6 header only the
	// addresses.
	Corrupt float64

	// Rate is how fast the line is, in bits of IP packets per second; 0 or less
	// means that sending takes no time. A packet that arrives twice is sent
	// once.
	Rate int64

	// QueueLen is how many packets may be under way or wait for the line. More
	// are dropped and counted. 0 or less means 4096.
	QueueLen int

	// Clock is the time that all this is measured in, as a rule that of the
	// stack; nil means real time.
	Clock tcpip.Clock
}

// defaultImpairedQueueLen holds 100 ms of 40,000 packets/s.
const defaultImpairedQueueLen = 4096

// whole reports whether segments may cross whole.
func (m *Impairment) whole() bool {
	return m.Loss <= 0 && m.Duplicate <= 0 && m.Late <= 0 && m.Corrupt <= 0 && m.Rate <= 0
}

// ImpairedStats counts packets that were sent through an [Impaired] link. What
// was passed on is Sent + Duplicated - Lost - Dropped - [Impaired.Pending], as
// long as the link is open.
type ImpairedStats struct {
	Sent       uint64 // given to the link
	Lost       uint64
	Dropped    uint64 // no room in the queue
	Duplicated uint64
	Late       uint64
	Corrupted  uint64
}

// Impaired is a link over a path that is not perfect: packets sent through it
// reach the link that it wraps late, damaged, twice or never. It nests: wrap both
// ends of a [Pipe] for both directions, or one link twice for two paths in a row.
// All methods are safe for concurrent use.
type Impaired struct {
	nested.Endpoint
	cfg Impairment

	mu      sync.Mutex
	idle    sync.Cond // signalled when busy becomes false
	random  *rand.Rand
	burst   bool                // packets are being lost
	free    tcpip.MonotonicTime // when the line has sent what it was given
	last    tcpip.MonotonicTime // when the last packet that is not late is due
	transit transit
	serial  uint64
	timer   tcpip.Timer
	busy    bool // a goroutine is sending what is due
	closed  bool
	stats   ImpairedStats
}

var (
	_ gstack.LinkEndpoint = (*Impaired)(nil)
	_ gstack.GSOEndpoint  = (*Impaired)(nil)
)

// NewImpaired wraps a link. The Impaired owns it and closes it.
func NewImpaired(link gstack.LinkEndpoint, cfg Impairment) *Impaired {
	if cfg.QueueLen <= 0 {
		cfg.QueueLen = defaultImpairedQueueLen
	}
	if cfg.Clock == nil {
		cfg.Clock = tcpip.NewStdClock()
	}
	i := &Impaired{cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 0))}
	i.idle.L = &i.mu
	i.Init(link, i)
	return i
}

// SupportedGSO implements gstack.GSOEndpoint; see [Impairment].
func (i *Impaired) SupportedGSO() gstack.SupportedGSO {
	if !i.cfg.whole() {
		return gstack.GSONotSupported
	}
	return i.Endpoint.SupportedGSO()
}

// GSOMaxSize implements gstack.GSOEndpoint.
func (i *Impaired) GSOMaxSize() uint32 {
	if !i.cfg.whole() {
		return 0
	}
	return i.Endpoint.GSOMaxSize()
}

// WritePackets implements gstack.LinkEndpoint. Packets that are lost or find no
// room are no error, as on a wire.
func (i *Impaired) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return 0, &tcpip.ErrClosedForSend{}
	}
	now := i.cfg.Clock.NowMonotonic()
	for _, pkt := range pkts.AsSlice() {
		i.stats.Sent++
		i.accept(now, pkt)
	}
	i.arm(now)
	return pkts.Len(), nil
}

// fate is what chance holds for one packet.
type fate struct {
	lost, duplicated, late, corrupted bool
	jitter                            time.Duration
	place                             uint32 // of the corrupted byte
	flip                              byte   // of its bits, not 0
}

// draw throws the dice: always all of them.
func (i *Impaired) draw() fate {
	c := &i.cfg
	f := fate{
		lost:       i.loses(i.random.Float64()),
		duplicated: i.random.Float64() < c.Duplicate,
		late:       i.random.Float64() < c.Late,
		corrupted:  i.random.Float64() < c.Corrupt,
		jitter:     time.Duration(i.random.Float64() * float64(max(c.Jitter, 0))),
	}
	bits := i.random.Uint64()
	f.place, f.flip = uint32(bits), byte(1+(bits>>32)%255)
	return f
}

// loses decides on one packet. In Gilbert's model a burst ends with probability
// 1/LossBurst and begins so often that Loss is lost in all.
func (i *Impaired) loses(chance float64) bool {
	c := &i.cfg
	switch {
	case c.LossBurst <= 1 || c.Loss >= 1:
		return chance < c.Loss
	case i.burst:
		i.burst = chance >= 1/c.LossBurst
	default:
		i.burst = chance < c.Loss/(1-c.Loss)/c.LossBurst
	}
	return i.burst
}

// accept sends one packet on its way.
func (i *Impaired) accept(now tcpip.MonotonicTime, pkt *gstack.PacketBuffer) {
	f := i.draw()
	if f.lost {
		i.stats.Lost++
		return
	}
	if len(i.transit) >= i.cfg.QueueLen {
		i.stats.Dropped++
		return
	}
	if i.free.Before(now) {
		i.free = now
	}
	if i.cfg.Rate > 0 {
		i.free = i.free.Add(time.Duration(float64(pkt.Size()) * 8 / float64(i.cfg.Rate) * float64(time.Second)))
	}
	due := i.free.Add(max(i.cfg.Delay, 0) + f.jitter)
	if due.Before(i.last) {
		due = i.last
	}
	if f.late {
		i.stats.Late++
		due = due.Add(max(i.cfg.LateBy, 0))
	} else {
		i.last = due
	}
	if f.corrupted {
		i.stats.Corrupted++
		pkt = corrupted(pkt, f)
	} else {
		pkt.IncRef()
	}
	i.push(due, pkt)
	if f.duplicated && len(i.transit) < i.cfg.QueueLen {
		i.stats.Duplicated++
		i.push(due, pkt.Clone())
	}
}

func (i *Impaired) push(due tcpip.MonotonicTime, pkt *gstack.PacketBuffer) {
	i.serial++
	heap.Push(&i.transit, travelling{due: due, serial: i.serial, pkt: pkt})
}

// corrupted returns a copy of a packet with one byte changed: the payload of the
// original may belong to a sender that will send it again.
func corrupted(pkt *gstack.PacketBuffer, f fate) *gstack.PacketBuffer {
	buf := pkt.ToBuffer()
	b := buf.Flatten()
	buf.Release()
	first := 0
	if len(b) >= header.IPv6MinimumSize && header.IPVersion(b) == header.IPv6Version {
		first = header.IPv6MinimumSize - 2*header.IPv6AddressSize
	}
	if len(b) > 0 {
		b[first+int(f.place)%(len(b)-first)] ^= f.flip
	}
	bad := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	bad.NetworkProtocolNumber = pkt.NetworkProtocolNumber
	return bad
}

// arm sets the timer for the packet that is due first.
func (i *Impaired) arm(now tcpip.MonotonicTime) {
	if i.busy || i.closed || len(i.transit) == 0 {
		return
	}
	left := i.transit[0].due.Sub(now)
	if i.timer == nil {
		i.timer = i.cfg.Clock.AfterFunc(left, i.send)
	} else {
		i.timer.Reset(left)
	}
}

// send passes on what is due. The timer runs it. Only one goroutine sends at a
// time, so that packets keep their order.
func (i *Impaired) send() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy {
		return
	}
	i.busy = true
	now := i.cfg.Clock.NowMonotonic()
	for !i.closed && len(i.transit) > 0 {
		if i.transit[0].due.After(now) {
			if now = i.cfg.Clock.NowMonotonic(); i.transit[0].due.After(now) {
				break
			}
		}
		var one gstack.PacketBufferList
		one.PushBack(heap.Pop(&i.transit).(travelling).pkt)
		i.mu.Unlock()
		// The link below counts what it cannot carry.
		_, _ = i.Endpoint.WritePackets(one)
		one.Reset()
		i.mu.Lock()
	}
	i.busy = false
	i.idle.Broadcast()
	i.arm(now)
}

// Pending returns how many packets are under way.
func (i *Impaired) Pending() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.transit)
}

// Stats returns the counters of packets sent.
func (i *Impaired) Stats() ImpairedStats {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stats
}

// Close drops what is under way and closes the link below. Calling it again does
// nothing. It must not be called from within the delivery of a packet.
func (i *Impaired) Close() {
	i.mu.Lock()
	i.closed = true
	if i.timer != nil {
		i.timer.Stop()
	}
	for i.busy {
		i.idle.Wait()
	}
	for _, t := range i.transit {
		t.pkt.DecRef()
	}
	i.transit = nil
	i.mu.Unlock()
	i.Endpoint.Close()
}

// travelling is a packet under way.
type travelling struct {
	due    tcpip.MonotonicTime
	serial uint64 // orders what is due at the same time
	pkt    *gstack.PacketBuffer
}

// transit is a heap of packets, the one due first on top.
type transit []travelling

func (t transit) Len() int { return len(t) }

func (t transit) Less(i, j int) bool {
	if t[i].due != t[j].due {
		return t[i].due.Before(t[j].due)
	}
	return t[i].serial < t[j].serial
}

func (t transit) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push implements heap.Interface.
func (t *transit) Push(x any) { *t = append(*t, x.(travelling)) }

// Pop implements heap.Interface.
func (t *transit) Pop() any {
	end := len(*t) - 1
	x := (*t)[end]
	(*t)[end] = travelling{}
	*t = (*t)[:end]
	return x
}
