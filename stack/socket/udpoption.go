//go:build linux

package socket

import (
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Limits of SO_RCVBUF and SO_SNDBUF, in bytes: net.core.rmem_max and wmem_max, and
// SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF.
const (
	maxBuffer        = 212992
	minReceiveBuffer = 2304
	minSendBuffer    = 4608
)

// udpOptions are the options of a UDP socket.
type udpOptions struct {
	reuseAddr, reusePort, broadcast, noCheck bool
	// What follows is kept for getsockopt alone.
	debug, dontRoute, keepAlive, oobInline bool
	priority, mark, lowWater               int
	linger                                 unix.Linger

	device tcpip.NICID
	v6Only bool
	cork   bool

	ttl, hopLimit               int // -1 for the default
	tos, trafficClass           int
	discover, discover6         int // IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
	multicastTTL, multicastHops int
	multicastLoop               bool
	groups                      map[netip.Addr]struct{}

	wanted wantedControl
}

// wantedControl says which control messages a socket wants to receive.
type wantedControl struct {
	timestamp              int // SO_TIMESTAMP, SO_TIMESTAMPNS, or 0
	packetInfo, ttl, tos   bool
	packetInfo6            bool
	hopLimit, trafficClass bool
}

var defaultUDPOptions = udpOptions{
	ttl: -1, hopLimit: -1,
	discover: unix.IP_PMTUDISC_WANT, discover6: unix.IP_PMTUDISC_WANT,
	multicastTTL: 1, multicastHops: 1,
	multicastLoop: true,
	lowWater:      1,
}

type optionName struct{ level, name int }

// A udpOption reads and writes one option with the socket's lock held; nil is
// ENOPROTOOPT.
type udpOption struct {
	get func(u *udpSocket) ([]byte, error)
	set func(u *udpSocket, value []byte) error
}

var udpOptionTable = map[optionName]udpOption{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR}:    sharingOption(func(o *udpOptions) *bool { return &o.reuseAddr }),
	{unix.SOL_SOCKET, unix.SO_REUSEPORT}:    sharingOption(func(o *udpOptions) *bool { return &o.reusePort }),
	{unix.SOL_SOCKET, unix.SO_BROADCAST}:    flagOption(func(o *udpOptions) *bool { return &o.broadcast }),
	{unix.SOL_SOCKET, unix.SO_DEBUG}:        flagOption(func(o *udpOptions) *bool { return &o.debug }),
	{unix.SOL_SOCKET, unix.SO_DONTROUTE}:    flagOption(func(o *udpOptions) *bool { return &o.dontRoute }),
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}:    flagOption(func(o *udpOptions) *bool { return &o.keepAlive }),
	{unix.SOL_SOCKET, unix.SO_OOBINLINE}:    flagOption(func(o *udpOptions) *bool { return &o.oobInline }),
	{unix.SOL_SOCKET, unix.SO_PRIORITY}:     numberOption(func(o *udpOptions) *int { return &o.priority }),
	{unix.SOL_SOCKET, unix.SO_MARK}:         numberOption(func(o *udpOptions) *int { return &o.mark }),
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT}:     {numberOption(func(o *udpOptions) *int { return &o.lowWater }).get, (*udpSocket).setLowWater},
	{unix.SOL_SOCKET, unix.SO_SNDLOWAT}:     {func(*udpSocket) ([]byte, error) { return intOption(1), nil }, nil},
	{unix.SOL_SOCKET, unix.SO_LINGER}:       {func(u *udpSocket) ([]byte, error) { return structOption(&u.options.linger), nil }, (*udpSocket).setLinger},
	{unix.SOL_SOCKET, unix.SO_NO_CHECK}:     flagOption(func(o *udpOptions) *bool { return &o.noCheck }),
	{unix.SOL_SOCKET, unix.SO_TIMESTAMP}:    timestampOption(unix.SO_TIMESTAMP),
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS}:  timestampOption(unix.SO_TIMESTAMPNS),
	{unix.SOL_SOCKET, unix.SO_RCVBUF}:       {getReceiveBuffer, (*udpSocket).setReceiveBuffer},
	{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE}:  {nil, (*udpSocket).forceReceiveBuffer},
	{unix.SOL_SOCKET, unix.SO_SNDBUF}:       {getSendBuffer, (*udpSocket).setSendBuffer},
	{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE}:  {nil, (*udpSocket).forceSendBuffer},
	{unix.SOL_SOCKET, unix.SO_ACCEPTCONN}:   {func(*udpSocket) ([]byte, error) { return intOption(0), nil }, nil},
	{unix.SOL_SOCKET, unix.SO_ERROR}:        {func(u *udpSocket) ([]byte, error) { return intOption(int(u.receiving.takeError())), nil }, nil},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE}: {(*udpSocket).boundDevice, (*udpSocket).bindToDevice},

	{unix.IPPROTO_IP, unix.IP_TTL}:             {defaultTTL(func(o *udpOptions) *int { return &o.ttl }), ipInt(func(o *udpOptions) *int { return &o.ttl }, 1, 255, true)},
	{unix.IPPROTO_IP, unix.IP_TOS}:             byteOption(func(o *udpOptions) *int { return &o.tos }),
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER}:    discoverOption(func(o *udpOptions) *int { return &o.discover }),
	{unix.IPPROTO_IP, unix.IP_MTU}:             {(*udpSocket).pathMTU, nil},
	{unix.IPPROTO_IP, unix.IP_RECVTTL}:         wantOption(func(w *wantedControl) *bool { return &w.ttl }),
	{unix.IPPROTO_IP, unix.IP_RECVTOS}:         wantOption(func(w *wantedControl) *bool { return &w.tos }),
	{unix.IPPROTO_IP, unix.IP_PKTINFO}:         wantOption(func(w *wantedControl) *bool { return &w.packetInfo }),
	{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL}:   notEmpty(rangeOption(func(o *udpOptions) *int { return &o.multicastTTL }, 0, 255)),
	{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP}:  notEmpty(ipFlag(func(o *udpOptions) *bool { return &o.multicastLoop })),
	{unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP}:  {nil, (*udpSocket).joinGroup4},
	{unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP}: {nil, (*udpSocket).leaveGroup4},

	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}:         {func(u *udpSocket) ([]byte, error) { return boolOption(u.options.v6Only), nil }, (*udpSocket).setV6Only},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}:   {defaultTTL(func(o *udpOptions) *int { return &o.hopLimit }), ipInt(func(o *udpOptions) *int { return &o.hopLimit }, 0, 255, true)},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:         rangeOption(func(o *udpOptions) *int { return &o.trafficClass }, 0, 255),
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER}:   discoverOption(func(o *udpOptions) *int { return &o.discover6 }),
	{unix.IPPROTO_IPV6, unix.IPV6_MTU}:            {(*udpSocket).pathMTU, nil},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}:    wantOption(func(w *wantedControl) *bool { return &w.packetInfo6 }),
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT}:   wantOption(func(w *wantedControl) *bool { return &w.hopLimit }),
	{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS}:     wantOption(func(w *wantedControl) *bool { return &w.trafficClass }),
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS}: rangeOption(func(o *udpOptions) *int { return &o.multicastHops }, 0, 255),
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP}: zeroOrOne(ipFlag(func(o *udpOptions) *bool { return &o.multicastLoop })),
	{unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP}:     {nil, (*udpSocket).joinGroup6},
	{unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP}:    {nil, (*udpSocket).leaveGroup6},

	{unix.SOL_UDP, unix.UDP_CORK}: {func(u *udpSocket) ([]byte, error) { return boolOption(u.options.cork), nil }, (*udpSocket).setCork},
}

