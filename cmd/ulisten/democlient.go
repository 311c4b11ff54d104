package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
)

// demoDialer makes clients.
type demoDialer interface {
	// connect sends a SYN. It does not wait for an answer.
	connect(remote netip.AddrPort) (demoAttempt, error)
	Close() error
}

// demoAttempt is a connection attempt of a client.
type demoAttempt interface {
	// wait returns the outcome of connect(2) and, where the client can tell,
	// how often it had to send its SYN again; else -1.
	wait() (conn net.Conn, retransmissions int, err error)
}

// kernelDialer connects sockets of the kernel.
type kernelDialer struct {
	synRetries int // TCP_SYNCNT; 0 leaves it to tcp_syn_retries
}

func (kernelDialer) Close() error { return nil }

// kernelAttempt is a socket that connects.
type kernelAttempt struct {
	file *os.File
}

func (d kernelDialer) connect(remote netip.AddrPort) (demoAttempt, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, fmt.Errorf("client socket: %w", err)
	}
	if d.synRetries > 0 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, d.synRetries)
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: remote.Addr().As4(), Port: int(remote.Port())})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return nil, fmt.Errorf("client connects to %v: %w", remote, err)
	}
	// Only a socket that is connecting may meet the runtime's poller: an idle
	// one looks like one that was hung up.
	return &kernelAttempt{file: os.NewFile(uintptr(fd), "client")}, nil
}

func (a *kernelAttempt) wait() (net.Conn, int, error) {
	defer a.file.Close()
	raw, err := a.file.SyscallConn()
	if err != nil {
		return nil, 0, err
	}
	var info *unix.TCPInfo
	var outcome int
	var sockErr error
	err = raw.Write(func(fd uintptr) bool {
		info, sockErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		const synSent = 2 // include/net/tcp_states.h
		if sockErr == nil && info.State == synSent {
			return false
		}
		if sockErr == nil {
			outcome, sockErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		}
		return true
	})
	if err := errors.Join(err, sockErr); err != nil {
		return nil, 0, fmt.Errorf("client socket: %w", err)
	}
	retransmissions := int(info.Total_retrans)
	if outcome != 0 {
		return nil, retransmissions, syscall.Errno(outcome)
	}
	conn, err := net.FileConn(a.file)
	return conn, retransmissions, err
}

// stackDialer connects from a second userspace stack.
type stackDialer struct{ *stack.Stack }

// stackPatience is when a client of the second stack gives up: after one
// repetition of its SYN and before the next, like the kernel's with
// demoSYNRetries.
const stackPatience = 2800 * time.Millisecond

type stackAttempt struct {
	done chan struct{}
	conn net.Conn
	err  error
}

func (d stackDialer) connect(remote netip.AddrPort) (demoAttempt, error) {
	a := &stackAttempt{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		ctx, cancel := context.WithTimeout(context.Background(), stackPatience)
		defer cancel()
		a.conn, a.err = d.DialContext(ctx, "tcp", remote.String())
		if errors.Is(a.err, os.ErrDeadlineExceeded) {
			a.err = syscall.ETIMEDOUT
		}
	}()
	return a, nil
}

func (a *stackAttempt) wait() (net.Conn, int, error) {
	<-a.done
	return a.conn, -1, a.err
}
