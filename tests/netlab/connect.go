//go:build linux

package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ConnectConfig says how a kernel socket connects.
type ConnectConfig struct {
	// Remote is the address to connect to.
	Remote netip.AddrPort

	// Local is the source address. An invalid address or port 0 lets the
	// kernel choose that part. A given port may be one that an earlier
	// connection used.
	Local netip.AddrPort

	// SYNRetries is how often the kernel repeats an unanswered SYN before
	// connect fails (TCP_SYNCNT, 1 to 127). 0 means the namespace's
	// net.ipv4.tcp_syn_retries.
	SYNRetries int

	// Abort makes Close send a RST and leave no TIME-WAIT (SO_LINGER 0).
	Abort bool
}

// Socket is a kernel TCP socket whose connect is in progress or done. Outcomes
// are bare syscall.Errno values, as connect(2) would give them. It is not safe
// for concurrent use.
type Socket struct {
	fd int
}

// Connect opens a socket in the calling thread's namespace and starts to
// connect it. It does not wait: when it returns, the SYN is on its way.
func Connect(config ConnectConfig) (*Socket, error) {
	family := unix.AF_INET
	if config.Remote.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &Socket{fd: fd}
	if err := s.prepare(config); err != nil {
		_ = s.Close()
		return nil, err
	}
	err = unix.Connect(fd, sockaddr(config.Remote))
	if err != nil && err != unix.EINPROGRESS {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Socket) prepare(config ConnectConfig) error {
	if config.SYNRetries != 0 {
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, config.SYNRetries); err != nil {
			return os.NewSyscallError("setsockopt TCP_SYNCNT", err)
		}
	}
	if config.Abort {
		if err := s.lingerZero(); err != nil {
			return err
		}
	}
	if !config.Local.Addr().IsValid() && config.Local.Port() == 0 {
		return nil
	}
	local := config.Local
	if !local.Addr().IsValid() {
		any := netip.IPv4Unspecified()
		if config.Remote.Addr().Is6() {
			any = netip.IPv6Unspecified()
		}
		local = netip.AddrPortFrom(any, local.Port())
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_REUSEADDR", err)
	}
	if local.Port() == 0 {
		// Choose the port in connect, where it need only be free towards
		// this one peer.
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", err)
		}
	}
	return os.NewSyscallError("bind", unix.Bind(s.fd, sockaddr(local)))
}

func (s *Socket) lingerZero() error {
	err := unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return os.NewSyscallError("setsockopt SO_LINGER", err)
}

// Wait waits for connect to end and returns its outcome: nil when connected,
// else an errno such as ECONNREFUSED. If nothing was decided within the timeout
// it returns os.ErrDeadlineExceeded and the attempt goes on. Each outcome is
// returned once, as SO_ERROR is.
func (s *Socket) Wait(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		left := max(time.Until(deadline), 0)
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
		ts := unix.NsecToTimespec(left.Nanoseconds())
		n, err := unix.Ppoll(fds, &ts, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("ppoll", err)
		}
		if n == 0 {
			return os.ErrDeadlineExceeded
		}
		return s.takeError()
	}
}

// takeError returns and clears the pending error of the socket.
func (s *Socket) takeError() error {
	code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_ERROR", err)
	}
	if code != 0 {
		return syscall.Errno(code)
	}
	return nil
}

// LocalAddr returns the source address.
func (s *Socket) LocalAddr() (netip.AddrPort, error) {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	default:
		return netip.AddrPort{}, fmt.Errorf("getsockname: unexpected family %T", sa)
	}
}

// Abort closes the socket with a RST, or ends an attempt without one.
func (s *Socket) Abort() error {
	if err := s.lingerZero(); err != nil {
		_ = s.Close()
		return err
	}
	return s.Close()
}

// Close closes the socket.
func (s *Socket) Close() error {
	return os.NewSyscallError("close", unix.Close(s.fd))
}

// Conn turns a connected socket into a net.Conn and gives it up: whatever
// Conn returns, the Socket must not be used again.
func (s *Socket) Conn() (net.Conn, error) {
	f := os.NewFile(uintptr(s.fd), "tcp")
	defer f.Close()
	return net.FileConn(f)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}
