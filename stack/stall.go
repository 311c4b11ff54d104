package stack

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// stallInterval is how often connections with something in flight are looked at.
const stallInterval = time.Second

// stalls watches over connections with something in flight. netstack arms its
// retransmission timer only where it counts segments as outstanding (postXmit), and in
// recovery it does not count a FIN without data (SetPipe): if that is lost, nothing is
// ever repeated. Such a sender is told that one is, and leaves recovery.
//
// A connection is entered when it sends, and leaves at the first look at which all was
// acknowledged, so that a busy one costs next to nothing.
type stalls struct {
	s *Stack

	mu     sync.Mutex // a leaf
	list   []*guard
	timer  tcpip.Timer
	closed bool
}

// watched is what stalls knows of a connection; the guard's lock guards it.
type watched struct {
	on       bool
	una, nxt seqnum.Value // at the last look
}

// watch enters a connection. The guard's lock is held.
func (w *stalls) watch(g *guard) {
	if g.watched.on {
		return
	}
	g.watched = watched{on: true, una: g.una - 1} // the first look is not the second
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, g)
	if w.timer == nil && !w.closed {
		w.timer = w.s.clock.AfterFunc(stallInterval, w.look)
	}
}

// look goes through all connections.
func (w *stalls) look() {
	w.mu.Lock()
	list := w.list
	w.list, w.timer = nil, nil
	w.mu.Unlock()
	kept := list[:0]
	for _, g := range list {
		if !g.stays() {
			continue
		}
		if !g.moves() {
			g.restart()
		}
		kept = append(kept, g)
	}
	clear(list[len(kept):])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(kept, w.list...)
	if len(w.list) > 0 && w.timer == nil && !w.closed {
		w.timer = w.s.clock.AfterFunc(stallInterval, w.look)
	}
}

func (w *stalls) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.list = nil
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// moves reports whether anything was sent or acknowledged since it was called last.
func (g *guard) moves() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.watched
	g.watched.una, g.watched.nxt = g.una, g.nxt
	return was.una != g.una || was.nxt != g.nxt
}

// stays reports whether something is still in flight.
func (g *guard) stays() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched.on = sends(g.ep) && g.una != g.nxt
	return g.watched.on
}

// sends reports whether an endpoint has a connection on which it may send, or repeat.
func sends(ep *tcp.Endpoint) bool {
	switch ep.EndpointState() {
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		return true
	}
	return false
}

// restart sees to it that netstack repeats what is in flight. A segment that says
// nothing new makes it look at its timer.
func (g *guard) restart() {
	if !unarmed(g.ep) {
		return
	}
	g.mu.Lock()
	seg := segmentOut{flags: header.TCPFlagAck, seq: uint32(g.told), ack: uint32(g.una), window: int(g.lastWindow)}
	id := g.id
	g.mu.Unlock()
	g.s.gate.inject(g.ep, id, seg, 0)
}
