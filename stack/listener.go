package stack

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack/internal/deadline"
)

// netstackBacklog is the capacity of netstack's own listener, which must never
// be the one that is full.
const netstackBacklog = 1 << 30

// ListenOptions are what a socket can set before listen(2). The zero value is a
// socket as Linux makes it.
type ListenOptions struct {
	// Profile is the platform whose rules hold; nil stands for the stack's. It
	// must not be changed.
	Profile *listenq.Profile
	// Overflow is what a full queue answers; SetOverflow changes it later.
	Overflow listenq.Overflow
	// DeferAccept is TCP_DEFER_ACCEPT; 0 is off.
	DeferAccept time.Duration
	// SYNCount is TCP_SYNCNT, 1 to 127 retransmissions of the SYN-ACK; 0
	// leaves it to net.ipv4.tcp_synack_retries.
	SYNCount int
	// Offer is what SYN-ACKs say; SetOffer changes it later.
	Offer
	// ReusePort is SO_REUSEPORT: several listeners that all have it share the
	// port, and clients of the same address by a hash of the flow. ListenOn
	// has it from the binding.
	ReusePort bool
	// KeepAlive is what connections that Accept returns probe their peers with
	// (see Conn.SetKeepAliveConfig); the zero value is not at all, as on Linux.
	KeepAlive net.KeepAliveConfig
}

// A Listener is a listening socket. It implements net.Listener.
type Listener struct {
	s       *Stack
	ep      *tcp.Endpoint
	wq      *waiter.Queue
	entry   waiter.Entry
	binding *Binding
	// owned says that the binding was made for the listener alone.
	owned   bool
	events  waiter.Queue // of those who wait for Readiness
	network string
	local   netip.AddrPort
	v6Only  bool
	offer   atomic.Pointer[offer]
	// keepAlive is for connections that Accept returns.
	keepAlive net.KeepAliveConfig

	mu     sync.Mutex
	q      *listenq.Listener
	timer  tcpip.Timer
	due    time.Duration // when timer fires, if armed
	armed  bool
	closed bool
	// stopped says that the timer must not be armed any more.
	stopped bool
	// removed says that Stack.past has what the listener has counted.
	removed bool

	// shut is set between Shutdown and the next Listen.
	shut atomic.Bool
	// hashed is set while new clients may be given to the listener rather than to
	// another on the port: netstack's endpoint listens, and Close has not begun.
	hashed atomic.Bool
	// fresh is set when netstack has connections to collect.
	fresh atomic.Bool

	promoted promoted

	wake     chan struct{} // holds a token when a promoted connection may be ready
	done     chan struct{}
	deadline deadline.Deadline
}

var _ net.Listener = (*Listener)(nil)

// Listen is socket, bind and listen in one. network is "tcp", "tcp4" or "tcp6";
// an address without a host stands for all addresses, with "tcp" for those of
// both IP versions; port 0 picks a free one. backlog is the number handed to
// listen(2) (see listenq.Profile.Limit), a C int: negative values are allowed. opts may
// be nil.
//
// Errors carry EADDRINUSE for a port on which another socket listens, on the same
// address or, of the two, on all (unless both have ReusePort), EADDRNOTAVAIL for an address that is not the stack's,
// and EINVAL for an option out of range or a backlog that the profile refuses.
func (s *Stack) Listen(network, address string, backlog int, opts *ListenOptions) (*Listener, error) {
	if opts == nil {
		opts = &ListenOptions{}
	}
	local, err := resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	addr := net.TCPAddrFromAddrPort(local)
	if s.isClosed() {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr, Err: net.ErrClosed}
	}
	fail := func(call string, err error) (*Listener, error) {
		if _, ok := err.(syscall.Errno); ok {
			err = os.NewSyscallError(call, err)
		}
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr, Err: err}
	}
	if err := opts.check(); err != nil {
		return fail("setsockopt", err)
	}
	// SO_REUSEADDR as package net sets it.
	b, err := s.Bind(local, BindOptions{ReuseAddress: true, ReusePort: opts.ReusePort, V6Only: network == "tcp6"})
	if err != nil {
		return fail("bind", err)
	}
	l, err := s.ListenOn(b, backlog, opts)
	if err != nil {
		b.Release()
		return fail("listen", err)
	}
	l.network, l.owned = network, true
	return l, nil
}

// check returns EINVAL for options out of range.
func (o *ListenOptions) check() error {
	if o.SYNCount < 0 || o.SYNCount > 127 || o.DeferAccept < 0 ||
		o.MaxSegment != 0 && (o.MaxSegment < minMSS || o.MaxSegment > maxMSS) {
		return syscall.EINVAL
	}
	return nil
}

