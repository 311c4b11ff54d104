package stack

import (
	"io"
	"net/netip"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
)

// Clock returns the time that the stack follows: Config.Clock, or real time.
func (s *Stack) Clock() tcpip.Clock { return s.clock }

// An Endpoint is one end of a connection below Conn, for those who build another
// interface on the stack: netstack's endpoint, and its place in the table of
// ports. Its errors are bare errnos.
type Endpoint struct {
	s             *Stack
	ep            *tcp.Endpoint
	wq            *waiter.Queue
	end           waiter.Entry
	binding       atomic.Pointer[Binding]
	queued        atomic.Pointer[queuedConn] // until it is accepted, where a reset matters
	local, remote netip.AddrPort
	finished      atomic.Bool // a FIN was asked for
	cork          atomic.Pointer[cork]
	orphan        atomic.Bool // it counts among Stack.Orphans
}

// NewEndpoint returns an endpoint that can connect, over IPv4 or IPv6.
func (s *Stack) NewEndpoint(version6 bool) (*Endpoint, error) {
	if s.isClosed() {
		return nil, syscall.ENETDOWN
	}
	address := netip.IPv4Unspecified()
	if version6 {
		address = netip.IPv6Unspecified()
	}
	wq := new(waiter.Queue)
	ep, err := s.g.NewEndpoint(tcp.ProtocolNumber, networkProtocol(address), wq)
	if err != nil {
		return nil, Errno(err)
	}
	if version6 {
		ep.SocketOptions().SetV6Only(true)
	}
	s.guardDialed(ep.(*tcp.Endpoint))
	return s.newEndpoint(ep.(*tcp.Endpoint), wq), nil
}

func (s *Stack) newEndpoint(ep *tcp.Endpoint, wq *waiter.Queue) *Endpoint {
	e := &Endpoint{s: s, ep: ep, wq: wq}
	e.end.Init(e, waiter.EventHUp)
	wq.EventRegister(&e.end)
	return e
}

// lostEndpoint stands for a connection that could not be handed to netstack. It
// behaves like one that the client has reset.
func lostEndpoint(local, remote netip.AddrPort) *Endpoint {
	return &Endpoint{local: local, remote: remote}
}

// Netstack returns what netstack has for the endpoint: nil for a connection that
// was lost before netstack had it, which counts as one that its peer has reset.
func (e *Endpoint) Netstack() (*tcp.Endpoint, *waiter.Queue) { return e.ep, e.wq }

// Local and Remote return the addresses of a connection, also after its end.
func (e *Endpoint) Local() netip.AddrPort { return e.local }

// Remote returns the address of the peer.
func (e *Endpoint) Remote() netip.AddrPort { return e.remote }

// Connect begins to connect, from the address and port of b or, if that is nil,
// from one that is free. It succeeds with EINPROGRESS: netstack's queue tells when
// it is done. Other errors are EADDRNOTAVAIL if the flow exists already or no port
// is free, ENETUNREACH and EHOSTUNREACH.
func (e *Endpoint) Connect(b *Binding, remote netip.AddrPort) error {
	remote = netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port())
	b, errno := e.s.bindings.connect(e, b, remote)
	if errno != nil {
		return errno
	}
	if err := bindEndpoint(e.ep, b); err != nil {
		b.ended(e.ep)
		return err
	}
	e.remote = remote
	err := e.ep.Connect(tcpip.FullAddress{Addr: toAddress(remote.Addr()), Port: remote.Port()})
	if _, ok := err.(*tcpip.ErrConnectStarted); !ok {
		b.ended(e.ep)
		switch err.(type) {
		case *tcpip.ErrNoPortAvailable:
			return syscall.EADDRNOTAVAIL
		}
		return Errno(err)
	}
	id := e.ep.Info().(*gstack.TransportEndpointInfo).ID
	e.local = netip.AddrPortFrom(fromAddress(id.LocalAddress), id.LocalPort)
	e.binding.Store(b)
	e.NotifyEvent(0) // it may be over already
	return syscall.EINPROGRESS
}

