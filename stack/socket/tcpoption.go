//go:build linux

package socket

import (
	"bytes"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
)

// tcpOptions are the options of a TCP socket, in Linux's units. A socket that is
// accepted inherits those of the listener.
type tcpOptions struct {
	debug, reuseAddr, reusePort, dontRoute, broadcast bool
	keepAlive, oobInline, noCheck                     bool
	priority, mark                                    int
	linger                                            unix.Linger
	device                                            tcpip.NICID
	// sendBuffer and receiveBuffer are SO_SNDBUF and SO_RCVBUF as they read
	// back; 0 leaves them to netstack.
	sendBuffer, receiveBuffer int
	lowWater                  int // SO_RCVLOWAT, bytes

	noDelay, cork, noQuickAck bool
	maxSegment                int // 0 for none
	keepIdle, keepInterval    int // seconds
	keepCount                 int
	synCount                  int // 0 for the default
	linger2                   int // seconds; 0 for the default, below none
	deferAccept               int // SYN-ACK timeouts
	userTimeout               int // milliseconds
	congestion                string

	v6Only                bool
	ttl, hopLimit         int // -1 for the default
	tos, trafficClass     int
	discover, discover6   int // IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
	packetInfo, recvTTL   bool
	recvTOS, packetInfo6  bool
	recvHopLimit, recvTC6 bool

	overflow listenq.Overflow
	profile  *listenq.Profile // nil for the stack's
}

// Defaults of Linux, in seconds, probes and retransmissions: tcp(7).
const (
	keepIdleDefault     = 7200
	keepIntervalDefault = 75
	keepCountDefault    = 9
	synRetriesDefault   = 6
	finTimeoutDefault   = 60
	finTimeoutMax       = 120
)

// tcpBufferMax is what SO_SNDBUF and SO_RCVBUF allow before they double it
// (net.core.wmem_max and rmem_max since Linux 6.18); sendBufferDefault and
// receiveBufferDefault are the middle values of tcp_wmem and tcp_rmem.
const (
	tcpBufferMax         = 4 << 20
	sendBufferDefault    = 16384
	receiveBufferDefault = 131072
	tcpReceiveMax        = 32 << 20 // the last of tcp_rmem
)

var defaultTCPOptions = tcpOptions{
	keepIdle: keepIdleDefault, keepInterval: keepIntervalDefault, keepCount: keepCountDefault,
	congestion: "cubic", lowWater: 1,
	ttl: -1, hopLimit: -1,
	discover: unix.IP_PMTUDISC_WANT, discover6: unix.IP_PMTUDISC_WANT,
}

// A tcpOption reads and writes one option with the socket's lock held; nil is
// ENOPROTOOPT.
type tcpOption struct {
	get func(t *tcpSocket) ([]byte, error)
	set func(t *tcpSocket, value []byte) error
}

