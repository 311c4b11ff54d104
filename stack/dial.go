package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

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
	return s.DialFrom(ctx, network, netip.AddrPort{}, address)
}

// DialFrom is DialContext from a local address and port. The zero AddrPort leaves
// both to the stack, port 0 the port. Its errors carry EADDRNOTAVAIL and
// EADDRINUSE, too.
func (s *Stack) DialFrom(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
	remote, err := resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	addr := net.TCPAddrFromAddrPort(remote)
	var source net.Addr
	if local.IsValid() {
		source = net.TCPAddrFromAddrPort(local)
	}
	fail := func(call string, err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Source: source, Addr: addr, Err: os.NewSyscallError(call, err)}
	}
	if ctx.Err() != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: source, Addr: addr, Err: contextError(context.Cause(ctx))}
	}
	if s.isClosed() {
		return nil, &net.OpError{Op: "dial", Net: network, Source: source, Addr: addr, Err: net.ErrClosed}
	}
	e, err := s.NewEndpoint(remote.Addr().Is6())
	if err != nil {
		return fail("socket", err)
	}
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	e.wq.EventRegister(&entry)
	defer e.wq.EventUnregister(&entry)

	var b *Binding
	if local.IsValid() {
		if b, err = s.Bind(local, BindOptions{}); err != nil {
			e.Close()
			return fail("bind", err)
		}
		defer b.Release() // the connection keeps it
	}
	err = e.Connect(b, remote)
	if err == syscall.EINPROGRESS {
		select {
		case <-ctx.Done():
			e.Close()
			return nil, &net.OpError{Op: "dial", Net: network, Source: source, Addr: addr, Err: contextError(context.Cause(ctx))}
		case <-connected:
		}
		if terr := e.ep.LastError(); terr != nil {
			err = e.Errno(terr)
		} else {
			err = nil
		}
	}
	if err != nil {
		e.Close()
		return fail("connect", err)
	}
	return e.Conn(), nil
}

// contextError gives an expired context the error of an expired deadline, as
// package net does.
func contextError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}