// ListenOn is listen(2) on a socket that is bound; the binding stays the
// caller's. opts may be nil. Errors are EADDRINUSE if another socket that shares
// the port has listened first, EINVAL as with Listen, and for anything else
// what is wrong with the profile.
func (s *Stack) ListenOn(b *Binding, backlog int, opts *ListenOptions) (*Listener, error) {
	if opts == nil {
		opts = &ListenOptions{}
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	l := &Listener{
		s:         s,
		wq:        new(waiter.Queue),
		binding:   b,
		network:   "tcp",
		local:     b.local,
		v6Only:    b.options.V6Only,
		keepAlive: opts.KeepAlive,
		promoted:  newPromoted(),
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
		deadline:  deadline.New(),
	}
	l.offer.Store(s.newOffer(opts.Offer))
	if err := b.listen(true); err != nil {
		return nil, err
	}
	if err := l.start(backlog, opts); err != nil {
		b.listen(false)
		return nil, err
	}
	return l, nil
}

// start makes the queue and netstack's endpoint, and lets segments in.
func (l *Listener) start(backlog int, opts *ListenOptions) error {
	s := l.s
	profile := opts.Profile
	if profile == nil {
		profile = s.profile
	}
	s.mu.RLock()
	sysctls := s.settings.of(profile)
	s.mu.RUnlock()
	q, err := listenq.New(listenq.Config{
		Profile:     profile,
		Backlog:     backlog,
		Window:      l.window(),
		Secret:      s.secret,
		Sysctls:     &sysctls,
		Overflow:    opts.Overflow,
		DeferAccept: opts.DeferAccept,
		SYNCount:    opts.SYNCount,
	})
	if err != nil {
		return listenErrno(err)
	}
	l.q = q
	ep, terr := s.g.NewEndpoint(tcp.ProtocolNumber, networkProtocol(l.local.Addr()), l.wq)
	if terr != nil {
		return Errno(terr)
	}
	l.ep = ep.(*tcp.Endpoint)
	if l.local.Addr().Is6() {
		l.ep.SocketOptions().SetV6Only(l.v6Only)
	}
	if err := bindEndpoint(l.ep, l.binding); err != nil {
		l.ep.Close()
		return err
	}
	l.entry.Init(l, waiter.ReadableEvents)
	l.wq.EventRegister(&l.entry)
	if !s.add(l) {
		l.ep.Close()
		return syscall.ENETDOWN
	}
	if err := l.ep.Listen(netstackBacklog); err != nil {
		s.remove(l)
		l.ep.Close()
		return Errno(err)
	}
	l.hashed.Store(true)
	return nil
}

// resolve turns a network and an address into what to bind or connect to. Names
// are not looked up.
func resolve(network, address string) (netip.AddrPort, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		host = "::"
		if network == "tcp4" {
			host = "0.0.0.0"
		}
	}
	addr, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil {
		return netip.AddrPort{}, &net.AddrError{Err: "need a numeric address and port", Addr: address}
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if network == "tcp4" && addr.Addr().Is6() || network == "tcp6" && addr.Addr().Is4() {
		return netip.AddrPort{}, &net.AddrError{Err: "address of the wrong family for " + network, Addr: address}
	}
	return addr, nil
}

// takes reports whether a segment for a local address is this listener's.
func (l *Listener) takes(local netip.Addr) bool {
	bound := l.local.Addr()
	if !bound.IsUnspecified() {
		return bound == local
	}
	return bound.Is4() == local.Is4() || bound.Is6() && !l.v6Only
}

// NotifyEvent implements waiter.EventListener; netstack calls it when a grafted
// connection is established.
func (l *Listener) NotifyEvent(waiter.EventMask) {
	l.fresh.Store(true)
	if l.watchesResets() {
		l.s.later.do(l.collect)
	}
	l.notify()
}

// notify wakes those who wait for a connection.
func (l *Listener) notify() {
	signal(l.wake)
	l.events.Notify(waiter.ReadableEvents)
}

// segment decides about a segment and does what follows.
func (l *Listener) segment(seg *listenq.Segment, a arrival) {
	l.s.lingering.forget(seg)
	if seg.Flags.Has(listenq.SYN) {
		seg.Proven = l.s.proven.has(seg.Remote().Addr())
	}
	l.mu.Lock()
	if l.closed && opens(seg.Flags) {
		// Closed since it was looked up: a new client goes to one that shares
		// the port.
		l.mu.Unlock()
		if other := l.s.listenerAt(a.id); other != nil && other.hashed.Load() {
			if a.ep == l.ep {
				a.ep = other.ep
			}
			other.segment(seg, a)
			return
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	now := l.s.now()
	out := l.q.Segment(now, seg)
	l.carryOut(now, seg, &out, a)
	l.rearm(now)
}

// expire is the timer: SYN-ACKs are repeated and requests given up.
func (l *Listener) expire() {
	l.mu.Lock()
	closed := l.closed
	defer func() {
		l.mu.Unlock()
		if closed {
			l.s.lingering.tidy()
		}
	}()
	l.armed = false
	if l.stopped {
		return
	}
	now := l.s.now()
	l.q.Advance(now, func(out listenq.Outcome) { l.carryOut(now, nil, &out, arrivalOf(out.Flow)) })
	l.rearm(now)
}

// arrivalOf stands for a segment of a flow where none has arrived.
func arrivalOf(f listenq.Flow) arrival {
	local, remote := f.Local(), f.Remote()
	return arrival{id: gstack.TransportEndpointID{
		LocalAddress:  toAddress(local.Addr()),
		LocalPort:     local.Port(),
		RemoteAddress: toAddress(remote.Addr()),
		RemotePort:    remote.Port(),
	}}
}

func (l *Listener) carryOut(now time.Duration, seg *listenq.Segment, out *listenq.Outcome, a arrival) {
	if l.s.observe != nil {
		l.s.observe(Event{Listener: l, Time: now, Segment: seg, Outcome: *out})
	}
	if out.Verdict == listenq.Promote {
		l.s.grafts.begin(l, seg, out, a)
		return
	}
	l.s.answer(l.offer.Load(), a.id, out)
}

// rearm sees to it that the timer fires no later than listenq asks. A timer that
// fires too early does no harm, so it is never moved back.
func (l *Listener) rearm(now time.Duration) {
	at, ok := l.q.NextTimeout()
	if !ok || l.stopped || l.armed && l.due <= at {
		return
	}
	l.armed, l.due = true, at
	if l.timer == nil {
		l.timer = l.s.clock.AfterFunc(at-now, l.expire)
	} else {
		l.timer.Reset(at - now)
	}
}

func (l *Listener) holds(f listenq.Flow) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.q.Holds(f)
}

// Accept implements net.Listener. Connections come in the order in which their
// handshakes were completed; one that its client has reset meanwhile comes too,
// and fails on first use. Where the profile says so, Accept fails in its place,
// once, with ECONNABORTED: a temporary error, after which the next connection can
// be accepted.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		select {
		case <-l.done:
			signal(l.wake) // the token may have been meant for Close
			return nil, l.opError("accept", net.ErrClosed)
		case <-l.deadline.Passed():
			signal(l.wake) // or for another Accept
			return nil, l.opError("accept", os.ErrDeadlineExceeded)
		default:
		}
		if l.shut.Load() {
			return nil, l.errShut()
		}
		l.collect()
		c, state := l.take()
		switch state {
		case frontReady:
			return l.accepted(c), nil
		case frontAborted:
			return nil, l.opError("accept", syscall.ECONNABORTED)
		}
		l.sleep()
	}
}

