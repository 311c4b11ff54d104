//go:build linux

package socket

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
)

// A tcpSocket is a SOCK_STREAM socket of AF_INET or AF_INET6 (tcp(7)).
//
// It keeps what Linux keeps in a struct sock, field by field, since an endpoint of
// netstack lives for one connection while a socket can have several: one that was
// refused or disconnected connects or listens again. The listener or the connection
// that it has at the moment is only asked for its state.
type tcpSocket struct {
	waiters
	ns     *Namespace
	domain int

	mu sync.Mutex
	// phase is the state of the struct socket, above that of TCP.
	phase phase
	// local is inet_rcv_saddr; the zero Addr stands for all addresses of the
	// family, 0.0.0.0 in an AF_INET6 socket for all of IPv4.
	local netip.Addr
	// port is inet_sport, which getsockname shows also when it is another's by
	// now; binding is what the socket was bound to (inet_num).
	port    uint16
	binding *stack.Binding
	// lockAddr and lockPort say that the user chose them (SOCK_BINDADDR_LOCK,
	// SOCK_BINDPORT_LOCK); what the user did not choose goes with the connection.
	lockAddr, lockPort bool
	remote             netip.AddrPort // inet_daddr and inet_dport

	// err is sk_err, the error that the next call reports.
	err unix.Errno
	// shut is sk_shutdown.
	shut int
	// done is SOCK_DONE: the peer has sent its FIN.
	done bool

	// listener is there from the first listen on while the port is, and listens
	// says whether it does.
	listener *stack.Listener
	listens  bool
	conn     *stack.Endpoint
	ep       *tcp.Endpoint // conn's; nil for one that was lost
	over     bool          // the end of conn has been seen to
	entry    waiter.Entry  // on the queue of the listener or the connection

	options tcpOptions
}

// phase is enum socket_state, with Linux's names.
type phase int

const (
	ssUnconnected phase = iota
	ssConnecting
	ssConnected
	ssDisconnecting
)

var _ sock = (*tcpSocket)(nil)

// newTCP makes a TCP socket; domain is AF_INET or AF_INET6.
func newTCP(ns *Namespace, domain int) *tcpSocket {
	return &tcpSocket{ns: ns, domain: domain, options: defaultTCPOptions}
}

func (t *tcpSocket) kind() (domain, typ, protocol int) {
	return t.domain, unix.SOCK_STREAM, unix.IPPROTO_TCP
}

// NotifyEvent implements waiter.EventListener: the listener and the connection
// call it.
func (t *tcpSocket) NotifyEvent(mask waiter.EventMask) {
	if mask&waiter.ReadableEvents != 0 {
		mask |= waiter.EventRdHUp // netstack says no more of a FIN
	}
	t.Notify(mask)
}

// state is the state of TCP as Linux sees it: for it the socket of a connection in
// TIME-WAIT is closed. The lock is held.
func (t *tcpSocket) state() tcp.EndpointState {
	switch {
	case t.listens:
		return tcp.StateListen
	case t.ep == nil || t.over:
		return tcp.StateClose
	}
	switch s := t.ep.EndpointState(); s {
	case tcp.StateInitial, tcp.StateBound, tcp.StateError, tcp.StateTimeWait:
		return tcp.StateClose
	case tcp.StateConnecting:
		return tcp.StateSynSent
	default:
		return s
	}
}

// oneOf reports whether a state is one of several.
func oneOf(s tcp.EndpointState, states ...tcp.EndpointState) bool {
	for _, one := range states {
		if s == one {
			return true
		}
	}
	return false
}

// sync takes note of what has become of the connection. The lock is held.
func (t *tcpSocket) sync() {
	if t.conn == nil || t.over {
		return
	}
	state := t.state()
	switch state {
	case tcp.StateCloseWait, tcp.StateLastAck, tcp.StateClosing: // tcp_fin
		t.done = true
		t.shut |= receiveShutdown
		return
	case tcp.StateClose:
	default:
		return
	}
	t.over = true
	switch {
	case t.ep == nil:
		t.err = unix.ECONNRESET
	case t.ep.EndpointState() == tcp.StateError:
		t.take(t.ep.LastError())
	case t.ep.EndpointState() == tcp.StateClose && t.shut&sendShutdown == 0:
		t.done = true
		t.err = unix.EPIPE // a RST in CLOSE-WAIT (tcp_reset)
	default:
		t.done = true
	}
	t.shut = bothShutdown
	t.freePort()
}

// take keeps an error of netstack for the next call. One that has aborted the
// connection by itself, because of data that nobody wants, has reset it for Linux.
func (t *tcpSocket) take(err tcpip.Error) {
	switch err.(type) {
	case nil:
	case *tcpip.ErrConnectionAborted:
		t.err = unix.ECONNRESET
	default:
		t.err = t.conn.Errno(err)
	}
}