var tcpOptionTable = map[optionName]tcpOption{
	{unix.SOL_SOCKET, unix.SO_DEBUG}:        tcpFlag(func(o *tcpOptions) *bool { return &o.debug }),
	{unix.SOL_SOCKET, unix.SO_REUSEADDR}:    tcpFlag(func(o *tcpOptions) *bool { return &o.reuseAddr }),
	{unix.SOL_SOCKET, unix.SO_REUSEPORT}:    tcpFlag(func(o *tcpOptions) *bool { return &o.reusePort }),
	{unix.SOL_SOCKET, unix.SO_DONTROUTE}:    tcpFlag(func(o *tcpOptions) *bool { return &o.dontRoute }),
	{unix.SOL_SOCKET, unix.SO_BROADCAST}:    tcpFlag(func(o *tcpOptions) *bool { return &o.broadcast }),
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}:    tcpFlag(func(o *tcpOptions) *bool { return &o.keepAlive }),
	{unix.SOL_SOCKET, unix.SO_OOBINLINE}:    tcpFlag(func(o *tcpOptions) *bool { return &o.oobInline }),
	{unix.SOL_SOCKET, unix.SO_NO_CHECK}:     tcpFlag(func(o *tcpOptions) *bool { return &o.noCheck }),
	{unix.SOL_SOCKET, unix.SO_PRIORITY}:     tcpInt(func(o *tcpOptions) *int { return &o.priority }, -1<<31, 1<<31-1),
	{unix.SOL_SOCKET, unix.SO_MARK}:         tcpInt(func(o *tcpOptions) *int { return &o.mark }, -1<<31, 1<<31-1),
	{unix.SOL_SOCKET, unix.SO_ERROR}:        {(*tcpSocket).errorOption, nil},
	{unix.SOL_SOCKET, unix.SO_ACCEPTCONN}:   {func(t *tcpSocket) ([]byte, error) { return boolOption(t.listens), nil }, nil},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT}:     {tcpGetInt(func(o *tcpOptions) *int { return &o.lowWater }), (*tcpSocket).setLowWater},
	{unix.SOL_SOCKET, unix.SO_SNDLOWAT}:     {func(*tcpSocket) ([]byte, error) { return intOption(1), nil }, nil},
	{unix.SOL_SOCKET, unix.SO_LINGER}:       {(*tcpSocket).lingerOption, (*tcpSocket).setLinger},
	{unix.SOL_SOCKET, unix.SO_SNDBUF}:       {(*tcpSocket).sendBufferOption, setBuffer(func(o *tcpOptions) *int { return &o.sendBuffer }, tcpBufferMax, minSendBuffer)},
	{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE}:  {nil, setBuffer(func(o *tcpOptions) *int { return &o.sendBuffer }, 1<<30-1, minSendBuffer)},
	{unix.SOL_SOCKET, unix.SO_RCVBUF}:       {(*tcpSocket).receiveBufferOption, setBuffer(func(o *tcpOptions) *int { return &o.receiveBuffer }, tcpBufferMax, minReceiveBuffer)},
	{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE}:  {nil, setBuffer(func(o *tcpOptions) *int { return &o.receiveBuffer }, 1<<30-1, minReceiveBuffer)},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE}: {(*tcpSocket).deviceOption, (*tcpSocket).setDevice},

	{unix.IPPROTO_TCP, unix.TCP_NODELAY}:      {func(t *tcpSocket) ([]byte, error) { return boolOption(t.options.noDelay), nil }, (*tcpSocket).setNoDelay},
	{unix.IPPROTO_TCP, unix.TCP_CORK}:         {func(t *tcpSocket) ([]byte, error) { return boolOption(t.options.cork), nil }, (*tcpSocket).setCork},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:     tcpInt(func(o *tcpOptions) *int { return &o.keepIdle }, 1, 32767),
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}:    tcpInt(func(o *tcpOptions) *int { return &o.keepInterval }, 1, 32767),
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:      tcpInt(func(o *tcpOptions) *int { return &o.keepCount }, 1, 127),
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: tcpInt(func(o *tcpOptions) *int { return &o.userTimeout }, 0, 1<<31-1),
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT}:       {(*tcpSocket).synCountOption, tcpInt(func(o *tcpOptions) *int { return &o.synCount }, 1, 127).set},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG}:       {(*tcpSocket).maxSegmentOption, (*tcpSocket).setMaxSegment},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2}:      {(*tcpSocket).linger2Option, (*tcpSocket).setLinger2},
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT}: {(*tcpSocket).deferAcceptOption, (*tcpSocket).setDeferAccept},
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK}:     {func(t *tcpSocket) ([]byte, error) { return boolOption(!t.options.noQuickAck), nil }, (*tcpSocket).setQuickAck},
	{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:   {(*tcpSocket).congestionOption, (*tcpSocket).setCongestion},
	{unix.IPPROTO_TCP, unix.TCP_INFO}:         {(*tcpSocket).infoOption, nil},

	{unix.IPPROTO_IP, unix.IP_TTL}:          {tcpHops(func(o *tcpOptions) *int { return &o.ttl }), tcpIPInt(func(o *tcpOptions) *int { return &o.ttl }, 1, 255, -1)},
	{unix.IPPROTO_IP, unix.IP_TOS}:          {tcpGetInt(func(o *tcpOptions) *int { return &o.tos }), (*tcpSocket).setTOS},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER}: {tcpGetInt(func(o *tcpOptions) *int { return &o.discover }), tcpIPInt(func(o *tcpOptions) *int { return &o.discover }, unix.IP_PMTUDISC_DONT, unix.IP_PMTUDISC_OMIT, 0)},
	{unix.IPPROTO_IP, unix.IP_MTU}:          {(*tcpSocket).pathMTU, nil},
	{unix.IPPROTO_IP, unix.IP_RECVTTL}:      tcpIPFlag(func(o *tcpOptions) *bool { return &o.recvTTL }),
	{unix.IPPROTO_IP, unix.IP_RECVTOS}:      tcpIPFlag(func(o *tcpOptions) *bool { return &o.recvTOS }),
	{unix.IPPROTO_IP, unix.IP_PKTINFO}:      tcpIPFlag(func(o *tcpOptions) *bool { return &o.packetInfo }),

	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}:       {func(t *tcpSocket) ([]byte, error) { return boolOption(t.options.v6Only), nil }, (*tcpSocket).setV6Only},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}: {tcpHops(func(o *tcpOptions) *int { return &o.hopLimit }), tcpInt(func(o *tcpOptions) *int { return &o.hopLimit }, -1, 255).set},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:       {tcpGetInt(func(o *tcpOptions) *int { return &o.trafficClass }), (*tcpSocket).setTrafficClass},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER}: tcpInt(func(o *tcpOptions) *int { return &o.discover6 }, unix.IP_PMTUDISC_DONT, unix.IP_PMTUDISC_OMIT),
	{unix.IPPROTO_IPV6, unix.IPV6_MTU}:          {(*tcpSocket).pathMTU, nil},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}:  tcpFlag(func(o *tcpOptions) *bool { return &o.packetInfo6 }),
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT}: tcpFlag(func(o *tcpOptions) *bool { return &o.recvHopLimit }),
	{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS}:   tcpFlag(func(o *tcpOptions) *bool { return &o.recvTC6 }),

	{SOL_LISTENQ, LISTENQ_LIMIT}:    {(*tcpSocket).limitOption, nil},
	{SOL_LISTENQ, LISTENQ_WHY}:      {(*tcpSocket).whyOption, nil},
	{SOL_LISTENQ, LISTENQ_COUNTERS}: {(*tcpSocket).countersOption, nil},
	{SOL_LISTENQ, LISTENQ_OVERFLOW}: {(*tcpSocket).overflowOption, (*tcpSocket).setOverflow},
	{SOL_LISTENQ, LISTENQ_PROFILE}:  {(*tcpSocket).profileOption, (*tcpSocket).setProfile},
}