// lookup returns an option; those of IPv6 are unknown to an AF_INET socket, those
// of IPv4 are known to both.
func (u *udpSocket) lookup(level, name int) udpOption {
	if level == unix.IPPROTO_IPV6 && u.domain == unix.AF_INET {
		return udpOption{}
	}
	return udpOptionTable[optionName{level, name}]
}

func (u *udpSocket) option(level, name int) ([]byte, error) {
	o := u.lookup(level, name)
	if o.get == nil {
		return nil, unknownOption(u.domain, unix.IPPROTO_UDP, level)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return o.get(u)
}

func (u *udpSocket) setOption(level, name int, value []byte) error {
	o := u.lookup(level, name)
	switch {
	case len(value) < 4 && (o.set != nil && level == unix.IPPROTO_IPV6 || o.set == nil && (level == unix.SOL_SOCKET || level == unix.SOL_UDP)):
		return unix.EINVAL // there the kernel asks for an int first
	case o.set == nil:
		return unix.ENOPROTOOPT
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return o.set(u, value)
}

// flagOption is an option that is on or off.
func flagOption(field func(*udpOptions) *bool) udpOption {
	return udpOption{
		get: func(u *udpSocket) ([]byte, error) { return boolOption(*field(&u.options)), nil },
		set: func(u *udpSocket, value []byte) error {
			v, err := intValue(value)
			if err == nil {
				*field(&u.options) = v != 0
			}
			return err
		},
	}
}

// numberOption is any int.
func numberOption(field func(*udpOptions) *int) udpOption {
	return udpOption{
		get: func(u *udpSocket) ([]byte, error) { return intOption(*field(&u.options)), nil },
		set: func(u *udpSocket, value []byte) error {
			v, err := intValue(value)
			if err == nil {
				*field(&u.options) = v
			}
			return err
		},
	}
}

// setLowWater is SO_RCVLOWAT, which datagrams take no notice of.
func (u *udpSocket) setLowWater(value []byte) error {
	v, err := intValue(value)
	switch {
	case err != nil:
		return err
	case v < 0:
		v = math.MaxInt32
	}
	u.options.lowWater = max(v, 1)
	return nil
}

func (u *udpSocket) setLinger(value []byte) error {
	var l unix.Linger
	if err := structValue(&l, value); err != nil {
		return err
	}
	if l.Onoff == 0 {
		u.options.linger.Onoff = 0
		return nil
	}
	u.options.linger = unix.Linger{Onoff: 1, Linger: l.Linger}
	return nil
}

// ipValue reads a value at the level of IP: an int, a char if it is shorter, and 0
// if it is empty (do_ip_setsockopt).
func ipValue(value []byte) (int, error) {
	switch {
	case len(value) >= 4:
		return intValue(value)
	case len(value) >= 1:
		return int(value[0]), nil
	}
	return 0, nil
}

// notEmpty is an option whose value must not be empty.
func notEmpty(o udpOption) udpOption {
	return checked(o, func(value []byte) bool { return len(value) > 0 })
}

// zeroOrOne is an option whose value must be one of the two.
func zeroOrOne(o udpOption) udpOption {
	return checked(o, func(value []byte) bool {
		v, err := intValue(value)
		return err == nil && (v == 0 || v == 1)
	})
}

// checked is an option with a check of its value before it is set; what fails is
// EINVAL.
func checked(o udpOption, check func([]byte) bool) udpOption {
	set := o.set
	o.set = func(u *udpSocket, value []byte) error {
		if !check(value) {
			return unix.EINVAL
		}
		return set(u, value)
	}
	return o
}

// sharingOption is a flagOption that says who may share the port.
func sharingOption(field func(*udpOptions) *bool) udpOption {
	o := flagOption(field)
	set := o.set
	o.set = func(u *udpSocket, value []byte) error {
		err := set(u, value)
		u.ns.udpPorts.update(u)
		return err
	}
	return o
}

// discoverOption is IP_MTU_DISCOVER or IPV6_MTU_DISCOVER.
func discoverOption(field func(*udpOptions) *int) udpOption {
	o := rangeOption(field, unix.IP_PMTUDISC_DONT, unix.IP_PMTUDISC_OMIT)
	o.set = ipInt(field, unix.IP_PMTUDISC_DONT, unix.IP_PMTUDISC_OMIT, false)
	return o
}

// ipFlag is flagOption for a value that may be a char.
func ipFlag(field func(*udpOptions) *bool) udpOption {
	o := flagOption(field)
	o.set = func(u *udpSocket, value []byte) error {
		v, err := ipValue(value)
		if err == nil {
			*field(&u.options) = v != 0
		}
		return err
	}
	return o
}

// wantOption is ipFlag for a control message to receive.
func wantOption(field func(*wantedControl) *bool) udpOption {
	o := ipFlag(func(o *udpOptions) *bool { return field(&o.wanted) })
	set := o.set
	o.set = func(u *udpSocket, value []byte) error {
		defer u.publishWanted()
		return set(u, value)
	}
	return o
}

// timestampOption is SO_TIMESTAMP or SO_TIMESTAMPNS: there is one timestamp, in
// the format that was asked for last.
func timestampOption(name int) udpOption {
	return udpOption{
		get: func(u *udpSocket) ([]byte, error) { return boolOption(u.options.wanted.timestamp == name), nil },
		set: func(u *udpSocket, value []byte) error {
			v, err := intValue(value)
			if err != nil {
				return err
			}
			if u.options.wanted.timestamp = name; v == 0 {
				u.options.wanted.timestamp = 0
			}
			u.publishWanted()
			return nil
		},
	}
}

// publishWanted makes what is wanted known to receive, which does not take the
// socket's lock.
func (u *udpSocket) publishWanted() {
	if w := u.options.wanted; w != (wantedControl{}) {
		u.wanted.Store(&w)
	} else {
		u.wanted.Store(nil)
	}
}

// ipInt sets an int from least to most; -1, if it is allowed, is the default.
func ipInt(field func(*udpOptions) *int, least, most int, unset bool) func(*udpSocket, []byte) error {
	return func(u *udpSocket, value []byte) error {
		v, err := ipValue(value)
		switch {
		case err != nil:
			return err
		case v == -1 && unset:
		case v < least || v > most:
			return unix.EINVAL
		}
		*field(&u.options) = v
		return nil
	}
}

// rangeOption is an int from least to most; -1 is what it is in a new socket.
func rangeOption(field func(*udpOptions) *int, least, most int) udpOption {
	set := ipInt(field, least, most, true)
	initial := defaultUDPOptions
	return udpOption{
		get: func(u *udpSocket) ([]byte, error) { return intOption(*field(&u.options)), nil },
		set: func(u *udpSocket, value []byte) error {
			err := set(u, value)
			if v := field(&u.options); *v == -1 {
				*v = *field(&initial)
			}
			return err
		},
	}
}

// byteOption is an int of which the lowest eight bits count.
func byteOption(field func(*udpOptions) *int) udpOption {
	return udpOption{
		get: func(u *udpSocket) ([]byte, error) { return intOption(*field(&u.options)), nil },
		set: func(u *udpSocket, value []byte) error {
			v, err := ipValue(value)
			if err == nil {
				*field(&u.options) = v & 0xff
			}
			return err
		},
	}
}

// defaultTTL reads a TTL, and what is the default where none is set.
func defaultTTL(field func(*udpOptions) *int) func(*udpSocket) ([]byte, error) {
	return func(u *udpSocket) ([]byte, error) {
		v := *field(&u.options)
		if v < 0 {
			v = 64 // net.ipv4.ip_default_ttl, net.ipv6.conf.all.hop_limit
		}
		return intOption(v), nil
	}
}

func getReceiveBuffer(u *udpSocket) ([]byte, error) {
	return intOption(u.receiving.setLimit(0)), nil
}

// setReceiveBuffer is SO_RCVBUF: the kernel doubles what it is given.
func (u *udpSocket) setReceiveBuffer(value []byte) error {
	return bufferSize(value, maxBuffer, func(v int) { u.receiving.setLimit(max(2*v, minReceiveBuffer)) })
}

func (u *udpSocket) forceReceiveBuffer(value []byte) error {
	return bufferSize(value, 1<<30-1, func(v int) { u.receiving.setLimit(max(2*v, minReceiveBuffer)) })
}

func getSendBuffer(u *udpSocket) ([]byte, error) { return intOption(int(u.sndbuf.Load())), nil }

func (u *udpSocket) setSendBuffer(value []byte) error {
	return bufferSize(value, maxBuffer, func(v int) { u.sndbuf.Store(int64(max(2*v, minSendBuffer))) })
}

func (u *udpSocket) forceSendBuffer(value []byte) error {
	return bufferSize(value, 1<<30-1, func(v int) { u.sndbuf.Store(int64(max(2*v, minSendBuffer))) })
}

// bufferSize reads the size of a buffer; the kernel compares it unsigned, so that
// a negative one is the largest.
func bufferSize(value []byte, most int, set func(int)) error {
	v, err := intValue(value)
	if err == nil {
		set(int(min(uint32(v), uint32(most))))
	}
	return err
}

// setLimit changes SO_RCVBUF, if limit is not 0, and returns what it is.
func (q *receiveQueue) setLimit(limit int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if limit != 0 {
		q.limit = limit
	}
	return q.limit
}

func (u *udpSocket) boundDevice() ([]byte, error) { return u.ns.deviceName(u.options.device), nil }

func (u *udpSocket) bindToDevice(value []byte) error {
	nic, err := u.ns.device(value)
	if err == nil {
		u.options.device = nic
	}
	return err
}

func (u *udpSocket) setV6Only(value []byte) error {
	v, err := intValue(value)
	switch {
	case err != nil:
		return err
	case u.port != 0:
		return unix.EINVAL
	}
	u.options.v6Only = v != 0
	return nil
}

// pathMTU is IP_MTU and IPV6_MTU, which only a connected socket knows.
func (u *udpSocket) pathMTU() ([]byte, error) {
	if u.route == nil {
		return nil, unix.ENOTCONN
	}
	size := header.IPv6MinimumSize
	if u.route.NetProto() == header.IPv4ProtocolNumber {
		size = header.IPv4MinimumSize
	}
	return intOption(int(u.route.MTU()) + size), nil
}

// setCork is UDP_CORK; switched off, it sends what was held back.
func (u *udpSocket) setCork(value []byte) error {
	v, err := intValue(value)
	if err != nil {
		return err
	}
	if u.options.cork = v != 0; !u.options.cork {
		u.push()
	}
	return nil
}

// joinGroup4 is IP_ADD_MEMBERSHIP with a struct ip_mreq or ip_mreqn; there is one
// interface to join on.
func (u *udpSocket) joinGroup4(value []byte) error {
	group, err := group4(value)
	if err != nil {
		return err
	}
	return u.joinGroup(group)
}

func (u *udpSocket) leaveGroup4(value []byte) error {
	group, err := group4(value)
	if err != nil {
		return err
	}
	return u.leaveGroup(group)
}

func group4(value []byte) (netip.Addr, error) {
	if len(value) < unix.SizeofIPMreq {
		return netip.Addr{}, unix.EINVAL
	}
	return netip.AddrFrom4([4]byte(value)), nil
}

// joinGroup6 is IPV6_JOIN_GROUP with a struct ipv6_mreq.
func (u *udpSocket) joinGroup6(value []byte) error {
	group, err := group6(value)
	if err != nil {
		return err
	}
	return u.joinGroup(group)
}

func (u *udpSocket) leaveGroup6(value []byte) error {
	group, err := group6(value)
	if err != nil {
		return err
	}
	return u.leaveGroup(group)
}

func group6(value []byte) (netip.Addr, error) {
	if len(value) < unix.SizeofIPv6Mreq {
		return netip.Addr{}, unix.EINVAL
	}
	return netip.AddrFrom16([16]byte(value)), nil
}

func (u *udpSocket) joinGroup(group netip.Addr) error {
	if !group.IsMulticast() {
		return unix.EINVAL
	}
	if _, ok := u.options.groups[group]; ok {
		return unix.EADDRINUSE
	}
	if err := u.net.JoinGroup(networkProtocol(group), u.ns.nic(), toAddress(group)); err != nil {
		return unix.ENODEV
	}
	if u.options.groups == nil {
		u.options.groups = make(map[netip.Addr]struct{})
	}
	u.options.groups[group] = struct{}{}
	return nil
}

func (u *udpSocket) leaveGroup(group netip.Addr) error {
	if _, ok := u.options.groups[group]; !ok {
		return unix.EADDRNOTAVAIL
	}
	delete(u.options.groups, group)
	u.net.LeaveGroup(networkProtocol(group), u.ns.nic(), toAddress(group))
	return nil
}

// leaveGroups leaves what the socket has joined. The lock is held.
func (u *udpSocket) leaveGroups() {
	for group := range u.options.groups {
		u.leaveGroup(group)
	}
}
