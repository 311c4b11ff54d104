//go:build linux

package socket

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
)

// A udpSocket is a SOCK_DGRAM socket of AF_INET or AF_INET6 (udp(7)).
//
// It is an endpoint of its own on netstack's demultiplexer. netstack's own
// (transport/udp) keeps its port when it is disconnected, receives nothing after
// shutdown, and takes neither a source address nor a type of service with a
// datagram; Linux does otherwise.
type udpSocket struct {
	waiters
	ns     *Namespace
	net    *gstack.Stack
	domain int

	mu sync.Mutex
	// local is the bound address (inet_rcv_saddr); the zero Addr stands for all
	// addresses of the family, 0.0.0.0 in an AF_INET6 socket for all of IPv4.
	local netip.Addr
	// port is 0 until the socket is bound.
	port uint16
	// lockAddr and lockPort say that the user chose them (SOCK_BINDADDR_LOCK,
	// SOCK_BINDPORT_LOCK); what the user did not choose goes with disconnect.
	lockAddr, lockPort bool
	// remote is set while the socket is connected, and route leads to it.
	remote netip.AddrPort
	route  *gstack.Route

	registered registration
	options    udpOptions
	cork       *cork
	closed     bool

	connected atomic.Bool
	// wanted are the control messages to receive; nil is none.
	wanted atomic.Pointer[wantedControl]
	// inFlight is how many bytes the link has not taken yet (sk_wmem_alloc).
	inFlight atomic.Int64
	sndbuf   atomic.Int64

	receiving receiveQueue
}

// pollWriteBand is POLLWRBAND, which x/sys/unix lacks.
const pollWriteBand = 0x200

// A registration is what the demultiplexer knows a socket under.
type registration struct {
	nets   []tcpip.NetworkProtocolNumber
	id     gstack.TransportEndpointID
	flags  ports.Flags
	device tcpip.NICID
}

var _ sock = (*udpSocket)(nil)
var _ gstack.TransportEndpoint = (*udpSocket)(nil)

// newUDP makes a UDP socket; domain is AF_INET or AF_INET6.
func newUDP(ns *Namespace, domain int) *udpSocket {
	u := &udpSocket{ns: ns, net: ns.stack.Netstack(), domain: domain, options: defaultUDPOptions}
	u.sndbuf.Store(defaultBuffer)
	u.receiving.limit = defaultBuffer
	return u
}

func (u *udpSocket) kind() (domain, typ, protocol int) {
	return u.domain, unix.SOCK_DGRAM, unix.IPPROTO_UDP
}

// bind follows __inet_bind, which looks at the address before it asks whether the
// socket is bound already.
func (u *udpSocket) bind(addr unix.Sockaddr) error {
	to, err := bindAddress(u.domain, addr)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if to.Addr().Is4() && u.domain == unix.AF_INET6 && u.options.v6Only {
		return unix.EINVAL
	}
	bound := u.port != 0 || u.closed
	switch {
	case bound && u.domain == unix.AF_INET6: // __inet6_bind asks first
		return unix.EINVAL
	case u.domain == unix.AF_INET6 && needsScope(addr) && u.options.device == 0:
		return unix.EINVAL
	case to.Addr().IsValid() && !to.Addr().IsUnspecified() && !u.bindable(to.Addr()):
		return unix.EADDRNOTAVAIL
	case bound:
		return unix.EINVAL
	}
	u.local = to.Addr()
	if err := u.reserve(to.Port()); err != nil {
		u.local = netip.Addr{}
		return err
	}
	u.lockAddr = u.local.IsValid() && !u.local.IsUnspecified()
	u.lockPort = to.Port() != 0
	return nil
}

// bindable reports whether an address is the stack's, or one that reaches several.
func (u *udpSocket) bindable(a netip.Addr) bool {
	return a.IsMulticast() || u.ns.broadcast(a) || u.ns.owns(a)
}

// reserve takes a port, any if it is 0, for the local address and registers the
// socket. The lock is held.
func (u *udpSocket) reserve(port uint16) error {
	port, err := u.ns.udpPorts.take(u, port)
	if err != nil {
		return err
	}
	u.port = port
	if err := u.register(); err != nil {
		u.giveUpPort()
		return err
	}
	return nil
}

