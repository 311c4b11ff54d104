package stack

import (
	"io"
	"net"
	"os"
	"reflect"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// Errno returns what Linux would report for an error of netstack; 0 for nil.
func Errno(err tcpip.Error) syscall.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := errnos[reflect.TypeOf(err)]; ok {
		return errno
	}
	return syscall.EINVAL // a call that does not fit, as most that remain are
}

// errnos are the errnos of all errors of netstack, by type.
var errnos = map[reflect.Type]syscall.Errno{
	reflect.TypeFor[*tcpip.ErrAborted]():                      syscall.EPIPE,
	reflect.TypeFor[*tcpip.ErrAddressFamilyNotSupported]():    syscall.EAFNOSUPPORT,
	reflect.TypeFor[*tcpip.ErrAlreadyBound]():                 syscall.EINVAL,
	reflect.TypeFor[*tcpip.ErrAlreadyConnected]():             syscall.EISCONN,
	reflect.TypeFor[*tcpip.ErrAlreadyConnecting]():            syscall.EALREADY,
	reflect.TypeFor[*tcpip.ErrBadAddress]():                   syscall.EFAULT,
	reflect.TypeFor[*tcpip.ErrBadBuffer]():                    syscall.EFAULT,
	reflect.TypeFor[*tcpip.ErrBadLocalAddress]():              syscall.EADDRNOTAVAIL,
	reflect.TypeFor[*tcpip.ErrBroadcastDisabled]():            syscall.EACCES,
	reflect.TypeFor[*tcpip.ErrClosedForReceive]():             syscall.ENOTCONN,
	reflect.TypeFor[*tcpip.ErrClosedForSend]():                syscall.EPIPE,
	reflect.TypeFor[*tcpip.ErrConnectStarted]():               syscall.EINPROGRESS,
	reflect.TypeFor[*tcpip.ErrConnectionAborted]():            syscall.ECONNABORTED,
	reflect.TypeFor[*tcpip.ErrConnectionRefused]():            syscall.ECONNREFUSED,
	reflect.TypeFor[*tcpip.ErrConnectionReset]():              syscall.ECONNRESET,
	reflect.TypeFor[*tcpip.ErrDestinationRequired]():          syscall.EDESTADDRREQ,
	reflect.TypeFor[*tcpip.ErrDuplicateAddress]():             syscall.EEXIST,
	reflect.TypeFor[*tcpip.ErrDuplicateNICID]():               syscall.EEXIST,
	reflect.TypeFor[*tcpip.ErrEndpointBusy]():                 syscall.EBUSY,
	reflect.TypeFor[*tcpip.ErrHostDown]():                     syscall.EHOSTDOWN,
	reflect.TypeFor[*tcpip.ErrHostUnreachable]():              syscall.EHOSTUNREACH,
	reflect.TypeFor[*tcpip.ErrInvalidEndpointState]():         syscall.EINVAL,
	reflect.TypeFor[*tcpip.ErrInvalidNICID]():                 syscall.ENODEV,
	reflect.TypeFor[*tcpip.ErrInvalidOptionValue]():           syscall.EINVAL,
	reflect.TypeFor[*tcpip.ErrInvalidPortRange]():             syscall.EINVAL,
	reflect.TypeFor[*tcpip.ErrMalformedHeader]():              syscall.EINVAL,
	reflect.TypeFor[*tcpip.ErrMessageTooLong]():               syscall.EMSGSIZE,
	reflect.TypeFor[*tcpip.ErrMissingRequiredFields]():        syscall.EINVAL,
	reflect.TypeFor[*tcpip.ErrMulticastInputCannotBeOutput](): syscall.EINVAL,
	reflect.TypeFor[*tcpip.ErrNetworkUnreachable]():           syscall.ENETUNREACH,
	reflect.TypeFor[*tcpip.ErrNoBufferSpace]():                syscall.ENOBUFS,
	reflect.TypeFor[*tcpip.ErrNoNet]():                        syscall.ENONET,
	reflect.TypeFor[*tcpip.ErrNoPortAvailable]():              syscall.EADDRINUSE,
	reflect.TypeFor[*tcpip.ErrNoSuchFile]():                   syscall.ENOENT,
	reflect.TypeFor[*tcpip.ErrNotConnected]():                 syscall.ENOTCONN,
	reflect.TypeFor[*tcpip.ErrNotPermitted]():                 syscall.EPERM,
	reflect.TypeFor[*tcpip.ErrNotSupported]():                 syscall.EOPNOTSUPP,
	reflect.TypeFor[*tcpip.ErrPortInUse]():                    syscall.EADDRINUSE,
	reflect.TypeFor[*tcpip.ErrQueueSizeNotSupported]():        syscall.ENOTTY,
	reflect.TypeFor[*tcpip.ErrTimeout]():                      syscall.ETIMEDOUT,
	reflect.TypeFor[*tcpip.ErrUnknownDevice]():                syscall.ENODEV,
	reflect.TypeFor[*tcpip.ErrUnknownNICID]():                 syscall.ENODEV,
	reflect.TypeFor[*tcpip.ErrUnknownProtocol]():              syscall.EPROTONOSUPPORT,
	reflect.TypeFor[*tcpip.ErrUnknownProtocolOption]():        syscall.ENOPROTOOPT,
	reflect.TypeFor[*tcpip.ErrWouldBlock]():                   syscall.EAGAIN,
}

// opError wraps an errno the way package net does.
func opError(op, network string, source, addr net.Addr, call string, err tcpip.Error) error {
	return &net.OpError{Op: op, Net: network, Source: source, Addr: addr, Err: os.NewSyscallError(call, Errno(err))}
}

// streamError turns the result of a read or write into what net.Conn returns.
func (c *Conn) streamError(op string, err tcpip.Error) error {
	if _, ok := err.(*tcpip.ErrClosedForReceive); ok && op == "read" {
		return io.EOF
	}
	return c.opError(op, os.NewSyscallError(op, c.e.Errno(err)))
}
