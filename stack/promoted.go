package stack

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
)

// promoted are the connections of a listener between listenq's promotion and
// accept, from the moment at which netstack has an endpoint for them.
type promoted struct {
	mu sync.Mutex
	// adopted are not established yet: their final ACK is in netstack's queue.
	adopted map[*tcp.Endpoint]*graft
	byID    map[listenq.ConnID]*tcp.Endpoint // the same
	ready   map[listenq.ConnID]*Endpoint
}

func newPromoted() promoted {
	return promoted{
		adopted: make(map[*tcp.Endpoint]*graft),
		byID:    make(map[listenq.ConnID]*tcp.Endpoint),
		ready:   make(map[listenq.ConnID]*Endpoint),
	}
}

// adopt says which endpoint a promoted connection has become.
func (p *promoted) adopt(ep *tcp.Endpoint, gr *graft) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adopted[ep], p.byID[gr.conn.ID] = gr, ep
}

// established takes a connection back from those that were adopted.
func (p *promoted) established(ep *tcp.Endpoint) (*graft, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gr, ok := p.adopted[ep]
	if ok {
		delete(p.adopted, ep)
		delete(p.byID, gr.conn.ID)
	}
	return gr, ok
}

func (p *promoted) isAdopted(ep *tcp.Endpoint) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.adopted[ep]
	return ok
}

func (p *promoted) enqueue(id listenq.ConnID, e *Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready[id] = e
}

// grafted reports whether an endpoint is a connection that a listener's SYN-ACK
// was swallowed for, and that nobody has collected yet.
func (s *Stack) grafted(port uint16, ep *tcp.Endpoint) bool {
	for _, l := range s.listenersOn(port) {
		if l.promoted.isAdopted(ep) {
			return true
		}
	}
	return false
}

// lost says that a promoted connection will never come. Accept returns it dead, as
// it would one that the client has reset.
func (l *Listener) lost(c listenq.Conn) {
	l.promoted.enqueue(c.ID, lostEndpoint(c.Flow.Local(), c.Flow.Remote()))
	l.notify()
}

// collect takes from netstack the connections that it has finished.
func (l *Listener) collect() {
	if l.fresh.Swap(false) {
		l.drain()
	}
}

func (l *Listener) drain() {
	for {
		ep, wq, err := l.ep.Accept(nil)
		if err != nil {
			return
		}
		e := ep.(*tcp.Endpoint)
		gr, ok := l.promoted.established(e)
		if !ok {
			e.Abort()
			continue
		}
		wq.EventUnregister(&gr.end)
		if gr.handshake.RTT == 0 || gr.handshake.Lossy {
			distrust(e, &gr.handshake)
		}
		gr.offer.inherit(e)
		n := l.s.newEndpoint(e, wq)
		n.local, n.remote = gr.conn.Flow.Local(), gr.conn.Flow.Remote()
		n.binding.Store(l.s.connection(e, n.local, l.binding))
		if l.watchesResets() {
			n.queued.Store(&queuedConn{l, gr.conn.ID})
		}
		n.NotifyEvent(0) // it may be over already
		l.promoted.enqueue(gr.conn.ID, n)
		signal(l.wake) // for another Accept, which may have looked too early
	}
}

// NotifyEvent implements waiter.EventListener: netstack has given up a connection
// before it was established, as an ICMP error can make it do, or it was established
// and has ended since.
func (gr *graft) NotifyEvent(waiter.EventMask) {
	gr.l.fresh.Store(true)
	gr.l.notify()
}

// frontState says how it stands with the first connection of the accept queue.
type frontState int

const (
	frontNone    frontState = iota // the queue is empty
	frontPending                   // promoted, and netstack is not done with it
	frontDead                      // promoted, and given up by netstack
	frontReady
	frontAborted // its peer has reset it, and accept(2) of the platform says so
)

// take removes the front of the accept queue if netstack has it ready, or will
// never have it.
func (l *Listener) take() (*Endpoint, frontState) {
	c, state := l.takeFront()
	if state == frontDead {
		// It may have been established before it died: then it is in netstack's
		// accept queue by now.
		l.drain()
		l.bury()
		c, state = l.takeFront()
	}
	switch {
	case c == nil || c.ep == nil:
	case state == frontAborted:
		c.Abort()
	case state == frontReady:
		c.admit()
	}
	return c, state
}

func (l *Listener) takeFront() (*Endpoint, frontState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promoted.mu.Lock()
	defer l.promoted.mu.Unlock()
	front, state := l.front()
	if state != frontReady {
		return nil, state
	}
	c := l.promoted.ready[front.ID]
	delete(l.promoted.ready, front.ID)
	c.queued.Store(nil)
	if c.wasReset() {
		l.q.Aborted(front.ID)
	}
	front, _ = l.q.Accept()
	if len(l.promoted.ready) > 0 {
		signal(l.wake) // for another Accept
	}
	if front.Aborted {
		return c, frontAborted
	}
	return c, frontReady
}

// front returns the first connection of the accept queue. The caller holds both
// locks.
func (l *Listener) front() (listenq.Conn, frontState) {
	front, ok := l.q.Front()
	if !ok {
		return front, frontNone
	}
	if _, ok := l.promoted.ready[front.ID]; ok {
		return front, frontReady
	}
	if ep := l.promoted.byID[front.ID]; ep != nil && ep.EndpointState() == tcp.StateError {
		return front, frontDead
	}
	return front, frontPending
}

// bury turns the front of the accept queue into a lost connection, if netstack has
// given it up.
func (l *Listener) bury() {
	l.mu.Lock()
	l.promoted.mu.Lock()
	front, state := l.front()
	var gr *graft
	if state == frontDead {
		ep := l.promoted.byID[front.ID]
		gr = l.promoted.adopted[ep]
		delete(l.promoted.adopted, ep)
		delete(l.promoted.byID, front.ID)
	}
	l.promoted.mu.Unlock()
	l.mu.Unlock()
	if gr != nil {
		l.s.grafts.report(gr)
		l.lost(gr.conn)
	}
}

// resetQueued resets connections in their order, waiting for netstack where all
// that it has to do is to read the final ACK.
func (l *Listener) resetQueued(queued []listenq.Conn) {
	for _, c := range queued {
		if l.s.grafts.abandon(l, c) {
			continue
		}
		if e := l.await(c.ID); e != nil && e.ep != nil {
			e.Abort()
		}
	}
}

// await waits for an adopted connection to be ready; nil means that it died.
func (l *Listener) await(id listenq.ConnID) *Endpoint {
	for {
		l.collect()
		if e := l.promoted.claim(id); e != nil {
			return e
		}
		l.promoted.mu.Lock()
		ep := l.promoted.byID[id]
		l.promoted.mu.Unlock()
		if ep != nil && ep.EndpointState() == tcp.StateError {
			l.drain() // see take
			return l.promoted.claim(id)
		}
		<-l.wake
	}
}

// claim takes a connection that is ready, or nil.
func (p *promoted) claim(id listenq.ConnID) *Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.ready[id]
	delete(p.ready, id)
	return e
}
