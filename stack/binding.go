package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// BindOptions are the options of a socket that count when it is bound.
type BindOptions struct {
	// ReuseAddress is SO_REUSEADDR: the port may be shared with sockets that
	// have the option too and do not listen.
	ReuseAddress bool
	// ReusePort is SO_REUSEPORT: the port may be shared with sockets that have
	// the option too; those that listen on the same address share the clients
	// by a hash of the flow.
	ReusePort bool
	// V6Only is IPV6_V6ONLY: the unspecified IPv6 address does not stand for
	// those of IPv4.
	V6Only bool
}

// A Binding is a local address and TCP port in use: by a socket that was bound to
// it (bind(2)) or by a connection. It is what Linux calls an owner of a bind
// bucket.
//
// netstack's table of ports decides nothing here, for its rules are not Linux's:
// what is bound is entered there so that it never conflicts, and only keeps
// netstack from choosing the port for somebody else.
type Binding struct {
	s     *Stack
	local netip.AddrPort

	// The fields below are guarded by bindings.mu.
	options   BindOptions
	listening bool
	// bound says that a socket was bound to this, until Release.
	bound bool
	// ep is the connection that uses it, until that is over, and remote the peer
	// that it was opened to.
	ep     *tcp.Endpoint
	remote netip.AddrPort

	// waiting counts its connections in TIME-WAIT. Only who holds bindings.mu takes
	// off.
	waiting atomic.Int32
}

// bindings are all bindings of a stack by port. The lock comes before netstack's
// locks of ports and of the demuxer, and after the lock of an endpoint.
type bindings struct {
	mu     sync.Mutex
	byPort map[uint16]map[*Binding]struct{}
}

// Bind is bind(2): it takes an address and a port; port 0 picks a free one. The
// unspecified IPv6 address stands for all addresses of both IP versions. Errors
// are EADDRINUSE and EADDRNOTAVAIL.
func (s *Stack) Bind(local netip.AddrPort, o BindOptions) (*Binding, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), local.Port())
	if a := local.Addr(); !a.IsUnspecified() && s.g.CheckLocalAddress(0, networkProtocol(a), toAddress(a)) == 0 {
		return nil, syscall.EADDRNOTAVAIL
	}
	b := &Binding{s: s, local: local, options: o, bound: true}
	s.bindings.mu.Lock()
	defer s.bindings.mu.Unlock()
	_, err := s.g.ReservePort(s.g.SecureRNG(), b.reservation(), func(port uint16) (bool, tcpip.Error) {
		b.local = netip.AddrPortFrom(local.Addr(), port)
		return !s.bindings.conflict(b), nil
	})
	if err != nil {
		return nil, Errno(err)
	}
	s.bindings.add(b)
	return b, nil
}

// Local returns the address and port.
func (b *Binding) Local() netip.AddrPort { return b.local }

// SetReuse changes SO_REUSEADDR and SO_REUSEPORT of a socket that is bound. What
// is bound stays so; others meet the new values.
func (b *Binding) SetReuse(address, port bool) {
	b.s.bindings.mu.Lock()
	defer b.s.bindings.mu.Unlock()
	b.options.ReuseAddress, b.options.ReusePort = address, port
}

// Release ends what Bind began; a connection that uses the port keeps it until it
// is over. Again it does nothing.
func (b *Binding) Release() {
	b.s.bindings.mu.Lock()
	defer b.s.bindings.mu.Unlock()
	if !b.bound {
		return
	}
	b.bound = false
	b.s.g.ReleasePort(b.reservation())
	b.s.bindings.tidy(b)
}

// listen says whether the binding's socket listens; beginning to fails with
// EADDRINUSE if another socket that shares the port has come first
// (inet_csk_listen_start checks once more).
func (b *Binding) listen(on bool) error {
	b.s.bindings.mu.Lock()
	defer b.s.bindings.mu.Unlock()
	if on && b.s.bindings.conflict(b) {
		return syscall.EADDRINUSE
	}
	b.listening = on
	return nil
}

