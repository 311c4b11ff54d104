//go:build linux

// Package socket is the sockets API of a stack: integer descriptors and the calls
// of section 2 of the Linux manual, with the kernel's errors in the kernel's order
// of checks. Signatures, constants and address types are those of
// golang.org/x/sys/unix, so that code written for the kernel's sockets reads the
// same, and an adapter for another language is a thin layer:
//
//	ns := socket.NewNamespace(s) // s is a *stack.Stack
//	p := ns.Process(1024)        // a descriptor table, RLIMIT_NOFILE 1024
//	fd, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
//	err = p.Bind(fd, &unix.SockaddrInet4{Port: 80})
//	err = p.Listen(fd, 5)
//	conn, peer, err := p.Accept4(fd, 0)
//
// A Namespace is what a network namespace is to Linux: a stack and the names of
// the unix sockets in it. A Process is a table of descriptors.
//
// # Errors
//
// Every call returns a bare syscall.Errno, as golang.org/x/sys/unix does.
//
// # Blocking
//
// A call on a descriptor without O_NONBLOCK waits, until SO_RCVTIMEO or
// SO_SNDTIMEO passes (EAGAIN) or, other than on Linux, until the last descriptor
// of the socket is closed: a call that was waiting then fails with EBADF. No
// call is ever interrupted by a signal (EINTR), and none raises SIGPIPE.
//
// # Concurrency
//
// A Namespace and a Process are safe for concurrent use.
package socket
