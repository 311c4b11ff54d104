//go:build linux

package socket

import (
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
)

// Most data that fits into a datagram. For IPv6 the kernel counts the IP header
// as not part of the 65535 bytes, which it is not.
const (
	maxPayload4 = math.MaxUint16 - header.IPv4MinimumSize - header.UDPMinimumSize
	maxPayload6 = math.MaxUint16 - header.UDPMinimumSize
)

// A shipment is a datagram that is on its way out.
type shipment struct {
	to       netip.AddrPort
	from     uint16 // the port
	route    *gstack.Route
	ttl, tos uint8
	df       bool
	checksum bool
}

// A cork is a datagram that MSG_MORE holds back.
type cork struct {
	ship shipment
	data []byte
}

// send follows udp_sendmsg and udpv6_sendmsg; the order of the checks is theirs.
func (u *udpSocket) send(m *message, flags int) (int, error) {
	u.mu.Lock()
	// inet_send_prepare: even a send that fails leaves the socket bound.
	if err := u.autobind(); err != nil {
		u.mu.Unlock()
		return 0, err
	}
	n := m.len()
	if u.cork != nil {
		defer u.mu.Unlock()
		return u.addToCork(m, n, flags)
	}
	ship, err := u.prepare(m, n, flags)
	if err != nil {
		u.mu.Unlock()
		return 0, err
	}
	if flags&unix.MSG_MORE != 0 || u.options.cork {
		defer u.mu.Unlock()
		u.cork = &cork{ship: ship}
		return u.addToCork(m, n, flags)
	}
	u.mu.Unlock() // the link may take its time
	defer ship.route.Release()
	view := buffer.NewViewSize(n)
	gather(view.AsSlice(), m)
	return n, u.transmit(&ship, buffer.MakeWithView(view))
}

// gather copies what is left of a message.
func gather(to []byte, m *message) {
	skip := m.skip
	for _, b := range m.iov {
		k := min(skip, len(b))
		skip -= k
		to = to[copy(to, b[k:]):]
	}
}

// prepare finds out where a datagram goes and whether it may. The lock is held,
// and the caller releases the route.
func (u *udpSocket) prepare(m *message, n, flags int) (shipment, error) {
	to, err := u.sendAddress(m.addr, n, flags)
	if err != nil {
		return shipment{}, err
	}
	c := sendControl{ttl: -1, tos: -1, device: u.options.device}
	v4 := to.Addr().Is4()
	if v4 {
		err = c.parse4(m.control, u.domain)
	} else {
		err = c.parse6(m.control)
	}
	if err != nil {
		return shipment{}, err
	}
	ship := shipment{to: to, from: u.port, checksum: !v4 || !u.options.noCheck}
	if ship.route, err = u.routeFor(to.Addr(), &c, m.addr == nil); err != nil {
		return shipment{}, err
	}
	if err := u.permit(&ship, n); err != nil {
		ship.route.Release()
		return shipment{}, err
	}
	u.mark(&ship, &c, n)
	return ship, nil
}

// sendAddress returns where a datagram of n bytes goes, with the checks that do
// not need a route. The lock is held.
func (u *udpSocket) sendAddress(addr unix.Sockaddr, n, flags int) (netip.AddrPort, error) {
	if u.domain == unix.AF_INET {
		if err := fits4(n, flags); err != nil {
			return netip.AddrPort{}, err
		}
	}
	_, unspec := addr.(SockaddrUnspec)
	to, named := u.remote, addr != nil
	var err error
	switch {
	case unspec && u.domain == unix.AF_INET: // taken for 0.0.0.0, port 0
		return to, unix.EINVAL
	case unspec:
		named = false
	case named:
		if to, err = datagramAddress(u.domain, addr); err == unix.EAFNOSUPPORT && u.domain == unix.AF_INET6 {
			err = unix.EINVAL
		}
	}
	if err != nil {
		return to, err
	}
	if named {
		to = u.specified(to)
	}
	if to.Addr().Is4() && u.domain == unix.AF_INET6 {
		if u.options.v6Only || u.lockAddr && u.local.Is6() {
			return to, unix.ENETUNREACH
		}
		if err := fits4(n, flags); err != nil {
			return to, err
		}
	}
	switch {
	case named && to.Port() == 0:
		return to, unix.EINVAL
	case !to.IsValid():
		return to, unix.EDESTADDRREQ
	case to.Addr().Is6() && u.local.Is4():
		return to, unix.EAFNOSUPPORT
	}
	return to, nil
}

// fits4 are the checks that udp_sendmsg begins with.
func fits4(n, flags int) error {
	switch {
	case n > math.MaxUint16:
		return unix.EMSGSIZE
	case flags&unix.MSG_OOB != 0:
		return unix.EOPNOTSUPP
	}
	return nil
}

// routeFor returns the way to an address. The lock is held.
func (u *udpSocket) routeFor(to netip.Addr, c *sendControl, connected bool) (*gstack.Route, error) {
	if connected && !c.source.IsValid() && c.device == u.options.device {
		u.route.Acquire()
		return u.route, nil
	}
	if c.device != 0 && !u.net.HasNIC(c.device) {
		return nil, unix.ENODEV
	}
	source := u.source(to)
	if c.source.IsValid() {
		source = c.source
		local := !u.ns.broadcast(source) &&
			u.net.CheckLocalAddress(c.device, networkProtocol(source), toAddress(source)) != 0
		switch {
		case !local && (!to.Is4() || source.IsMulticast() || toAddress(source) == header.IPv4Broadcast):
			return nil, unix.EINVAL
		case !local:
			return nil, unix.ENETUNREACH
		}
	} else if u.lockAddr && u.local.Is6() && to.Is4() {
		return nil, unix.ENETUNREACH
	}
	return u.findRoute(source, to, c.device)
}

