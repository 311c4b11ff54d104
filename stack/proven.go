package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// provenLimit bounds the addresses that are remembered; the kernel's table of
// TCP metrics has room for about as many on a small host.
const provenLimit = 8192

// proven remembers addresses to which a connection has ended in order, the most
// recent provenLimit of them. Its FIN was acknowledged, so that a round trip time
// is known: what Linux calls a proven peer (tcp_peer_is_proven).
type proven struct {
	count atomic.Int32 // len(known), readable without the lock

	mu    sync.RWMutex
	known map[netip.Addr]struct{}
	order []netip.Addr // a ring, oldest at next once it is full
	next  int
}

func (p *proven) add(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.known[a]; ok {
		return
	}
	if p.known == nil {
		p.known = make(map[netip.Addr]struct{})
	}
	if len(p.order) < provenLimit {
		p.order = append(p.order, a)
	} else {
		delete(p.known, p.order[p.next])
		p.order[p.next] = a
		p.next = (p.next + 1) % provenLimit
	}
	p.known[a] = struct{}{}
	p.count.Store(int32(len(p.known)))
}

func (p *proven) has(a netip.Addr) bool {
	if p.count.Load() == 0 {
		return false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, ok := p.known[a]
	return ok
}
