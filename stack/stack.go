package stack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/ulisten/ulisten/listenq"
)

// nicID is the one link of a stack.
const nicID tcpip.NICID = 1

// firstPort and lastPort are the range that ports are chosen from for sockets that
// do not care (Linux ip_local_port_range).
const firstPort, lastPort = 32768, 60999

// Config describes a stack.
type Config struct {
	// Link carries IP packets without a link header, as a TUN does. The stack
	// owns it from New on, also if New fails, and closes it.
	Link gstack.LinkEndpoint
	// Addresses are the stack's own, each with the prefix of its network. All
	// traffic leaves through Link, except what is for an own address. With
	// 127.0.0.1/8 or ::1/128 among them the stack has a loopback.
	Addresses []netip.Prefix
	// Profile is the platform whose rules the listeners follow that have none of
	// their own; nil stands for linux-6. It must not be changed.
	Profile *listenq.Profile
	// Sysctls are the settings of all listeners; nil stands for those of each
	// listener's profile.
	Sysctls *listenq.Sysctls
	// Observe, if not nil, is told every decision of every listener, in order.
	// It runs on the segment path under the listener's lock: it must be quick
	// and must not call the listener.
	Observe func(Event)
	// Logger gets what an operator should know; nil is silent.
	Logger *slog.Logger
	// Random is the source of secrets; nil stands for crypto/rand.
	Random io.Reader
	// Clock is the time that everything follows; nil is real time. With a
	// VirtualClock nothing happens unless it is advanced.
	Clock tcpip.Clock
}

// An Event is one decision of a listener, and what led to it.
type Event struct {
	// Listener made the decision.
	Listener *Listener
	// Time is the reading of the stack's monotonic clock.
	Time time.Duration
	// Segment or ICMP is what arrived; both are nil if a timer fired.
	Segment *listenq.Segment
	ICMP    *listenq.ICMPError
	// Outcome is the decision.
	Outcome listenq.Outcome
}

// A Stack is a TCP/IP stack with one link.
type Stack struct {
	g      *gstack.Stack
	clock  tcpip.Clock
	link   *link
	gate   *gate
	grafts grafts
	later  later
	stalls stalls
	// lingering are closed listeners that still have requests.
	lingering lingering
	timeWaits timeWaits
	idle      idle
	proven    proven
	icmpLimit icmpLimit
	bindings  bindings
	logger    *slog.Logger

	observe func(Event)
	random  io.Reader
	profile *listenq.Profile
	// secret keys the hashes of all listeners, as in the kernel: a cookie
	// outlives the listener that has sent it.
	secret listenq.Secret
	// activity counts what was given to netstack's workers and what came out
	// of them; virtual time watches it.
	activity atomic.Uint64
	sysctls  [sysctlCount]atomic.Int64
	counted  connCounts
	ident    atomic.Uint32 // of the last packet that may be fragmented
	orphans  atomic.Int64
	// invalidRatelimit is tcp_invalid_ratelimit of the stack's profile, in
	// nanoseconds.
	invalidRatelimit atomic.Int64

	mu        sync.RWMutex
	closed    bool
	settings  settings
	listeners map[uint16][]*Listener // by port; the slices never change
	past      listenq.Counters       // of listeners that were closed
	dropped   Drops
}

// Drops counts what a stack threw away outside of listenq's rules.
type Drops struct {
	Martians      uint64 // packets from outside with an address that no packet on a wire has
	SourceRoutes  uint64 // IPv4 packets with a source route
	Malformed     uint64 // segments to a listener whose header does not add up
	Checksum      uint64 // segments to a listener with a wrong checksum
	ICMP          uint64 // ICMP errors about TCP that are damaged or not for one address, and all in fragments
	HeldOverflow  uint64 // segments beyond what is held for a connection being grafted
	LaterOverflow uint64 // segments beyond what is queued for a second look
	GraftFailures uint64 // connections that netstack did not take over
	Strays        uint64 // handshakes that netstack began on its own

	BroadcastEchoes    uint64 // echo requests to a broadcast or multicast address
	ExtensionHeaders   uint64 // IPv6 packets whose extension headers Linux refuses
	OutRateLimitGlobal uint64 // ICMP errors beyond what all destinations may get
	OutRateLimitHost   uint64 // ICMP errors beyond what their destination may get
}

