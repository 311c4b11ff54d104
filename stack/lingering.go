package stack

import (
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
)

// lingering are the listeners that were closed with requests in their SYN queue.
// As in the kernel these stay half-open, unanswered, until their timer fires or a
// segment arrives for them, which meets whatever is on the port by then; see
// listenq.Listener.Close.
type lingering struct {
	// count is len(list), readable without the lock: nearly always 0.
	count atomic.Int32

	mu     sync.Mutex
	list   []*Listener
	closed bool
}

// add takes a listener that has just been closed; its lock is not held. The
// listener's timer goes on.
func (g *lingering) add(l *Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.closed || l.q.SYNQueueLen() == 0 {
		l.stopTimer()
		return
	}
	g.list = append(g.list, l)
	g.count.Store(int32(len(g.list)))
}

// tidy forgets listeners without requests.
func (g *lingering) tidy() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = slices.DeleteFunc(g.list, func(l *Listener) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.q.SYNQueueLen() == 0
	})
	g.count.Store(int32(len(g.list)))
}

// forget drops the request that a segment arrives for, before it is anybody
// else's.
func (g *lingering) forget(seg *listenq.Segment) {
	if g.count.Load() == 0 {
		return
	}
	g.mu.Lock()
	list := slices.Clone(g.list)
	g.mu.Unlock()
	for _, l := range list {
		l.mu.Lock()
		if l.q.Holds(seg.Flow) {
			l.q.Segment(l.s.now(), seg)
		}
		l.mu.Unlock()
	}
	g.tidy()
}

// requests returns what is still half-open.
func (g *lingering) requests() []listenq.Flow {
	g.mu.Lock()
	defer g.mu.Unlock()
	var flows []listenq.Flow
	for _, l := range g.list {
		flows = append(flows, l.Requests()...)
	}
	return flows
}

func (g *lingering) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, l := range g.list {
		l.mu.Lock()
		l.stopTimer()
		l.mu.Unlock()
	}
	g.list = nil
	g.count.Store(0)
}

// HandleUnknownDestinationPacket is called for a segment that no endpoint claims. If
// it is of no connection in TIME-WAIT, netstack answers it with the RST of RFC 9293,
// section 3.10.7.1.
func (g *gate) HandleUnknownDestinationPacket(id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) gstack.UnknownDestinationPacketDisposition {
	if g.timeWait(id, pkt) {
		return gstack.UnknownDestinationPacketHandled
	}
	if g.s.lingering.count.Load() > 0 {
		h := header.TCP(pkt.TransportHeader().Slice())
		if len(h) >= header.TCPMinimumSize && int(h.DataOffset()) >= header.TCPMinimumSize && int(h.DataOffset()) <= len(h) {
			seg := segmentOf(id, h, pkt.Data().Size())
			g.s.lingering.forget(&seg)
		}
	}
	return g.netstackTCP.HandleUnknownDestinationPacket(id, pkt)
}