// connection enters a connection that the socket of parent has accepted, from which
// it inherits.
func (s *Stack) connection(ep *tcp.Endpoint, local netip.AddrPort, parent *Binding) *Binding {
	b := &Binding{s: s, local: local, ep: ep}
	s.bindings.mu.Lock()
	defer s.bindings.mu.Unlock()
	b.options = parent.options
	s.bindings.add(b)
	return b
}

// opens reports whether a connection from a local port was opened from this side.
func (t *bindings) opens(port uint16, remote netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for b := range t.byPort[port] {
		if b.ep != nil && b.remote == remote {
			return true
		}
	}
	return false
}

// ended says that a connection is over.
func (b *Binding) ended(ep *tcp.Endpoint) {
	b.s.bindings.mu.Lock()
	defer b.s.bindings.mu.Unlock()
	if b.ep == ep { // and not one that has followed it
		b.ep = nil
	}
	b.s.bindings.tidy(b)
}

// waited says that a connection in TIME-WAIT uses the binding no more. The lock is held.
func (t *bindings) waited(b *Binding) {
	b.waiting.Add(-1)
	t.tidy(b)
}

// reservation is what netstack's table of ports knows of a binding.
func (b *Binding) reservation() ports.Reservation {
	r := ports.Reservation{
		Networks:  []tcpip.NetworkProtocolNumber{networkProtocol(b.local.Addr())},
		Transport: tcp.ProtocolNumber,
		Port:      b.local.Port(),
		Flags:     ports.Flags{TupleOnly: true, LoadBalanced: true},
	}
	if !b.local.Addr().IsUnspecified() {
		r.Addr = toAddress(b.local.Addr())
	} else if b.local.Addr().Is6() && !b.options.V6Only {
		r.Networks = append(r.Networks, header.IPv4ProtocolNumber)
	}
	return r
}

func (t *bindings) add(b *Binding) {
	owners := t.byPort[b.local.Port()]
	if owners == nil {
		if t.byPort == nil {
			t.byPort = make(map[uint16]map[*Binding]struct{})
		}
		owners = make(map[*Binding]struct{})
		t.byPort[b.local.Port()] = owners
	}
	owners[b] = struct{}{}
}

// tidy forgets a binding that nobody uses.
func (t *bindings) tidy(b *Binding) {
	if b.bound || b.ep != nil || b.waiting.Load() > 0 {
		return
	}
	owners := t.byPort[b.local.Port()]
	delete(owners, b)
	if len(owners) == 0 {
		delete(t.byPort, b.local.Port())
	}
}

// conflict reports whether a socket may not be bound as b says, or listen on it
// (inet_csk_bind_conflict).
func (t *bindings) conflict(b *Binding) bool {
	for o := range t.byPort[b.local.Port()] {
		switch {
		case o == b, !b.overlaps(o):
		case b.options.ReuseAddress && o.options.ReuseAddress && !o.listening:
		case b.options.ReusePort && o.options.ReusePort:
		default:
			return true
		}
	}
	return false
}

// overlaps reports whether two bindings have a local address in common
// (inet_rcv_saddr_equal with wildcards).
func (b *Binding) overlaps(o *Binding) bool {
	mine, others := b.local.Addr(), o.local.Addr()
	switch {
	case mine.Is4() == others.Is4():
		return mine == others || mine.IsUnspecified() || others.IsUnspecified()
	case mine.Is6():
		return b.meetsIPv4(others)
	default:
		return o.meetsIPv4(mine)
	}
}

// meetsIPv4 reports whether an IPv6 binding has an address in common with an IPv4
// one. A connection, other than a socket that was bound to an address, is not
// IPv6 only, and so meets the unspecified address (ipv4_rcv_saddr_equal).
func (b *Binding) meetsIPv4(other netip.Addr) bool {
	return !b.options.V6Only && (b.local.Addr().IsUnspecified() || !b.bound && other.IsUnspecified())
}
