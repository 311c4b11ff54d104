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
// # Unix sockets
//
// Sockets of AF_UNIX live in the namespace, and so do their names. A path is a name
// like any other, without directories and without a file; it stays when its socket
// is closed, until Unlink removes it. A name that begins with "@" is an abstract one,
// and an unnamed socket shows "@", both as golang.org/x/sys/unix has it.
//
// Their listen queue is a listenq.Local: a connect that finds it full waits, or fails
// with EAGAIN if it must not; LISTENQ_OVERFLOW makes it fail with ECONNREFUSED, as on
// the BSDs. What is queued counts in the send buffer of the sender as Linux 6.18 on
// amd64 counts it (SO_SNDBUF, SIOCOUTQ), and the queue of a datagram socket is full
// for all but its peer with more than 10 messages (net.unix.max_dgram_qlen).
//
// Unlike on Linux, MSG_OOB is EOPNOTSUPP, as without CONFIG_AF_UNIX_OOB, and sockets
// that are under way to themselves (SCM_RIGHTS) are not collected; the files under way
// are bounded instead (ETOOMANYREFS), for every user.
//
// # UDP
//
// Datagrams leave and arrive whole, in fragments where the link asks for them. A
// receive buffer counts 768 bytes for a datagram beside its data, as Linux does for a
// small one. A connected socket hears of unreachable ports and protocols; the error
// queue (IP_RECVERR) and segmentation (UDP_SEGMENT, UDP_GRO) are absent. There is one
// interface, which multicast groups are joined on.
//
// # Go's view
//
// Namespace.Listen, Dial, DialContext and ListenPacket, ListenConfig and Dialer are
// those of package net for the networks tcp, tcp4, tcp6, udp, udp4, udp6, unix,
// unixpacket and unixgram, with the same errors and deadlines, on the stack's clock.
// Only the backlog is asked for, hosts are numeric, nothing probes a silent peer
// unless told to, and SyscallConn fails, since the host's kernel has no descriptor
// for the socket: Process.Import has one of ours. Package phpsock is another view.
//
// # Polling
//
// Poll, Select and EpollWait take descriptors of all kinds, epoll instances included,
// and wait on the stack's clock. A file that is closed while Poll or Select waits
// for it ends the wait, with POLLNVAL and EBADF. Of several descriptors of one file,
// epoll reports first the one that was added first; Linux has it the other way round.
// EPOLLEXCLUSIVE is checked, but wakes all. Linux's bound on the number of paths from
// a file to the instances that watch it (EINVAL from reverse_path_check) is absent.
//
// # Concurrency
//
// A Namespace and a Process are safe for concurrent use.
package socket
