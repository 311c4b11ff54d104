package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Dial connects to an address; see DialContext.
func (s *Stack) Dial(network, address string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, address)
}

// DialContext connects to a numeric address and port over "tcp", "tcp4" or
// "tcp6". Errors carry ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH or ENETUNREACH; a
// context that ends first gives its error.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	remote, err := resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	addr := net.TCPAddrFromAddrPort(remote)
	fail := func(call string, err tcpip.Error) (net.Conn, error) {
		return nil, opError("dial", network, nil, addr, call, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: contextError(err)}
	}
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: net.ErrClosed}
	}

	wq := new(waiter.Queue)
	ep, terr := s.g.NewEndpoint(tcp.ProtocolNumber, networkProtocol(remote.Addr()), wq)
	if terr != nil {
		return fail("socket", terr)
	}
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)

	terr = ep.Connect(tcpip.FullAddress{Addr: toAddress(remote.Addr()), Port: remote.Port()})
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Close()
			return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: contextError(ctx.Err())}
		case <-connected:
		}
		terr = ep.LastError()
	}
	if terr != nil {
		ep.Close()
		return fail("connect", terr)
	}
	id := ep.Info().(*gstack.TransportEndpointInfo).ID
	local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(fromAddress(id.LocalAddress), id.LocalPort))
	return newConn(s, ep, wq, local, addr), nil
}

// contextError gives an expired context the error of an expired deadline, as
// package net does.
func contextError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}