// bindEndpoint gives netstack's endpoint the local side of a binding.
func bindEndpoint(ep *tcp.Endpoint, b *Binding) error {
	// The options keep netstack from seeing conflicts; see Binding.
	ep.SocketOptions().SetReuseAddress(true)
	ep.SocketOptions().SetReusePort(true)
	at := tcpip.FullAddress{Port: b.local.Port()}
	if a := b.local.Addr(); !a.IsUnspecified() {
		at.Addr = toAddress(a)
	}
	if err := ep.Bind(at); err != nil {
		return Errno(err)
	}
	return nil
}

// Read takes what has arrived, or looks at it, as recv(2) does that never waits. Its
// errors are netstack's.
func (e *Endpoint) Read(w io.Writer, opts tcpip.ReadOptions) (int, tcpip.Error) {
	res, err := e.ep.Read(w, opts)
	if err == nil && !opts.Peek {
		e.ep.ModerateRecvBuf(res.Count)
		guardOf(e.ep).reopen()
	}
	return res.Count, err
}

// flow returns the connection's addresses and ports.
func (e *Endpoint) flow() listenq.Flow { return listenq.NewFlow(e.local, e.remote) }

// Shutdown is shutdown(2) on a connection. With SHUT_WR it sends what TCP_CORK,
// MSG_MORE or Nagle's algorithm holds back.
func (e *Endpoint) Shutdown(how tcpip.ShutdownFlags) error {
	if how&tcpip.ShutdownWrite != 0 {
		e.finished.Store(true)
		defer e.finish()()
	}
	if how&tcpip.ShutdownRead != 0 {
		e.refuse()
	}
	if err := e.ep.Shutdown(how); err != nil {
		return Errno(err)
	}
	return nil
}

// RefuseData has further data answered by RST once the own FIN is out, as Linux
// does when both directions are shut down (tcp_rcv_state_process). What has arrived
// can still be read, for which netstack's shutdown would reset the connection.
func (e *Endpoint) RefuseData() {
	e.ep.LockUser()
	defer e.ep.UnlockUser()
	e.ep.RcvClosed = true // whoever reads it has the lock
	e.refuse()
}

// Close sends what is still queued and a FIN, in the background. Data that was
// received and not read turns the FIN into RST. A peer that takes nothing of it is given
// up as on Linux: after the time of net.ipv4.tcp_orphan_retries, or when the probes of
// its shut window are two minutes apart.
func (e *Endpoint) Close() {
	e.finished.Store(true)
	if !e.discards() {
		defer e.finish()()
	}
	e.abandon()
	e.ep.Close()
	e.forsaken()
	e.orphaned()
}

// Abort closes with a RST.
func (e *Endpoint) Abort() {
	guardOf(e.ep).heard()
	e.ep.Abort()
	e.ep.Close()
}

// NotifyEvent implements waiter.EventListener: netstack calls it, possibly with
// the endpoint locked, when the connection is over or about to be.
func (e *Endpoint) NotifyEvent(waiter.EventMask) {
	switch e.ep.EndpointState() {
	case tcp.StateTimeWait:
		e.s.proven.add(e.remote.Addr())
		e.s.timeWaits.enter(e)
		e.buried()
		return
	case tcp.StateClose:
		// netstack ends a connection this way also when a RST meets
		// CLOSE-WAIT.
		if e.finished.Load() {
			e.s.proven.add(e.remote.Addr())
		}
	case tcp.StateError:
		e.silenced()
	default:
		return
	}
	e.buried()
	e.over()
	e.s.timeWaits.left(e)
	if q := e.queued.Load(); q != nil {
		e.s.later.do(q.reset)
	}
}

// over gives the port back.
func (e *Endpoint) over() {
	e.uncork()
	if b := e.binding.Swap(nil); b != nil {
		b.ended(e.ep)
	}
}
