package stack

import (
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// connect enters a connection that is about to be opened to a peer: with the
// binding of its socket, or with one of its own on a port that is free for it
// (__inet_hash_connect). Errors are EADDRNOTAVAIL if the flow exists already, or
// no port is free, and what the lack of a route gives.
func (t *bindings) connect(e *Endpoint, b *Binding, remote netip.AddrPort) (*Binding, error) {
	local, err := e.s.source(b, remote.Addr())
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b != nil {
		if !t.unique(e.s, netip.AddrPortFrom(local, b.local.Port()), remote, true) {
			return nil, syscall.EADDRNOTAVAIL
		}
		b.ep, b.remote = e.ep, remote
		return b, nil
	}
	port, terr := e.s.g.PickEphemeralPort(e.s.g.SecureRNG(), func(port uint16) (bool, tcpip.Error) {
		at := netip.AddrPortFrom(local, port)
		return at != remote && !t.bound(port) && t.unique(e.s, at, remote, false), nil
	})
	if terr != nil {
		return nil, syscall.EADDRNOTAVAIL
	}
	b = &Binding{s: e.s, local: netip.AddrPortFrom(local, port), ep: e.ep, remote: remote}
	t.add(b)
	return b, nil
}

// bound reports whether a socket was bound to a port.
func (t *bindings) bound(port uint16) bool {
	for b := range t.byPort[port] {
		if b.bound {
			return true
		}
	}
	return false
}

// unique reports whether a connection may be opened on a flow. chosen says that the
// caller has chosen the port. The lock is held.
func (t *bindings) unique(s *Stack, local, remote netip.AddrPort, chosen bool) bool {
	id := gstack.TransportEndpointID{
		LocalAddress: toAddress(local.Addr()), LocalPort: local.Port(),
		RemoteAddress: toAddress(remote.Addr()), RemotePort: remote.Port(),
	}
	found := s.g.FindTransportEndpoint(networkProtocol(remote.Addr()), header.TCPProtocolNumber, id, nicID)
	if ep, ok := found.(*tcp.Endpoint); ok && ep.EndpointState() != tcp.StateListen {
		return false
	}
	ok, freed := s.timeWaits.unique(listenq.NewFlow(local, remote), chosen)
	if freed != nil {
		t.waited(freed)
	}
	return ok
}

// source returns the address that a connection to a peer comes from.
func (s *Stack) source(b *Binding, remote netip.Addr) (netip.Addr, error) {
	if b != nil && !b.local.Addr().IsUnspecified() {
		return b.local.Addr(), nil
	}
	r, err := s.g.FindRoute(0, tcpip.Address{}, toAddress(remote), networkProtocol(remote), false)
	if err != nil {
		return netip.Addr{}, Errno(err)
	}
	defer r.Release()
	return fromAddress(r.LocalAddress()), nil
}