// giveUpPort undoes reserve. The lock is held.
func (u *udpSocket) giveUpPort() {
	u.unregister()
	if u.port != 0 {
		u.ns.udpPorts.release(u)
		u.port = 0
	}
}

// networks returns the IP versions that the local address stands for.
func (u *udpSocket) networks() []tcpip.NetworkProtocolNumber {
	switch {
	case u.domain == unix.AF_INET || u.local.Is4():
		return []tcpip.NetworkProtocolNumber{header.IPv4ProtocolNumber}
	case u.local.Is6() || u.options.v6Only:
		return []tcpip.NetworkProtocolNumber{header.IPv6ProtocolNumber}
	}
	return []tcpip.NetworkProtocolNumber{header.IPv6ProtocolNumber, header.IPv4ProtocolNumber}
}

// register tells the demultiplexer what the socket receives now. The lock is
// held; the demultiplexer may deliver before this returns.
func (u *udpSocket) register() error {
	r := registration{
		nets: u.networks(),
		id: gstack.TransportEndpointID{
			LocalAddress: demuxAddress(u.local),
			LocalPort:    u.port,
		},
		// Who may share is decided in udpPorts; of those that do, without
		// SO_REUSEPORT the latest receives.
		flags:  ports.Flags{MostRecent: true, LoadBalanced: u.options.reusePort},
		device: u.options.device,
	}
	if u.remote.IsValid() {
		r.id.RemoteAddress, r.id.RemotePort = toAddress(u.remote.Addr()), u.remote.Port()
	}
	if err := u.net.RegisterTransportEndpoint(r.nets, udp.ProtocolNumber, r.id, u, r.flags, r.device); err != nil {
		return stack.Errno(err)
	}
	u.registered = r
	u.ns.udpPorts.update(u)
	return nil
}

func (u *udpSocket) unregister() {
	if r := u.registered; r.nets != nil {
		u.net.UnregisterTransportEndpoint(r.nets, udp.ProtocolNumber, r.id, u, r.flags, r.device)
		u.registered = registration{}
	}
}

// autobind gives an unbound socket a port (inet_autobind). The lock is held.
func (u *udpSocket) autobind() error {
	if u.closed {
		return unix.EINVAL
	}
	if u.port == 0 && u.reserve(0) != nil {
		return unix.EAGAIN
	}
	return nil
}

// connect follows inet_dgram_connect, which binds before it looks at the
// address.
func (u *udpSocket) connect(addr unix.Sockaddr) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := addr.(SockaddrUnspec); ok {
		u.disconnect()
		return nil
	}
	if err := u.autobind(); err != nil {
		return err
	}
	to, err := u.connectAddress(addr)
	if err != nil {
		return err
	}
	route, err := u.findRoute(u.source(to.Addr()), to.Addr(), u.options.device)
	if err != nil {
		return err
	}
	if route.IsOutboundBroadcast() && !u.options.broadcast {
		route.Release()
		return unix.EACCES
	}
	u.unregister()
	u.releaseRoute()
	u.route, u.remote = route, to
	if !u.lockAddr {
		u.local = fromAddress(route.LocalAddress())
	}
	u.connected.Store(true)
	return u.register()
}

// connectAddress returns the peer that connect names. The lock is held.
func (u *udpSocket) connectAddress(addr unix.Sockaddr) (netip.AddrPort, error) {
	to, err := datagramAddress(u.domain, addr)
	if err != nil {
		return to, err
	}
	to = u.specified(to)
	if u.domain == unix.AF_INET6 {
		_, plain := addr.(*unix.SockaddrInet4)
		switch {
		case needsScope(addr) && u.options.device == 0:
			return to, unix.EINVAL
		case to.Addr().Is4() && plain && (u.options.v6Only || u.lockAddr && u.local.Is6()):
			return to, unix.EAFNOSUPPORT
		case to.Addr().Is4() && (u.options.v6Only || u.lockAddr && u.local.Is6()):
			return to, unix.ENETUNREACH
		case to.Addr().Is6() && u.local.Is4():
			return to, unix.EAFNOSUPPORT
		}
	}
	return to, nil
}