// Each calls f with every counter's name and value, in the order of the fields.
func (d *Drops) Each(f func(name string, value uint64)) {
	v := reflect.ValueOf(d).Elem()
	for i := range v.NumField() {
		f(v.Type().Field(i).Name, v.Field(i).Uint())
	}
}

// New builds a stack and attaches it to its link.
func New(cfg Config) (*Stack, error) {
	if cfg.Link == nil {
		return nil, errors.New("stack: no link: set Config.Link, for example to the result of tun.Open")
	}
	if cfg.Link.Capabilities()&gstack.CapabilityResolutionRequired != 0 {
		cfg.Link.Close()
		return nil, errors.New("stack: the link needs neighbour resolution: use one that carries bare IP packets, such as a TUN")
	}
	if inBubble() {
		cfg.Link.Close()
		return nil, errors.New("stack: a stack cannot run in a bubble of testing/synctest, where netstack's workers would hang: use listenq/memnet there, or stack/stacktest outside of one")
	}
	s := &Stack{
		clock:     cfg.Clock,
		logger:    cfg.Logger,
		observe:   cfg.Observe,
		random:    cfg.Random,
		profile:   cfg.Profile,
		settings:  newSettings(cfg.Sysctls),
		listeners: make(map[uint16][]*Listener),
	}
	if s.clock == nil {
		s.clock = tcpip.NewStdClock()
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.random == nil {
		s.random = rand.Reader
	}
	if _, err := io.ReadFull(s.random, s.secret[:]); err != nil {
		cfg.Link.Close()
		return nil, fmt.Errorf("stack: read random bytes: %w", err)
	}
	if s.profile == nil {
		s.profile = listenq.Profiles()[0]
	}
	if err := s.profile.Validate(); err != nil {
		cfg.Link.Close()
		return nil, fmt.Errorf("stack: %w", err)
	}
	s.grafts.init(s)
	s.later.init(s.clock)
	s.stalls.s = s
	s.timeWaits.init(s)
	s.link = newLink(s, cfg.Link, cfg.Addresses)
	if err := s.build(cfg); err != nil {
		s.link.Close()
		return nil, err
	}
	if c, ok := s.clock.(*VirtualClock); ok {
		c.attach(s)
	}
	return s, nil
}

func (s *Stack) build(cfg Config) error {
	if err := checkPrivateFields(); err != nil {
		return err
	}
	s.g = gstack.New(gstack.Options{
		NetworkProtocols: []gstack.NetworkProtocolFactory{
			// Loopback addresses are fine between own addresses; link turns away
			// those that come from outside.
			ipv4.NewProtocolWithOptions(ipv4.Options{AllowExternalLoopbackTraffic: true}),
			ipv6.NewProtocolWithOptions(ipv6.Options{
				// The link has no neighbours that could own an address already.
				DADConfigs:                   gstack.DADConfigurations{DupAddrDetectTransmits: 0},
				AllowExternalLoopbackTraffic: true,
			}),
		},
		TransportProtocols: []gstack.TransportProtocolFactory{s.newGate, udp.NewProtocol},
		Clock:              s.clock,
		SecureRNG:          s.random,
	})
	if err := s.g.CreateNIC(nicID, s.link); err != nil {
		return fmt.Errorf("stack: create interface: %w", Errno(err))
	}
	for _, p := range cfg.Addresses {
		if p.Addr().Is4In6() {
			return fmt.Errorf("stack: address %v: use the IPv4 form, %v", p, p.Addr().Unmap())
		}
		addr := tcpip.ProtocolAddress{
			Protocol:          networkProtocol(p.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: toAddress(p.Addr()), PrefixLen: p.Bits()},
		}
		if err := s.g.AddProtocolAddress(nicID, addr, gstack.AddressProperties{}); err != nil {
			return fmt.Errorf("stack: add address %v: %w", p, Errno(err))
		}
	}
	s.initSysctls()
	s.limitAnswers()
	none := tcpip.TCPTimeWaitTimeoutOption(0) // see timeWaits
	if err := s.g.SetTransportProtocolOption(tcp.ProtocolNumber, &none); err != nil {
		return fmt.Errorf("stack: TIME-WAIT: %w", Errno(err))
	}
	s.icmpLimit.init(s)
	if err := s.g.SetPortRange(firstPort, lastPort); err != nil {
		return fmt.Errorf("stack: port range: %w", Errno(err))
	}
	s.g.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nicID},
		{Destination: header.IPv6EmptySubnet, NIC: nicID},
	})
	return nil
}