// accepted turns a connection into what Accept returns.
func (l *Listener) accepted(e *Endpoint) net.Conn {
	c := e.Conn()
	if c, ok := c.(*Conn); ok && l.keepAlive.Enable {
		c.SetKeepAliveConfig(l.keepAlive)
	}
	return c
}

// sleep waits until another look at the queue is worth while.
func (l *Listener) sleep() {
	select {
	case <-l.wake:
	case <-l.done:
	case <-l.deadline.Passed():
	}
}

// TryAccept is Accept that never waits (accept4(2) on a non-blocking socket): if
// no connection is ready, its error carries EAGAIN.
func (l *Listener) TryAccept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, l.opError("accept", net.ErrClosed)
	default:
	}
	if l.shut.Load() {
		return nil, l.errShut()
	}
	l.collect()
	switch c, state := l.take(); state {
	case frontReady:
		return l.accepted(c), nil
	case frontAborted:
		return nil, l.opError("accept", syscall.ECONNABORTED)
	}
	return nil, l.opError("accept", os.NewSyscallError("accept", syscall.EAGAIN))
}

// SetDeadline makes Accept fail with os.ErrDeadlineExceeded from t on; the zero
// time removes the deadline.
func (l *Listener) SetDeadline(t time.Time) error {
	select {
	case <-l.done:
		return l.opError("set", net.ErrClosed)
	default:
	}
	l.deadline.Set(l.s.clock, t)
	return nil
}

// Listen is listen(2) on the listening socket: it changes the backlog and keeps
// what is queued. After Shutdown the socket listens again.
func (l *Listener) Listen(backlog int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.opError("listen", net.ErrClosed)
	}
	if l.shut.Load() {
		if err := l.binding.listen(true); err != nil {
			return l.opError("listen", os.NewSyscallError("listen", err))
		}
	}
	if err := l.q.Listen(backlog); err != nil {
		return l.listenError(err)
	}
	l.shut.Store(false)
	return nil
}