// takeError returns sk_err and clears it (sock_error).
func (t *tcpSocket) takeError() error {
	err := t.err
	t.err = 0
	if err == 0 {
		return nil
	}
	return err
}

// freePort gives the port back if the user did not choose it (inet_put_port, when
// a socket comes to TCP_CLOSE).
func (t *tcpSocket) freePort() {
	if !t.lockPort && t.binding != nil {
		t.binding.Release()
		t.binding = nil
	}
}

// bind follows __inet_bind and __inet6_bind, which differ in what they look at
// first.
func (t *tcpSocket) bind(addr unix.Sockaddr) error {
	to, err := bindAddress(t.domain, addr)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	bound := t.state() != tcp.StateClose || t.binding != nil
	if t.domain == unix.AF_INET6 {
		switch {
		case to.Addr().Is6() && to.Addr().IsMulticast(), bound, to.Addr().Is4() && t.options.v6Only,
			needsScope(addr) && t.options.device == 0:
			return unix.EINVAL
		}
	}
	if a := to.Addr(); a.IsValid() && !a.IsUnspecified() && !t.ns.owns(a) {
		return unix.EADDRNOTAVAIL
	}
	if bound {
		return unix.EINVAL
	}
	if err := t.reserve(to); err != nil {
		t.local = netip.Addr{}
		return err
	}
	t.lockAddr = to.Addr().IsValid() && (t.domain == unix.AF_INET6 || !to.Addr().IsUnspecified())
	t.lockPort = to.Port() != 0
	if t.domain == unix.AF_INET6 && to.Addr().Is6() {
		t.options.v6Only = true
	}
	return nil
}

// reserve takes an address and a port, any if it is 0. The lock is held.
func (t *tcpSocket) reserve(to netip.AddrPort) error {
	at := to
	if !at.Addr().IsValid() {
		a := netip.IPv4Unspecified()
		if t.domain == unix.AF_INET6 {
			a = netip.IPv6Unspecified()
		}
		at = netip.AddrPortFrom(a, to.Port())
	}
	b, err := t.ns.stack.Bind(at, stack.BindOptions{
		ReuseAddress: t.options.reuseAddr,
		ReusePort:    t.options.reusePort,
		V6Only:       t.options.v6Only,
	})
	if err != nil {
		return err
	}
	t.binding, t.local, t.port = b, to.Addr(), b.Local().Port()
	return nil
}

func (t *tcpSocket) name() (unix.Sockaddr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	return sockaddrOf(t.domain, netip.AddrPortFrom(t.local, t.port)), nil
}

// peer follows inet_getname.
func (t *tcpSocket) peer() (unix.Sockaddr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	if t.remote.Port() == 0 || oneOf(t.state(), tcp.StateClose, tcp.StateSynSent) {
		return nil, unix.ENOTCONN
	}
	return sockaddrOf(t.domain, t.remote), nil
}

// Readiness implements waiter.Waitable (tcp_poll). It must not be called from
// NotifyEvent: it takes locks that netstack may hold there.
func (t *tcpSocket) Readiness(mask waiter.EventMask) waiter.EventMask {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listens {
		return t.listener.Readiness(mask)
	}
	readable := t.readable() // first: it waits for netstack to be done with a segment
	t.sync()
	var ready waiter.EventMask
	state := t.state()
	if t.shut == bothShutdown || state == tcp.StateClose {
		ready |= waiter.EventHUp
	}
	if t.shut&receiveShutdown != 0 {
		ready |= waiter.ReadableEvents | waiter.EventRdHUp
	}
	if !oneOf(state, tcp.StateSynSent, tcp.StateSynRecv) {
		if readable >= t.options.lowWater {
			ready |= waiter.ReadableEvents
		}
		if t.shut&sendShutdown != 0 || state == tcp.StateClose || t.ep.Readiness(waiter.WritableEvents)&waiter.WritableEvents != 0 {
			ready |= waiter.WritableEvents
		}
	}
	if t.err != 0 {
		ready |= waiter.EventErr
	}
	return ready & (mask | waiter.EventErr | waiter.EventHUp)
}

// readable returns how many bytes have arrived and were not read. The lock is
// held.
func (t *tcpSocket) readable() int {
	if t.ep == nil {
		return 0
	}
	n, err := t.ep.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
	if err != nil {
		return 0
	}
	return n
}

// ioctl follows tcp_ioctl.
func (t *tcpSocket) ioctl(request uint) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	switch state := t.state(); {
	case state == tcp.StateListen:
		return 0, unix.EINVAL
	case t.ep == nil || oneOf(state, tcp.StateSynSent, tcp.StateSynRecv):
		return 0, nil
	case request == unix.TIOCINQ:
		return t.readable(), nil
	default:
		return t.conn.Unacknowledged(), nil
	}
}
