//go:build linux

package socket

import (
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// udpPorts are the UDP ports of a namespace and the sockets that are bound to
// them. netstack's own table goes by other rules: there a port that was once
// bound without SO_REUSEADDR cannot be shared.
type udpPorts struct {
	mu     sync.Mutex
	byPort map[uint16]map[*udpSocket]udpClaim
}

// A udpClaim is what a bound socket has a port for.
type udpClaim struct {
	nets                 []tcpip.NetworkProtocolNumber
	local                netip.Addr // not valid or unspecified for all addresses
	device               tcpip.NICID
	reuseAddr, reusePort bool
}

// claim returns what the socket has its port for, or would have. Its lock is held.
func (u *udpSocket) claim() udpClaim {
	return udpClaim{
		nets:      u.networks(),
		local:     u.local,
		device:    u.options.device,
		reuseAddr: u.options.reuseAddr,
		reusePort: u.options.reusePort,
	}
}

// take gives a socket a port, any that nobody else has if it is 0. Its lock is
// held.
func (t *udpPorts) take(u *udpSocket, port uint16) (uint16, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := u.claim()
	if port == 0 {
		free := func(port uint16) (bool, tcpip.Error) {
			for _, o := range t.byPort[port] {
				if c.overlaps(o) {
					return false, nil
				}
			}
			return true, nil
		}
		picked, err := u.net.PickEphemeralPort(u.net.SecureRNG(), free)
		if err != nil {
			return 0, unix.EADDRINUSE
		}
		port = picked
	}
	for _, o := range t.byPort[port] {
		if c.conflicts(o) {
			return 0, unix.EADDRINUSE
		}
	}
	if t.byPort == nil {
		t.byPort = make(map[uint16]map[*udpSocket]udpClaim)
	}
	if t.byPort[port] == nil {
		t.byPort[port] = make(map[*udpSocket]udpClaim)
	}
	t.byPort[port][u] = c
	return port, nil
}

// update makes the claim of a socket what it is now; others meet it from now on.
// The socket's lock is held.
func (t *udpPorts) update(u *udpSocket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.byPort[u.port][u]; ok {
		t.byPort[u.port][u] = u.claim()
	}
}

// release gives the port of a socket up. The socket's lock is held.
func (t *udpPorts) release(u *udpSocket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byPort[u.port], u)
	if len(t.byPort[u.port]) == 0 {
		delete(t.byPort, u.port)
	}
}

// conflicts follows udp_lib_lport_inuse.
func (c udpClaim) conflicts(o udpClaim) bool {
	return c.overlaps(o) && !(c.reuseAddr && o.reuseAddr) && !(c.reusePort && o.reusePort)
}

// overlaps reports whether there is a datagram that is for either claim.
func (c udpClaim) overlaps(o udpClaim) bool {
	sameNet := slices.ContainsFunc(c.nets, func(n tcpip.NetworkProtocolNumber) bool { return slices.Contains(o.nets, n) })
	return sameNet && (c.device == 0 || o.device == 0 || c.device == o.device) &&
		(c.all() || o.all() || c.local == o.local)
}

func (c udpClaim) all() bool { return !c.local.IsValid() || c.local.IsUnspecified() }
