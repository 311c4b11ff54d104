package stack

import (
	"maps"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
)

// graftLook is how long after its SYN netstack is asked what has become of a graft
// that it has not answered. A processor that is slow can take as long as it wants:
// lost is only what netstack has looked at and let go, which takes a route or an
// address that has disappeared.
const graftLook = time.Second

// look begins once more with grafts that netstack has let go, and fails those that
// it lets go again.
func (g *grafts) look() {
	now := g.s.now()
	var due, let []*graft
	g.mu.Lock()
	for _, gr := range g.byFlow {
		switch {
		case now-gr.since < graftLook:
		case !gr.injected:
			let = append(let, gr) // whoever was to begin again could not
		case gr.queued.Load():
			due = append(due, gr)
		}
	}
	g.mu.Unlock()
	// First whether netstack has read the SYN, then whether it has answered: the
	// answer comes before the SYN counts as read.
	due = slices.DeleteFunc(due, func(gr *graft) bool { return !hasRead(gr.l.ep) })
	for _, gr := range append(let, due...) {
		if !g.s.timeWaits.isLeaving(gr.conn.Flow) {
			g.letGo(gr)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = nil
	if len(g.byFlow) > 0 && !g.closed {
		g.timer = g.s.clock.AfterFunc(graftLook, g.look)
	}
}

// letGo is for a graft that netstack has not answered and will not: it begins again,
// once.
func (g *grafts) letGo(gr *graft) {
	g.mu.Lock()
	if g.byFlow[gr.id] != gr {
		g.mu.Unlock()
		return
	}
	again := !gr.retried && !gr.abandoned
	gr.retried, gr.since = true, g.s.now()
	if again {
		gr.injected = false
		gr.queued.Store(false)
	}
	g.mu.Unlock()
	if again {
		g.again(gr.id)
	} else if g.remove(gr) {
		g.fail(gr)
	}
}

// remove ends a graft; false means that it had ended.
func (g *grafts) remove(gr *graft) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byFlow[gr.id] != gr {
		return false
	}
	delete(g.byFlow, gr.id)
	g.count.Store(int32(len(g.byFlow)))
	for _, pkt := range gr.held {
		pkt.DecRef()
	}
	gr.held = nil
	return true
}

// fail resets a connection that netstack did not take over.
func (g *grafts) fail(gr *graft) {
	if gr.abandoned {
		return
	}
	g.report(gr)
	g.reset(gr)
	gr.l.lost(gr.conn)
}

// reset sends the client a RST.
func (g *grafts) reset(gr *graft) {
	g.s.send(gr.id, segmentOut{flags: header.TCPFlagRst, seq: gr.handshake.ISS + 1})
}

// abandon resets a connection whose listener was closed, if netstack has not made an
// endpoint of it yet; when it does, that is forgotten.
func (g *grafts) abandon(l *Listener, c listenq.Conn) bool {
	if g.count.Load() == 0 {
		return false
	}
	g.mu.Lock()
	gr := g.byFlow[arrivalOf(c.Flow).id]
	if gr == nil || gr.l != l || gr.conn.ID != c.ID {
		g.mu.Unlock()
		return false
	}
	gr.abandoned = true
	g.mu.Unlock()
	g.reset(gr)
	return true
}

// close ends all grafts.
func (g *grafts) close() {
	g.mu.Lock()
	g.closed = true
	left := slices.Collect(maps.Values(g.byFlow))
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	g.mu.Unlock()
	for _, gr := range left {
		if g.remove(gr) {
			g.fail(gr)
		}
	}
	g.losses.close()
}

// report counts a lost connection and tells the operator.
func (g *grafts) report(gr *graft) {
	g.s.drop(func(d *Drops) { d.GraftFailures++ })
	g.losses.report(g.s, gr)
}

// lossInterval is the least time between two lines about lost connections.
const lossInterval = time.Second

// losses write a line about the first lost connection, and then at most one each
// lossInterval about those that followed.
type losses struct {
	mu     sync.Mutex
	timer  tcpip.Timer // runs while lines are held back
	more   int         // lost since the latest line
	last   *graft      // the latest of them
	closed bool
}

func (l *losses) report(s *Stack, gr *graft) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil || l.closed {
		l.more++
		l.last = gr
		return
	}
	l.write(s, gr)
}

// write writes a line and holds the next ones back. The lock is held.
func (l *losses) write(s *Stack, gr *graft) {
	flow := gr.conn.Flow
	s.logger.Warn("connection lost on the way to netstack",
		"listener", gr.l.Addr().String(), "client", flow.Remote().String(), "held_back", max(l.more-1, 0))
	l.more, l.last = 0, nil
	l.timer = s.clock.AfterFunc(lossInterval, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.timer = nil
		if l.more > 0 && !l.closed {
			l.write(s, l.last)
		}
	})
}

func (l *losses) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
}