// lookup returns an option; those of IPv6 are unknown to an AF_INET socket, those
// of IPv4 are known to both.
func (t *tcpSocket) lookup(level, name int) tcpOption {
	if level == unix.IPPROTO_IPV6 && t.domain == unix.AF_INET {
		return tcpOption{}
	}
	return tcpOptionTable[optionName{level, name}]
}

func (t *tcpSocket) option(level, name int) ([]byte, error) {
	o := t.lookup(level, name)
	if o.get == nil {
		return nil, unknownOption(t.domain, unix.IPPROTO_TCP, level)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	return o.get(t)
}

// unknownOption is what getsockopt says of an option that an inet socket has not:
// do_ip_getsockopt, which AF_INET comes to with every level that is not the
// transport's, differs from the others.
func unknownOption(domain, transport, level int) error {
	switch level {
	case unix.SOL_SOCKET, unix.IPPROTO_IP, transport, SOL_LISTENQ:
	default:
		if domain == unix.AF_INET {
			return unix.EOPNOTSUPP
		}
	}
	return unix.ENOPROTOOPT
}

// setOption follows sock_setsockopt and do_tcp_setsockopt, which ask for an int
// before they look at the name.
func (t *tcpSocket) setOption(level, name int, value []byte) error {
	o := t.lookup(level, name)
	switch {
	case o.set != nil:
	case (level == unix.SOL_SOCKET || level == unix.IPPROTO_TCP) && len(value) < 4:
		return unix.EINVAL
	default:
		return unix.ENOPROTOOPT
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	if err := o.set(t, value); err != nil {
		return err
	}
	if t.binding != nil {
		t.binding.SetReuse(t.options.reuseAddr, t.options.reusePort)
	}
	if t.listener != nil {
		opts := t.options.listen()
		t.listener.SetDeferAccept(opts.DeferAccept)
		t.listener.SetSYNCount(opts.SYNCount) // in range
		t.listener.SetOffer(opts.Offer)       // in range, too
	}
	if t.ep != nil && !t.over {
		t.options.apply(t.conn)
	}
	return nil
}

// apply gives the options to an endpoint of netstack. Those that it has already
// are left alone, since to set an option may do something.
func (o *tcpOptions) apply(conn *stack.Endpoint) {
	ep, _ := conn.Netstack()
	so := ep.SocketOptions()
	if so.GetKeepAlive() != o.keepAlive {
		so.SetKeepAlive(o.keepAlive)
	}
	if so.GetDelayOption() == o.noDelay {
		so.SetDelayOption(!o.noDelay)
	}
	so.SetQuickAck(!o.noQuickAck)
	if n := int64(o.sendBuffer); n != 0 && so.GetSendBufferSize() != n {
		so.SetSendBufferSize(n, true)
	}
	if n := int64(o.receiveBuffer); n != 0 && so.GetReceiveBufferSize() != n {
		stack.SetReceiveBuffer(ep, n)
	}
	setInt := func(name tcpip.SockOptInt, v int) {
		if was, err := ep.GetSockOptInt(name); err != nil || was != v {
			ep.SetSockOptInt(name, v)
		}
	}
	if o.maxSegment != 0 {
		setInt(tcpip.MaxSegOption, o.maxSegment)
	}
	setInt(tcpip.KeepaliveCountOption, o.keepProbes())
	ttl := o.ttl
	if ttl < 0 {
		ttl = tcpip.UseDefaultIPv4TTL
	}
	setInt(tcpip.IPv4TTLOption, ttl)
	setInt(tcpip.IPv6HopLimitOption, o.hopLimit)
	if ep.NetProto == header.IPv6ProtocolNumber {
		setInt(tcpip.IPv6TrafficClassOption, o.trafficClass)
	} else {
		setInt(tcpip.IPv4TOSOption, o.tos)
	}
	idle := tcpip.KeepaliveIdleOption(time.Duration(o.keepIdle) * time.Second)
	var idleWas tcpip.KeepaliveIdleOption
	if ep.GetSockOpt(&idleWas); idleWas != idle {
		ep.SetSockOpt(&idle)
	}
	interval := tcpip.KeepaliveIntervalOption(time.Duration(o.keepInterval) * time.Second)
	var intervalWas tcpip.KeepaliveIntervalOption
	if ep.GetSockOpt(&intervalWas); intervalWas != interval {
		ep.SetSockOpt(&interval)
	}
	conn.SetUserTimeout(time.Duration(o.userTimeout) * time.Millisecond)
	linger2 := tcpip.TCPLingerTimeoutOption(time.Duration(o.linger2) * time.Second)
	ep.SetSockOpt(&linger2)
	congestion := tcpip.CongestionControlOption(o.congestion)
	var congestionWas tcpip.CongestionControlOption
	if ep.GetSockOpt(&congestionWas); congestionWas != congestion {
		stack.SetCongestionControl(ep, o.congestion) // one that netstack has
	}
}

// keepProbes is how many keepalive probes may go unanswered. TCP_USER_TIMEOUT takes the
// place of TCP_KEEPCNT; the connection ends when the timer fires after it
// (tcp_keepalive_timer).
func (o *tcpOptions) keepProbes() int {
	if o.userTimeout == 0 {
		return o.keepCount
	}
	beyond := o.userTimeout - 1000*o.keepIdle
	return max((beyond+1000*o.keepInterval-1)/(1000*o.keepInterval), 1)
}

// listen returns what a listener is to know.
func (o *tcpOptions) listen() *stack.ListenOptions {
	return &stack.ListenOptions{
		Profile:     o.profile,
		Overflow:    o.overflow,
		DeferAccept: time.Duration(retransmissionsToSeconds(o.deferAccept)) * time.Second,
		SYNCount:    o.synCount,
		Offer:       o.offer(),
	}
}

// offer returns what a listener is to say in its SYN-ACKs.
func (o *tcpOptions) offer() stack.Offer {
	return stack.Offer{
		MaxSegment:    o.maxSegment,
		ReceiveBuffer: o.receiveBuffer,
		TTL:           uint8(max(o.ttl, 0)),
		HopLimit:      uint8(max(o.hopLimit, 0)),
		TOS:           uint8(o.tos),
		TrafficClass:  uint8(o.trafficClass),
	}
}

// tcpFlag is an option that is on or off.
func tcpFlag(field func(*tcpOptions) *bool) tcpOption {
	return tcpOption{
		get: func(t *tcpSocket) ([]byte, error) { return boolOption(*field(&t.options)), nil },
		set: func(t *tcpSocket, value []byte) error {
			v, err := intValue(value)
			if err == nil {
				*field(&t.options) = v != 0
			}
			return err
		},
	}
}

// tcpIPFlag is tcpFlag for a value that may be a char.
func tcpIPFlag(field func(*tcpOptions) *bool) tcpOption {
	o := tcpFlag(field)
	o.set = func(t *tcpSocket, value []byte) error {
		v, err := ipValue(value)
		if err == nil {
			*field(&t.options) = v != 0
		}
		return err
	}
	return o
}

func tcpGetInt(field func(*tcpOptions) *int) func(*tcpSocket) ([]byte, error) {
	return func(t *tcpSocket) ([]byte, error) { return intOption(*field(&t.options)), nil }
}

// tcpInt is an int from least to most; others are EINVAL.
func tcpInt(field func(*tcpOptions) *int, least, most int) tcpOption {
	return tcpOption{
		get: tcpGetInt(field),
		set: func(t *tcpSocket, value []byte) error {
			v, err := intValue(value)
			switch {
			case err != nil:
				return err
			case v < least || v > most:
				return unix.EINVAL
			}
			*field(&t.options) = v
			return nil
		},
	}
}

// tcpIPInt sets an int, or a char, from least to most, or to one more value.
func tcpIPInt(field func(*tcpOptions) *int, least, most, also int) func(*tcpSocket, []byte) error {
	return func(t *tcpSocket, value []byte) error {
		v, err := ipValue(value)
		switch {
		case err != nil:
			return err
		case v != also && (v < least || v > most):
			return unix.EINVAL
		}
		*field(&t.options) = v
		return nil
	}
}

// tcpHops reads a TTL, and what is the default where none is set.
func tcpHops(field func(*tcpOptions) *int) func(*tcpSocket) ([]byte, error) {
	return func(t *tcpSocket) ([]byte, error) {
		v := *field(&t.options)
		if v < 0 {
			v = 64 // net.ipv4.ip_default_ttl, net.ipv6.conf.all.hop_limit
		}
		return intOption(v), nil
	}
}

func (t *tcpSocket) errorOption() ([]byte, error) {
	err := t.err
	t.err = 0
	if err == 0 && t.ep != nil {
		err = t.conn.SoftError()
	}
	return intOption(int(err)), nil
}

func (t *tcpSocket) lingerOption() ([]byte, error) { return structOption(&t.options.linger), nil }

// setLinger keeps the time when it is switched off, as sk_setsockopt does.
func (t *tcpSocket) setLinger(value []byte) error {
	var l unix.Linger
	if err := structValue(&l, value); err != nil {
		return err
	}
	if l.Onoff == 0 {
		t.options.linger.Onoff = 0
		return nil
	}
	t.options.linger = unix.Linger{Onoff: 1, Linger: l.Linger}
	return nil
}

// setBuffer is SO_SNDBUF or SO_RCVBUF: the kernel doubles what it is given.
func setBuffer(field func(*tcpOptions) *int, most, least int) func(*tcpSocket, []byte) error {
	return func(t *tcpSocket, value []byte) error {
		return bufferSize(value, most, func(v int) { *field(&t.options) = max(2*v, least) })
	}
}

func (t *tcpSocket) sendBufferOption() ([]byte, error) {
	switch {
	case t.options.sendBuffer != 0:
		return intOption(t.options.sendBuffer), nil
	case t.ep == nil:
		return intOption(sendBufferDefault), nil
	}
	return intOption(int(t.ep.SocketOptions().GetSendBufferSize())), nil
}

func (t *tcpSocket) receiveBufferOption() ([]byte, error) {
	switch {
	case t.options.receiveBuffer != 0:
		return intOption(t.options.receiveBuffer), nil
	case t.ep == nil:
		return intOption(receiveBufferDefault), nil
	}
	return intOption(int(t.ep.SocketOptions().GetReceiveBufferSize())), nil
}

// lowWater is SO_RCVLOWAT: what a receive that waits waits for, and poll too.
func (t *tcpSocket) lowWater() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.options.lowWater
}

// setLowWater takes no more than half the receive buffer (tcp_set_rcvlowat), since
// more might never arrive; below 0 is that, and 0 is 1.
func (t *tcpSocket) setLowWater(value []byte) error {
	v, err := intValue(value)
	if err != nil {
		return err
	}
	most := tcpReceiveMax / 2
	if t.options.receiveBuffer != 0 {
		most = t.options.receiveBuffer / 2
	}
	if v < 0 {
		v = most
	}
	t.options.lowWater = max(min(v, most), 1)
	t.Notify(waiter.ReadableEvents)
	return nil
}

func (t *tcpSocket) deviceOption() ([]byte, error) { return t.ns.deviceName(t.options.device), nil }

func (t *tcpSocket) setDevice(value []byte) error {
	nic, err := t.ns.device(value)
	if err == nil {
		t.options.device = nic
	}
	return err
}

func (t *tcpSocket) synCountOption() ([]byte, error) {
	if n := t.options.synCount; n != 0 {
		return intOption(n), nil
	}
	return intOption(synRetriesDefault), nil
}

// maxSegmentOption is the size in force, or while there is no connection the one
// that was asked for.
func (t *tcpSocket) maxSegmentOption() ([]byte, error) {
	if t.options.maxSegment != 0 && oneOf(t.state(), tcp.StateClose, tcp.StateListen) {
		return intOption(t.options.maxSegment), nil
	}
	if t.ep != nil {
		if n := t.conn.Info().MaxSegment; n != 0 {
			return intOption(n), nil
		}
	}
	return intOption(header.TCPDefaultMSS), nil
}

func (t *tcpSocket) setMaxSegment(value []byte) error {
	v, err := intValue(value)
	switch {
	case err != nil:
		return err
	case v != 0 && (v < 88 || v > 32767): // TCP_MIN_MSS, MAX_TCP_WINDOW
		return unix.EINVAL
	}
	t.options.maxSegment = v
	return nil
}

func (t *tcpSocket) linger2Option() ([]byte, error) {
	if t.options.linger2 == 0 {
		return intOption(finTimeoutDefault), nil
	}
	return intOption(t.options.linger2), nil
}

func (t *tcpSocket) setLinger2(value []byte) error {
	v, err := intValue(value)
	if err == nil {
		t.options.linger2 = min(max(v, -1), finTimeoutMax)
	}
	return err
}

// secondsToRetransmissions is secs_to_retrans: the number of timeouts, which begin
// with a second and double up to 120, that cover a time.
func secondsToRetransmissions(seconds int) int {
	if seconds <= 0 {
		return 0
	}
	n := 1
	for timeout, period := 1, 1; seconds > period && n < 255; period += timeout {
		n++
		timeout = min(2*timeout, 120)
	}
	return n
}

// retransmissionsToSeconds is retrans_to_secs.
func retransmissionsToSeconds(n int) int {
	period, timeout := 0, 1
	for range n {
		period += timeout
		timeout = min(2*timeout, 120)
	}
	return period
}

func (t *tcpSocket) deferAcceptOption() ([]byte, error) {
	return intOption(retransmissionsToSeconds(t.options.deferAccept)), nil
}

func (t *tcpSocket) setDeferAccept(value []byte) error {
	v, err := intValue(value)
	if err == nil {
		t.options.deferAccept = secondsToRetransmissions(v)
	}
	return err
}

// setNoDelay pushes each time that it is switched on (__tcp_sock_set_nodelay).
func (t *tcpSocket) setNoDelay(value []byte) error {
	v, err := intValue(value)
	if err != nil {
		return err
	}
	if t.options.noDelay = v != 0; t.options.noDelay && t.ep != nil {
		t.ep.SocketOptions().SetDelayOption(false)
		t.conn.Push()
	}
	return nil
}

// setCork pushes when it is switched off, also if it was not on
// (__tcp_sock_set_cork).
func (t *tcpSocket) setCork(value []byte) error {
	v, err := intValue(value)
	if err != nil {
		return err
	}
	if t.options.cork = v != 0; t.ep != nil {
		t.conn.SetCork(t.options.cork)
	}
	return nil
}

// setQuickAck looks at more than zero only when an ACK is overdue
// (__tcp_sock_set_quickack), which in netstack none ever is.
func (t *tcpSocket) setQuickAck(value []byte) error {
	v, err := intValue(value)
	if err == nil {
		t.options.noQuickAck = v == 0
	}
	return err
}

// congestionOption is a name in 16 bytes (TCP_CA_NAME_MAX).
func (t *tcpSocket) congestionOption() ([]byte, error) {
	name := make([]byte, 16)
	copy(name, t.options.congestion)
	return name, nil
}

// setCongestion takes the name of one of netstack's algorithms: reno or cubic.
func (t *tcpSocket) setCongestion(value []byte) error {
	if len(value) == 0 {
		return unix.EINVAL
	}
	name, _, _ := bytes.Cut(value[:min(len(value), 15)], []byte{0})
	var available tcpip.TCPAvailableCongestionControlOption
	t.ns.stack.Netstack().TransportProtocolOption(tcp.ProtocolNumber, &available)
	for _, one := range strings.Fields(string(available)) {
		if one == string(name) {
			t.options.congestion = one
			return nil
		}
	}
	return unix.ENOENT
}

// setTOS leaves the bits of ECN alone, which belong to TCP.
func (t *tcpSocket) setTOS(value []byte) error {
	v, err := ipValue(value)
	if err == nil {
		t.options.tos = v & 0xfc
	}
	return err
}

func (t *tcpSocket) setTrafficClass(value []byte) error {
	v, err := intValue(value)
	switch {
	case err != nil:
		return err
	case v < -1 || v > 255:
		return unix.EINVAL
	}
	t.options.trafficClass = max(v, 0) & 0xfc
	return nil
}

func (t *tcpSocket) setV6Only(value []byte) error {
	v, err := intValue(value)
	switch {
	case err != nil:
		return err
	case t.binding != nil || t.state() != tcp.StateClose:
		return unix.EINVAL
	}
	t.options.v6Only = v != 0
	return nil
}

// pathMTU is IP_MTU and IPV6_MTU, which only a connected socket knows.
func (t *tcpSocket) pathMTU() ([]byte, error) {
	if t.ep == nil || oneOf(t.state(), tcp.StateClose, tcp.StateListen) {
		return nil, unix.ENOTCONN
	}
	return intOption(t.ns.stack.MTU()), nil
}

// deviceName returns the value of SO_BINDTODEVICE for an interface; 0 is none.
func (ns *Namespace) deviceName(nic tcpip.NICID) []byte {
	if nic == 0 {
		return nil
	}
	return append([]byte(ns.stack.Netstack().FindNICNameFromID(nic)), 0)
}

// device reads a value of SO_BINDTODEVICE: a name that ends with its first zero
// byte, or nothing, which is 0. ENODEV for an unknown name.
func (ns *Namespace) device(value []byte) (tcpip.NICID, error) {
	name, _, _ := bytes.Cut(value, []byte{0})
	if len(name) == 0 {
		return 0, nil
	}
	for nic, info := range ns.stack.Netstack().NICInfo() {
		if info.Name == string(name) {
			return nic, nil
		}
	}
	return 0, unix.ENODEV
}
