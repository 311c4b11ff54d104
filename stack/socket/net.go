//go:build linux

package socket

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
)

// Listen is net.Listen with the backlog that listen(2) gets, a C int. network is
// "tcp", "tcp4", "tcp6" (the result is a *stack.Listener), "unix" or "unixpacket"
// (a *Listener). Hosts and ports are numeric.
func (ns *Namespace) Listen(network, address string, backlog int) (net.Listener, error) {
	lc := ListenConfig{Namespace: ns, Backlog: backlog}
	return lc.Listen(context.Background(), network, address)
}

// ListenPacket is net.ListenPacket for "udp", "udp4", "udp6" and "unixgram"; the
// result is a *PacketConn.
func (ns *Namespace) ListenPacket(network, address string) (net.PacketConn, error) {
	lc := ListenConfig{Namespace: ns}
	return lc.ListenPacket(context.Background(), network, address)
}

// Dial is net.Dial; see DialContext.
func (ns *Namespace) Dial(network, address string) (net.Conn, error) {
	return ns.DialContext(context.Background(), network, address)
}

// DialContext is net.Dialer.DialContext for the networks of Listen and
// ListenPacket. The result is a *stack.Conn for TCP, a *PacketConn for datagrams,
// else a *Conn.
func (ns *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := Dialer{Namespace: ns}
	return d.DialContext(ctx, network, address)
}

// A ListenConfig is a net.ListenConfig for the sockets of a namespace.
type ListenConfig struct {
	// Namespace is where to listen.
	Namespace *Namespace
	// Backlog is the number handed to listen(2), a C int, and not replaced by
	// anything: 0 is 0.
	Backlog int
	// KeepAliveConfig is for accepted TCP connections; unless it is enabled there
	// are no probes.
	KeepAliveConfig net.KeepAliveConfig
	// Options are further options of TCP listeners; nil is none.
	Options *stack.ListenOptions
	// Control, if not nil, is called with a socket that is not TCP before it is
	// bound, as the only descriptor of a process of its own. Its error is that of
	// the call.
	Control func(p *Process, fd int) error
}

// Listen is net.ListenConfig.Listen. The context counts as far as it has ended
// already.
func (lc *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	n, err := resolve(network, address)
	if err == nil && n.typ == unix.SOCK_DGRAM {
		err = net.UnknownNetworkError(network)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if n.domain != unix.AF_UNIX {
		var o stack.ListenOptions
		if lc.Options != nil {
			o = *lc.Options
		}
		if lc.KeepAliveConfig.Enable {
			o.KeepAlive = lc.KeepAliveConfig
		}
		l, err := lc.Namespace.stack.Listen(network, address, lc.Backlog, &o)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	l := new(Listener)
	s, err := lc.open(&n, network)
	if err != nil {
		return nil, err
	}
	if err := s.listen(int(int32(lc.Backlog))); err != nil {
		s.release()
		return nil, &net.OpError{Op: "listen", Net: network, Addr: n.addr(network), Err: os.NewSyscallError("listen", err)}
	}
	l.init(lc.Namespace, s, network)
	return l, nil
}

// ListenPacket is net.ListenConfig.ListenPacket.
func (lc *ListenConfig) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	n, err := resolve(network, address)
	if err == nil && n.typ != unix.SOCK_DGRAM {
		err = net.UnknownNetworkError(network)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	s, err := lc.open(&n, network)
	if err != nil {
		return nil, err
	}
	return newPacketConn(lc.Namespace, s, network), nil
}

// open makes a socket and binds it.
func (lc *ListenConfig) open(n *endpointName, network string) (sock, error) {
	fail := func(call string, err error) (sock, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: n.addr(network), Err: os.NewSyscallError(call, err)}
	}
	s, err := lc.Namespace.socketFor(n)
	if err != nil {
		return fail("socket", err)
	}
	if lc.Control != nil {
		if err := lc.control(s); err != nil {
			s.release()
			return nil, &net.OpError{Op: "listen", Net: network, Addr: n.addr(network), Err: err}
		}
	}
	if n.unnamed {
		n.unnamed = false // bind chooses a name
	}
	if err := s.bind(n.sockaddr()); err != nil {
		s.release()
		return fail("bind", err)
	}
	return s, nil
}

// control calls Control with a socket; what happens to the descriptor does not
// concern the socket.
func (lc *ListenConfig) control(s sock) error {
	p := lc.Namespace.Process(1)
	f := newFile(s, true)
	f.refs.Store(1) // one that is never dropped
	fd, err := p.install(f, 0, false)
	if err != nil {
		return err
	}
	defer p.CloseAll()
	return lc.Control(p, fd)
}

// socketFor makes the socket that a name needs.
func (ns *Namespace) socketFor(n *endpointName) (sock, error) {
	s, err := ns.socket(n.domain, n.typ, 0)
	if err == nil && n.v6Only {
		err = s.setOption(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, intOption(1))
	}
	return s, err
}

// A Dialer is a net.Dialer for the sockets of a namespace.
type Dialer struct {
	// Namespace is where to dial from.
	Namespace *Namespace
	// LocalAddr is the address to use, of the kind that the network has; nil is
	// any.
	LocalAddr net.Addr
	// Timeout is the most that a dial takes on the stack's clock; 0 is no limit
	// of its own. Deadline is a point in time for the same; the earlier counts.
	Timeout  time.Duration
	Deadline time.Time
	// KeepAliveConfig is for TCP connections; unless it is enabled there are no
	// probes.
	KeepAliveConfig net.KeepAliveConfig
}

// Dial is net.Dialer.Dial.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext is net.Dialer.DialContext. An empty host stands for the loopback
// address, or the stack's first one if it has no loopback.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n, err := resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if n.domain != unix.AF_UNIX && n.inet.Addr().IsUnspecified() {
		n.inet = netip.AddrPortFrom(d.Namespace.loopback(!strings.HasSuffix(network, "6")), n.inet.Port())
		n.domain = unix.AF_INET6
		if n.inet.Addr().Is4() {
			n.domain = unix.AF_INET
		}
	}
	local, err := d.local(&n, network)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Addr: n.addr(network), Err: err}
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	if n.domain != unix.AF_UNIX && n.typ == unix.SOCK_STREAM {
		return d.dialTCP(ctx, network, local, n.inet)
	}
	return d.dial(ctx, network, local, &n)
}

