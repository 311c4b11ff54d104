package stack

import (
	"encoding/binary"

	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
)

// listenersOn returns the listeners that hold a port.
func (s *Stack) listenersOn(port uint16) []*Listener {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.listeners[port]
}

// listenerAt returns the listener that a segment without a connection is for: the
// one that has the request of its flow, whatever has changed on the port since
// then, or else the one that a new client reaches; nil if there is none.
func (s *Stack) listenerAt(id gstack.TransportEndpointID) *Listener {
	on := s.listenersOn(id.LocalPort)
	local := fromAddress(id.LocalAddress)
	switch len(on) {
	case 0:
		return nil
	case 1:
		if on[0].takes(local) {
			return on[0]
		}
		return nil
	}
	flow := flowOf(id)
	best, shared := 0, 0
	var chosen *Listener
	for _, l := range on {
		if !l.takes(local) {
			continue
		}
		if l.holds(flow) {
			return l
		}
		switch score := l.score(); {
		case score > best:
			best, chosen = score, l
			shared = 1
		case score == best:
			shared++
		}
	}
	if shared < 2 {
		return chosen
	}
	// Those that share the address also share the clients (SO_REUSEPORT).
	n := s.share(flow, shared)
	for _, l := range on {
		if !l.takes(local) || l.score() != best {
			continue
		}
		if n == 0 {
			return l
		}
		n--
	}
	return chosen // one has been shut down meanwhile
}

// score orders the listeners that a segment could be for (compute_score): one
// bound to its address is better than one bound to all, and of these one for IPv4
// alone better than one for both versions. One that was shut down, or is about to be
// closed, is for nobody if there is another.
func (l *Listener) score() int {
	switch {
	case l.shut.Load() || !l.hashed.Load():
		return 1
	case !l.local.Addr().IsUnspecified():
		return 4
	case l.local.Addr().Is4() || l.v6Only:
		return 3
	default:
		return 2
	}
}

// share gives a flow one of n numbers, always the same (reuseport_select_sock).
func (s *Stack) share(f listenq.Flow, n int) int {
	// FNV-1a, begun with a secret and mixed at the end (MurmurHash3's
	// finalizer), so that neighbours do not share.
	h := binary.LittleEndian.Uint64(s.secret[:])
	mix := func(b []byte) {
		for _, c := range b {
			h = (h ^ uint64(c)) * 0x100000001b3
		}
	}
	local, remote := f.Local(), f.Remote()
	a, b := local.Addr().As16(), remote.Addr().As16()
	mix(a[:])
	mix(b[:])
	mix([]byte{byte(local.Port()), byte(local.Port() >> 8), byte(remote.Port()), byte(remote.Port() >> 8)})
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % uint64(n))
}
