package memnet

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// Errors of the connection itself. They carry no call, since the call that
// meets them adds its own.
const (
	refused  = syscall.ECONNREFUSED
	reset    = syscall.ECONNRESET
	timedOut = syscall.ETIMEDOUT
	broken   = syscall.EPIPE
)

// system wraps an errno in the name of the call, as package net does.
func system(call string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return os.NewSyscallError(call, err)
	}
	return err
}

// endOf is the error of a connect whose context has ended. Package net has types
// of its own for it that say the same in the same words.
func endOf(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return timeoutError{}
	}
	return canceledError{}
}

type timeoutError struct{}

var _ net.Error = timeoutError{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
func (timeoutError) Is(err error) bool {
	return err == context.DeadlineExceeded || err == os.ErrDeadlineExceeded
}

type canceledError struct{}

func (canceledError) Error() string     { return "operation was canceled" }
func (canceledError) Is(err error) bool { return err == context.Canceled }
