//go:build linux

package main

import (
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// connLoop opens and closes connections, one after the other in each of
// several slots, all on one thread: the client should cost little, and the same
// for every contestant. A connection counts when the server's greeting has
// arrived, which proves that it was accepted.
type connLoop struct {
	epoll   int
	reset   bool
	done    *atomic.Uint64
	nextSrc netip.Addr
}

func newConnLoop(slots int, reset bool, done *atomic.Uint64) (*connLoop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &connLoop{epoll: epoll, reset: reset, done: done, nextSrc: clientPool.Addr().Next()}
	for range slots {
		if err := l.open(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// open starts a connection.
func (l *connLoop) open() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if l.reset {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	} else {
		// Each close leaves a port in TIME-WAIT for a minute; with the
		// whole pool as source there are ports enough.
		err = l.bindNext(fd)
	}
	if err != nil {
		return err
	}
	sa := &unix.SockaddrInet4{Addr: serverAddr.As4(), Port: serverPort}
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		return os.NewSyscallError("connect", err)
	}
	event := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, event))
}

// bindNext binds to the next address of the pool and leaves the port to
// connect.
func (l *connLoop) bindNext(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", err)
	}
	src := l.nextSrc
	if l.nextSrc = src.Next(); !clientPool.Contains(l.nextSrc) {
		l.nextSrc = clientPool.Addr().Next()
	}
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: src.As4()}))
}

// run works until a system call or a connection fails.
func (l *connLoop) run() error {
	events := make([]unix.EpollEvent, 64)
	var greeting [1]byte
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, e := range events[:n] {
			fd := int(e.Fd)
			if _, err := unix.Read(fd, greeting[:]); err != nil {
				return os.NewSyscallError("read", err)
			}
			l.done.Add(1)
			if err := unix.Close(fd); err != nil {
				return os.NewSyscallError("close", err)
			}
			if err := l.open(); err != nil {
				return err
			}
		}
	}
}
