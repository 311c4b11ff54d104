//go:build linux

package socket

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
)

// connect follows __inet_stream_connect.
func (t *tcpSocket) connect(addr unix.Sockaddr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	if addr == nil {
		return unix.EINVAL
	}
	if _, ok := addr.(SockaddrUnspec); ok {
		t.disconnect()
		t.phase = ssUnconnected
		return nil
	}
	switch t.phase {
	case ssConnected:
		return unix.EISCONN
	case ssConnecting:
	case ssUnconnected:
		if t.state() != tcp.StateClose {
			return unix.EISCONN
		}
		if err := t.start(addr); err != nil {
			return err
		}
		t.phase = ssConnecting
		// The answer may be here already, but Linux does not look at it before
		// it gives up the socket's lock.
		return unix.EINPROGRESS
	default:
		return unix.EINVAL
	}
	switch t.state() {
	case tcp.StateSynSent, tcp.StateSynRecv:
		return unix.EALREADY
	case tcp.StateClose:
		err := t.takeError()
		if err == nil {
			err = unix.ECONNABORTED
		}
		t.phase = ssUnconnected
		t.disconnect()
		return err
	}
	t.phase = ssConnected
	return nil
}

// start sends the SYN (tcp_v4_connect, tcp_v6_connect). The lock is held.
func (t *tcpSocket) start(addr unix.Sockaddr) error {
	to, err := t.destination(addr)
	if err != nil {
		return err
	}
	t.drop()
	if t.binding == nil && t.lockAddr { // the port of an earlier connection is gone, the address is not
		if err := t.reserve(netip.AddrPortFrom(t.local, 0)); err != nil {
			return err
		}
	}
	conn, err := t.ns.stack.NewEndpoint(to.Addr().Is6())
	if err != nil {
		return err
	}
	ep, wq := conn.Netstack()
	t.options.apply(conn)
	conn.SetCork(t.options.cork)
	t.entry.Init(t, waiter.AllEvents)
	wq.EventRegister(&t.entry)
	t.conn, t.ep, t.over = conn, ep, false
	t.err, t.done = 0, false
	if err := conn.Connect(t.binding, to); err != unix.EINPROGRESS {
		t.drop()
		return err
	}
	t.local, t.port, t.remote = conn.Local().Addr(), conn.Local().Port(), to
	if d := t.options.connectTimeout(); d != 0 {
		t.ns.clock.AfterFunc(d, func() { t.giveUp(conn) })
	}
	return nil
}

// connectTimeout is how long connect goes on, by TCP_SYNCNT and TCP_USER_TIMEOUT; 0
// leaves it to netstack, which repeats the SYN six times, first after a second, then
// after twice as long each time, and gives up after 127 s.
func (o *tcpOptions) connectTimeout() time.Duration {
	var d time.Duration
	if o.synCount != 0 && o.synCount < synRetriesDefault {
		d = (1<<(o.synCount+1) - 1) * time.Second
	}
	if user := time.Duration(o.userTimeout) * time.Millisecond; user != 0 && (d == 0 || user < d) {
		d = user
	}
	return d
}

// giveUp ends an attempt to connect that is still under way.
func (t *tcpSocket) giveUp(conn *stack.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != conn || !oneOf(t.state(), tcp.StateSynSent, tcp.StateSynRecv) {
		return
	}
	conn.Close()
	t.over = true
	t.err, t.shut = unix.ETIMEDOUT, bothShutdown
	t.freePort()
	t.Notify(waiter.AllEvents)
}

// destination returns the peer that connect names.
func (t *tcpSocket) destination(addr unix.Sockaddr) (netip.AddrPort, error) {
	to, err := inetAddress(t.domain, addr)
	if err != nil {
		return to, err
	}
	v4 := to.Addr().Is4()
	if a := to.Addr(); a.IsUnspecified() {
		v4 = v4 || t.local.Is4()
		if a = t.ns.loopback(v4); v4 && t.local.IsValid() && !t.local.IsUnspecified() {
			a = t.local
		}
		to = netip.AddrPortFrom(a, to.Port())
	}
	switch {
	case t.domain == unix.AF_INET6 && !to.Addr().IsMulticast() && needsScope(addr) && t.options.device == 0:
		return to, unix.EINVAL
	case v4 && t.local.Is4() && t.local.IsLoopback() && !t.ns.owns(to.Addr()):
		return to, unix.EINVAL // ip_route_output_key_hash_rcu lets no loopback address out
	case to.Addr().IsMulticast(), v4 && t.ns.broadcast(to.Addr()):
		return to, unix.ENETUNREACH
	case t.domain == unix.AF_INET6 && v4 && t.options.v6Only:
		return to, unix.ENETUNREACH
	case t.domain == unix.AF_INET6 && !v4 && t.local.Is4():
		return to, unix.EAFNOSUPPORT
	}
	return to, nil
}