// local reads LocalAddr; nil is any.
func (d *Dialer) local(n *endpointName, network string) (*endpointName, error) {
	if d.LocalAddr == nil {
		return nil, nil
	}
	local, err := resolve(network, d.LocalAddr.String())
	if err != nil || !strings.HasPrefix(network, strings.TrimRight(d.LocalAddr.Network(), "46")) {
		return nil, &net.AddrError{Err: "mismatched local address type", Addr: d.LocalAddr.String()}
	}
	if local.domain != unix.AF_UNIX && local.inet.Addr().IsUnspecified() {
		// No address but perhaps a port, for the family of the peer.
		any := netip.IPv6Unspecified()
		if n.inet.Addr().Is4() {
			any = netip.IPv4Unspecified()
		}
		local.inet, local.domain = netip.AddrPortFrom(any, local.inet.Port()), n.domain
	}
	if local.domain != n.domain {
		return nil, &net.AddrError{Err: "mismatched local address type", Addr: d.LocalAddr.String()}
	}
	return &local, nil
}

// limit adds Timeout and Deadline to a context.
func (d *Dialer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	clock, left := d.Namespace.clock, d.Timeout
	if !d.Deadline.IsZero() {
		if until := d.Deadline.Sub(clock.Now()); left == 0 || until < left {
			left = max(until, 1)
		}
	}
	if left <= 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := clock.AfterFunc(left, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

func (d *Dialer) dialTCP(ctx context.Context, network string, local *endpointName, remote netip.AddrPort) (net.Conn, error) {
	var from netip.AddrPort
	if local != nil {
		from = local.inet
	}
	c, err := d.Namespace.stack.DialFrom(ctx, network, from, remote.String())
	if err != nil {
		return nil, err
	}
	if c, ok := c.(*stack.Conn); ok && d.KeepAliveConfig.Enable {
		c.SetKeepAliveConfig(d.KeepAliveConfig)
	}
	return c, nil
}

// dial connects a socket that is not TCP.
func (d *Dialer) dial(ctx context.Context, network string, local, n *endpointName) (net.Conn, error) {
	ns := d.Namespace
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Addr: n.addr(network), Err: err}
	}
	if ctx.Err() != nil {
		return fail(contextError(ctx))
	}
	s, err := ns.socketFor(n)
	if err != nil {
		return fail(os.NewSyscallError("socket", err))
	}
	f := newFile(s, true)
	f.refs.Store(1)
	if local != nil {
		if err := s.bind(local.sockaddr()); err != nil {
			f.drop()
			return fail(os.NewSyscallError("bind", err))
		}
	}
	to := n.sockaddr()
	if n.unnamed {
		to = &unix.SockaddrUnix{}
	}
	err = s.connect(to)
	if err == unix.EAGAIN {
		err = ns.waitUntil(f, waiter.WritableEvents, ctx.Done(), func() error { return s.connect(to) })
	}
	switch {
	case err == unix.EAGAIN:
		f.drop()
		return fail(contextError(ctx))
	case err != nil:
		f.drop()
		return fail(os.NewSyscallError("connect", err))
	case n.typ == unix.SOCK_DGRAM:
		c := new(PacketConn)
		c.initFile(ns, f, network)
		return c, nil
	}
	c := new(Conn)
	c.initFile(ns, f, network)
	return c, nil
}

// contextError is why a context has ended; package net reports a deadline of a
// context like one of a connection.
func contextError(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return os.ErrDeadlineExceeded
}