// permit makes the checks that come once the route is known. The lock is held.
func (u *udpSocket) permit(ship *shipment, n int) error {
	limit := maxPayload6
	if ship.to.Addr().Is4() {
		limit = maxPayload4
	}
	if d := u.discover(ship.to.Addr()); d == unix.IP_PMTUDISC_DO || d == unix.IP_PMTUDISC_PROBE {
		limit = min(limit, int(ship.route.MTU())-header.UDPMinimumSize)
	}
	switch {
	case ship.route.IsOutboundBroadcast() && !u.options.broadcast:
		return unix.EACCES
	case n > limit:
		return unix.EMSGSIZE
	}
	if err := u.receiving.sendable(); err != nil {
		return err
	}
	if u.inFlight.Load() >= u.sndbuf.Load() {
		return unix.EAGAIN
	}
	return nil
}

// mark fills in what the IP header says. The lock is held.
func (u *udpSocket) mark(ship *shipment, c *sendControl, n int) {
	v4, multicast := ship.to.Addr().Is4(), ship.to.Addr().IsMulticast()
	ttl, tos := c.ttl, c.tos
	if ttl < 0 {
		switch {
		case multicast && v4:
			ttl = u.options.multicastTTL
		case multicast:
			ttl = u.options.multicastHops
		case v4:
			ttl = u.options.ttl
		default:
			ttl = u.options.hopLimit
		}
	}
	if ttl < 0 {
		ttl = int(ship.route.DefaultTTL())
	}
	if tos < 0 {
		if tos = u.options.tos; !v4 {
			tos = u.options.trafficClass
		}
	}
	ship.ttl, ship.tos = uint8(ttl), uint8(tos)
	d := u.discover(ship.to.Addr())
	ship.df = d != unix.IP_PMTUDISC_DONT && d != unix.IP_PMTUDISC_OMIT && n+header.UDPMinimumSize <= int(ship.route.MTU())
}

// discover returns how the MTU of the path to an address is found out.
func (u *udpSocket) discover(to netip.Addr) int {
	if to.Is4() {
		return u.options.discover
	}
	return u.options.discover6
}

// addToCork adds to the datagram that is held back, and sends it unless more is
// to come. The lock is held.
func (u *udpSocket) addToCork(m *message, n, flags int) (int, error) {
	c := u.cork
	if err := u.permit(&c.ship, len(c.data)+n); err != nil {
		if err != unix.EAGAIN {
			u.uncork() // udp_flush_pending_frames
		}
		return 0, err
	}
	start := len(c.data)
	c.data = append(c.data, make([]byte, n)...)
	gather(c.data[start:], m)
	if flags&unix.MSG_MORE != 0 || u.options.cork {
		return n, nil
	}
	return n, u.push()
}

// push sends the datagram that is held back (udp_push_pending_frames). The lock
// is held.
func (u *udpSocket) push() error {
	if u.cork == nil {
		return nil
	}
	defer u.uncork()
	c := u.cork
	c.ship.df = c.ship.df && len(c.data)+header.UDPMinimumSize <= int(c.ship.route.MTU())
	return u.transmit(&c.ship, buffer.MakeWithData(c.data))
}

// uncork forgets the datagram that is held back. The lock is held.
func (u *udpSocket) uncork() {
	if u.cork != nil {
		u.cork.ship.route.Release()
		u.cork = nil
	}
}

// transmit hands a datagram to IP.
func (u *udpSocket) transmit(ship *shipment, payload buffer.Buffer) error {
	route := ship.route
	size := payload.Size() + header.UDPMinimumSize
	charge := size + int64(datagramOverhead)
	u.inFlight.Add(charge)
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{
		ReserveHeaderBytes: header.UDPMinimumSize + int(route.MaxHeaderLength()),
		Payload:            payload,
		OnRelease:          func() { u.discharge(charge) },
	})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = udp.ProtocolNumber
	h := header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize))
	h.Encode(&header.UDPFields{SrcPort: ship.from, DstPort: ship.to.Port(), Length: uint16(size)})
	if ship.checksum && route.RequiresTXTransportChecksum() {
		sum := h.CalculateChecksum(checksum.Combine(
			route.PseudoHeaderChecksum(udp.ProtocolNumber, uint16(size)), pkt.Data().Checksum()))
		if sum != math.MaxUint16 { // RFC 768: a sum of zero is sent as all ones
			sum = ^sum
		}
		h.SetChecksum(sum)
	}
	err := route.WritePacket(gstack.NetworkHeaderParams{
		Protocol: udp.ProtocolNumber, TTL: ship.ttl, TOS: ship.tos, DF: ship.df,
	}, pkt)
	switch err.(type) {
	case nil:
		u.net.Stats().UDP.PacketsSent.Increment()
		return nil
	case *tcpip.ErrNoBufferSpace: // lost on the way, as far as the sender knows
		return nil
	}
	u.net.Stats().UDP.PacketSendErrors.Increment()
	return stack.Errno(err)
}

// discharge notes that the link has taken a datagram. Those who wait for room hear
// of every one, if there is room: an edge for epoll (sock_def_write_space).
func (u *udpSocket) discharge(charge int64) {
	if u.inFlight.Add(-charge) < u.sndbuf.Load()/2 {
		u.Notify(waiter.WritableEvents)
	}
}