// disconnect ends what the socket does and leaves it as new, but for what the user
// has chosen (tcp_disconnect). The lock is held.
func (t *tcpSocket) disconnect() {
	state := t.state()
	switch state {
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateFinWait2, tcp.StateSynRecv:
		t.conn.Abort()
		t.err = unix.ECONNRESET
	case tcp.StateSynSent:
		t.err = unix.ECONNRESET
	}
	t.drop()
	t.dropListener()
	if state != tcp.StateClose {
		t.freePort()
	}
	if !t.lockAddr {
		t.local = netip.Addr{}
	}
	t.remote = netip.AddrPort{}
	t.shut, t.done = 0, false
	t.Notify(waiter.AllEvents)
}

// drop lets go of the connection. The lock is held.
func (t *tcpSocket) drop() {
	if t.conn == nil {
		return
	}
	if ep, wq := t.conn.Netstack(); ep != nil {
		wq.EventUnregister(&t.entry)
		t.conn.Close()
	}
	t.conn, t.ep, t.over = nil, nil, false
}

// shutdown follows inet_shutdown.
func (t *tcpSocket) shutdown(how int) error {
	mask := how + 1 // RCV_SHUTDOWN, SEND_SHUTDOWN or both
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	state := t.state()
	if t.phase == ssConnecting {
		t.phase = ssConnected
		if oneOf(state, tcp.StateSynSent, tcp.StateSynRecv, tcp.StateClose) {
			t.phase = ssDisconnecting
		}
	}
	defer t.Notify(waiter.AllEvents)
	switch state {
	case tcp.StateListen:
		if mask&receiveShutdown != 0 {
			t.unlisten()
			t.phase = ssUnconnected
		}
	case tcp.StateSynSent:
		t.disconnect()
		t.phase = ssUnconnected
	case tcp.StateClose:
		t.shut |= mask
		return unix.ENOTCONN
	default:
		t.shut |= mask
		if mask&sendShutdown != 0 && oneOf(state, tcp.StateEstablished, tcp.StateCloseWait) {
			if err := t.conn.Shutdown(tcpip.ShutdownWrite); err != nil {
				return err
			}
		}
		if t.shut == bothShutdown {
			t.conn.RefuseData()
		}
	}
	return nil
}

// release closes the socket (__tcp_close).
func (t *tcpSocket) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	t.dropListener()
	if t.binding != nil {
		t.binding.Release()
		t.binding = nil
	}
	if t.ep != nil {
		l := t.options.linger
		t.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: l.Onoff != 0 && l.Linger == 0})
		if !t.options.lingers() {
			t.drop()
		} else {
			t.conn.Close() // and linger lets it go
		}
	}
	t.shut = bothShutdown
	t.Notify(waiter.AllEvents)
}

// lingerTick is how often a close that lingers looks whether its FIN is
// acknowledged: netstack does not tell.
const lingerTick = 5e6 // 5 ms

// linger waits until the peer has acknowledged everything, for no longer than
// SO_LINGER says (sk_stream_wait_close).
func (t *tcpSocket) linger() {
	t.mu.Lock()
	ep := t.ep
	left := int64(t.options.linger.Linger) * 1e9
	t.mu.Unlock()
	if ep == nil {
		return
	}
	for ; left > 0 && oneOf(ep.EndpointState(), tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck); left -= lingerTick {
		tick := make(chan struct{})
		t.ns.clock.AfterFunc(lingerTick, func() { close(tick) })
		<-tick
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// lingers reports whether close(2) waits.
func (o *tcpOptions) lingers() bool { return o.linger.Onoff != 0 && o.linger.Linger > 0 }

// accepted makes a socket of a connection that a listener had (inet_csk_clone_lock).
func (t *tcpSocket) accepted(conn *stack.Endpoint) *tcpSocket {
	n := newTCP(t.ns, t.domain)
	n.options = t.options
	n.options.priority = 0 // alone of all (sk_clone_lock)
	n.phase, n.shut = ssConnected, t.shut
	n.lockAddr = t.lockAddr // but not the port: it goes with the connection
	n.attach(conn)
	return n
}

// attach makes a connection the socket's; nobody else knows the socket yet.
func (t *tcpSocket) attach(conn *stack.Endpoint) {
	ep, wq := conn.Netstack()
	t.conn, t.ep = conn, ep
	t.local, t.port, t.remote = conn.Local().Addr(), conn.Local().Port(), conn.Remote()
	if ep != nil {
		t.options.apply(conn)
		conn.SetCork(t.options.cork)
		t.entry.Init(t, waiter.AllEvents)
		wq.EventRegister(&t.entry)
	}
}
