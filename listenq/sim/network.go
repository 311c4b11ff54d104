package sim

import (
	"net/netip"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// server is where the listener is; the clients have an address each in the
// network for benchmarks of RFC 2544.
var server = netip.MustParseAddrPort("192.0.2.1:80")

const (
	firstClient = 198<<24 | 18<<16 // 198.18.0.0
	clientPort  = 40000
)

func flowOf(who int32) listenq.Flow {
	a := firstClient + uint32(who)
	ip := netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
	return listenq.NewFlow(server, netip.AddrPortFrom(ip, clientPort))
}

// clientOf is the client that a flow belongs to.
func clientOf(f *listenq.Flow) int32 {
	a := f.Remote().Addr().As4()
	return int32((uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])) - firstClient)
}

// A slot is the number of a segment on its way.
type slot int32

// A wire holds the segments on their way. Their places are used again, so that
// sending allocates nothing once enough are under way.
type wire struct {
	segments []listenq.Segment
	free     []slot
}

func (w *wire) put(seg *listenq.Segment) slot {
	if n := len(w.free); n > 0 {
		s := w.free[n-1]
		w.free = w.free[:n-1]
		w.segments[s] = *seg
		return s
	}
	w.segments = append(w.segments, *seg)
	return slot(len(w.segments) - 1)
}

// take returns a segment that has arrived.
func (w *wire) take(s slot) listenq.Segment {
	w.free = append(w.free, s)
	return w.segments[s]
}

// toServer sends a segment of a client.
func (r *run) toServer(who int32, seg *listenq.Segment) { r.send(who, seg, arrivesAtServer) }

// toClient sends a segment to a client.
func (r *run) toClient(who int32, seg *listenq.Segment) { r.send(who, seg, arrivesAtClient) }

func (r *run) send(who int32, seg *listenq.Segment, kind eventKind) {
	p := &r.peers[who]
	seg.Flow = p.flow
	// Each direction counts for itself.
	direction := kind - arrivesAtServer
	n := uint64(p.sent[direction])<<1 | uint64(direction)
	p.sent[direction]++
	if s := &r.scenario; s.Loss > 0 && fraction(draw(s.Seed, lossStream, uint64(who), n)) < s.Loss {
		return
	}
	delay := r.scenario.RTT / 2
	if j := r.scenario.Jitter; j > 0 {
		delay += time.Duration(fraction(draw(r.scenario.Seed, jitterStream, uint64(who), n)) * float64(j))
	}
	r.events.push(event{at: r.now + delay, kind: kind, client: who, segment: r.wire.put(seg)})
}