// SetOverflow changes what a full queue answers from now on.
func (l *Listener) SetOverflow(o listenq.Overflow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.q.SetOverflow(o)
}

// SetDeferAccept changes TCP_DEFER_ACCEPT from now on; see ListenOptions.
func (l *Listener) SetDeferAccept(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.q.SetDeferAccept(d)
}

// SetSYNCount changes TCP_SYNCNT from now on; see ListenOptions. EINVAL for a number
// out of range.
func (l *Listener) SetSYNCount(n int) error {
	if err := (&ListenOptions{SYNCount: n}).check(); err != nil {
		return l.opError("set", os.NewSyscallError("setsockopt", err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.q.SetSYNCount(n)
	return nil
}

// SetOffer changes what SYN-ACKs say from now on; EINVAL for a segment size out of
// range. The window scale stays, since requests have been told it.
func (l *Listener) SetOffer(o Offer) error {
	if err := (&ListenOptions{Offer: o}).check(); err != nil {
		return l.opError("set", os.NewSyscallError("setsockopt", err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.s.newOffer(o)
	next.windowScale = l.offer.Load().windowScale
	l.offer.Store(next)
	l.q.SetWindow(l.window())
	return nil
}

// window is the receive window that a request has.
func (l *Listener) window() uint32 {
	o := l.offer.Load()
	return uint32(o.window(o.mss4, new(listenq.Handshake)))
}

func (l *Listener) setSysctls(s listenq.Sysctls) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.q.SetSysctls(s)
}

// ListenerStats is a listener at one moment.
type ListenerStats struct {
	// Backlog is the number handed to listen last, Limit what became of it.
	Backlog, Limit int
	// AcceptQueue and SYNQueue are depths; ss shows AcceptQueue as Recv-Q and
	// Limit as Send-Q.
	AcceptQueue, SYNQueue int
	// AcceptCapacity and SYNCapacity are how many fit, -1 stands for unlimited.
	AcceptCapacity, SYNCapacity int
	// Profile is the name of the platform whose rules hold.
	Profile  string
	Overflow listenq.Overflow
	Counters listenq.Counters
}

// Stats returns the listener's state.
func (l *Listener) Stats() ListenerStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ListenerStats{
		Backlog:     l.q.Backlog(),
		Limit:       l.q.Limit(),
		AcceptQueue: l.q.AcceptQueueLen(),
		SYNQueue:    l.q.SYNQueueLen(),

		AcceptCapacity: l.q.AcceptCapacity(),
		SYNCapacity:    l.q.SYNCapacity(),

		Profile:  l.q.Profile().Name,
		Overflow: l.q.Overflow(),
		Counters: l.q.Counters(),
	}
}

// Steps says how the limit came from the backlog.
func (l *Listener) Steps() []listenq.Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.mu.RLock()
	sysctls := l.s.settings.of(l.q.Profile())
	l.s.mu.RUnlock()
	return l.q.Profile().Steps(l.q.Backlog(), sysctls.Somaxconn)
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

// Close implements net.Listener. Connections that nobody has accepted are reset;
// half-open ones get no further SYN-ACK, and their next segment is answered by RST.
// Accepted connections live on.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return l.opError("close", net.ErrClosed)
	}
	l.closed = true
	l.hashed.Store(false)
	queued := l.closeQueue()
	l.mu.Unlock()
	close(l.done)
	l.deadline.Set(l.s.clock, time.Time{})

	l.resetQueued(queued)
	l.wq.EventUnregister(&l.entry)
	l.ep.Close()
	l.s.remove(l)
	l.s.lingering.add(l)
	l.binding.listen(false)
	if l.owned {
		l.binding.Release()
	}
	return nil
}

// closeQueue empties the listen queue and returns what waited for Accept. The
// lock is held.
func (l *Listener) closeQueue() []listenq.Conn {
	now := l.s.now()
	return l.q.Close(now, func(out listenq.Outcome) { l.carryOut(now, nil, &out, arrivalOf(out.Flow)) })
}

// stopTimer makes sure that the timer does not fire any more. The lock is held.
func (l *Listener) stopTimer() {
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: l.network, Addr: l.Addr(), Err: err}
}

// listenError is listenErrno as package net has it.
func (l *Listener) listenError(err error) error {
	err = listenErrno(err)
	if _, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError("listen", err)
	}
	return l.opError("listen", err)
}

// listenErrno is what listen(2) reports for an error of listenq.
func listenErrno(err error) error {
	if errors.Is(err, listenq.ErrBacklog) {
		return syscall.EINVAL
	}
	return err
}