// Close resets all connections, closes all listeners and the link, and returns
// when nothing of the stack runs any more.
func (s *Stack) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	if c, ok := s.clock.(*VirtualClock); ok {
		c.Settle()
		c.detach(s)
	}
	for _, l := range s.Listeners() {
		l.Close()
	}
	s.lingering.close()
	s.stalls.close()
	s.grafts.close()
	s.timeWaits.close()
	s.idle.close()
	s.g.Close()
	s.later.close()
	// The link goes first: waiting for it while it still delivers could wait
	// for ever.
	s.link.Close()
	s.g.Wait()
	return nil
}

// Listeners returns the listeners that are open, in no particular order.
func (s *Stack) Listeners() []*Listener {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*Listener
	for _, on := range s.listeners {
		all = append(all, on...)
	}
	return all
}

// Profile returns the platform whose rules the listeners follow that have none of
// their own.
func (s *Stack) Profile() *listenq.Profile { return s.profile }

// MTU returns the size of the largest IP packet of the link, in bytes, headers
// included.
func (s *Stack) MTU() int { return s.link.mtu() }

func (s *Stack) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// add enters a listener into the table before netstack can deliver segments for
// it; false means that the stack is closed. The table's lock must not be held
// while netstack registers the endpoint: netstack delivers with locks of its own
// held, and the gate then takes this one.
func (s *Stack) add(l *Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	l.q.SetSysctls(s.settings.of(l.q.Profile())) // one may have changed since the listener read them
	port := l.local.Port()
	s.listeners[port] = append(slices.Clip(s.listeners[port]), l)
	return true
}

// remove takes a listener out of the table and keeps what it has counted.
func (s *Stack) remove(l *Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	port := l.local.Port()
	i := slices.Index(s.listeners[port], l)
	if i < 0 {
		return
	}
	counters := l.q.Counters()
	s.past.Add(&counters)
	l.removed = true
	if len(s.listeners[port]) == 1 {
		delete(s.listeners, port)
		return
	}
	s.listeners[port] = slices.Delete(slices.Clone(s.listeners[port]), i, i+1)
}

// Counters returns the sum over all listeners, closed ones included.
func (s *Stack) Counters() listenq.Counters {
	s.mu.RLock()
	sum := s.past
	s.mu.RUnlock()
	for _, l := range s.Listeners() {
		c := l.Stats().Counters
		sum.Add(&c)
	}
	return sum
}

// Drops returns what was thrown away so far.
func (s *Stack) Drops() Drops {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.dropped
}

func (s *Stack) drop(count func(*Drops)) {
	s.mu.Lock()
	count(&s.dropped)
	s.mu.Unlock()
}

// now is the time that listenq reckons with: the clock that netstack takes its
// timestamps from, so that both agree on them.
func (s *Stack) now() time.Duration {
	return s.clock.NowMonotonic().Sub(tcpip.MonotonicTime{})
}

func toAddress(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

func fromAddress(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

func networkProtocol(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}