// specified replaces the unspecified address by the one that it leads to: the
// socket's own, or the loopback's.
func (u *udpSocket) specified(to netip.AddrPort) netip.AddrPort {
	if !to.Addr().IsUnspecified() {
		return to
	}
	v4 := to.Addr().Is4() || u.local.Is4()
	a := u.ns.loopback(v4)
	if to.Addr().Is4() {
		if own := u.source(netip.IPv4Unspecified()); own.IsValid() {
			a = own
		}
	}
	return netip.AddrPortFrom(a, to.Port())
}

// source returns the address that a datagram to another comes from, or the zero
// Addr if that is for the route to say. The lock is held.
func (u *udpSocket) source(to netip.Addr) netip.Addr {
	if !u.local.IsValid() || u.local.IsUnspecified() || u.local.Is4() != to.Is4() ||
		u.local.IsMulticast() || u.ns.broadcast(u.local) {
		return netip.Addr{}
	}
	return u.local
}

// findRoute returns the way from an address, any if it is the zero Addr.
func (u *udpSocket) findRoute(from, to netip.Addr, device tcpip.NICID) (*gstack.Route, error) {
	if from.Is4() && from.IsLoopback() && !u.ns.owns(to) {
		return nil, unix.EINVAL // ip_route_output_key_hash_rcu lets no loopback address out
	}
	route, err := u.net.FindRoute(device, demuxAddress(from), toAddress(to), networkProtocol(to), u.options.multicastLoop)
	if err != nil {
		return nil, stack.Errno(err)
	}
	return route, nil
}

func (u *udpSocket) releaseRoute() {
	if u.route != nil {
		u.route.Release()
		u.route = nil
	}
}

// disconnect follows __udp_disconnect. The lock is held.
func (u *udpSocket) disconnect() {
	u.releaseRoute()
	u.unregister()
	u.remote = netip.AddrPort{}
	u.connected.Store(false)
	u.options.device = 0
	if !u.lockAddr {
		u.local = netip.Addr{}
	}
	if !u.lockPort || u.register() != nil {
		u.giveUpPort()
	}
}

func (u *udpSocket) listen(int) error { return unix.EOPNOTSUPP }

func (u *udpSocket) accept() (sock, unix.Sockaddr, error) { return nil, nil, unix.EOPNOTSUPP }

// shutdown follows inet_shutdown, which shuts even what it says is not connected.
func (u *udpSocket) shutdown(how int) error {
	u.receiving.shutdown(how)
	u.Notify(waiter.AllEvents)
	if !u.connected.Load() {
		return unix.ENOTCONN
	}
	return nil
}

func (u *udpSocket) name() (unix.Sockaddr, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return sockaddrOf(u.domain, netip.AddrPortFrom(u.local, u.port)), nil
}

func (u *udpSocket) peer() (unix.Sockaddr, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.remote.Port() == 0 {
		return nil, unix.ENOTCONN
	}
	return sockaddrOf(u.domain, u.remote), nil
}

// release closes the socket.
func (u *udpSocket) release() {
	u.mu.Lock()
	u.closed = true
	u.uncork()
	u.releaseRoute()
	u.giveUpPort()
	u.leaveGroups()
	u.mu.Unlock()
	u.receiving.close()
	u.Notify(waiter.AllEvents)
}

// Abort implements gstack.TransportEndpoint; netstack calls it when it is closed.
func (u *udpSocket) Abort() { u.release() }

// Wait implements gstack.TransportEndpoint.
func (u *udpSocket) Wait() {}

// Readiness implements waiter.Waitable (datagram_poll).
func (u *udpSocket) Readiness(mask waiter.EventMask) waiter.EventMask {
	ready := u.receiving.readiness()
	if u.inFlight.Load() < u.sndbuf.Load()/2 {
		ready |= waiter.WritableEvents | pollWriteBand
	}
	return ready & (mask | waiter.EventErr | waiter.EventHUp)
}

func (u *udpSocket) ioctl(request uint) (int, error) {
	switch request {
	case unix.TIOCINQ: // FIONREAD
		return u.receiving.next(), nil
	case unix.TIOCOUTQ: // SIOCOUTQ
		return int(u.inFlight.Load()), nil
	}
	return 0, unix.ENOTTY
}
