package main

import (
	"net"
	"sync"
	"time"
)

// pacedListener is a listener whose application calls accept no more often than
// its pace allows.
type pacedListener struct {
	net.Listener
	done    chan struct{}
	closing sync.Once

	mu      sync.Mutex
	spec    paceSpec
	last    time.Time     // of the latest accept
	changed chan struct{} // closed and replaced when spec changes
}

func newPacedListener(l net.Listener, spec paceSpec) *pacedListener {
	return &pacedListener{
		Listener: l,
		done:     make(chan struct{}),
		spec:     spec,
		last:     time.Now(),
		changed:  make(chan struct{}),
	}
}

// Accept waits until it may, and then for a connection.
func (p *pacedListener) Accept() (net.Conn, error) {
	for {
		p.mu.Lock()
		wait, changed := time.Until(p.last.Add(p.spec.interval())), p.changed
		p.mu.Unlock()
		if wait <= 0 {
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-p.done:
			timer.Stop()
			return nil, net.ErrClosed
		}
		timer.Stop()
	}
	conn, err := p.Listener.Accept()
	p.mu.Lock()
	p.last = time.Now()
	p.mu.Unlock()
	return conn, err
}

// pace returns the pace in force.
func (p *pacedListener) pace() paceSpec {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spec
}

// setPace changes the pace, also of a wait that has begun.
func (p *pacedListener) setPace(spec paceSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spec = spec
	close(p.changed)
	p.changed = make(chan struct{})
}

// Close ends waiting and closes the listener.
func (p *pacedListener) Close() error {
	p.closing.Do(func() { close(p.done) })
	return p.Listener.Close()
}
