package stack

import (
	"context"
	"errors"
	"net"
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
	remote, err := resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	addr := net.TCPAddrFromAddrPort(remote)
	fail := func(call string, err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: os.NewSyscallError(call, err)}
	}
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: contextError(err)}
	}
	if s.isClosed() {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: net.ErrClosed}
	}
	e, err := s.NewEndpoint(remote.Addr().Is6())
	if err != nil {
		return fail("socket", err)
	}
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	e.wq.EventRegister(&entry)
	defer e.wq.EventUnregister(&entry)

	err = e.Connect(nil, remote)
	if err == syscall.EINPROGRESS {
		select {
		case <-ctx.Done():
			e.Close()
			return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: contextError(ctx.Err())}
		case <-connected:
		}
		if terr := e.ep.LastError(); terr != nil {
			err = Errno(terr)
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
