//go:build linux

package socket

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Socket is socket(2) for AF_INET, AF_INET6 and AF_UNIX; typ may carry
// SOCK_NONBLOCK and SOCK_CLOEXEC.
//
// Errors: EINVAL for unknown bits in typ, EAFNOSUPPORT, ESOCKTNOSUPPORT and
// EPROTONOSUPPORT for what does not exist, EMFILE when the table is full.
func (p *Process) Socket(domain, typ, protocol int) (int, error) {
	const modes = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if typ&^(modes|typeMask) != 0 {
		return -1, unix.EINVAL
	}
	s, err := p.ns.socket(domain, typ&^modes, protocol)
	if err != nil {
		return -1, err
	}
	if u, ok := s.(*unixSocket); ok {
		u.owner = p
	}
	return p.installNew(s, typ&modes)
}

// installNew gives a new socket a descriptor, or releases it.
func (p *Process) installNew(s sock, modes int) (int, error) {
	f := newFile(s, modes&unix.SOCK_NONBLOCK != 0)
	fd, err := p.install(f, 0, modes&unix.SOCK_CLOEXEC != 0)
	if err != nil {
		s.release()
	}
	return fd, err
}

// Bind is bind(2).
func (p *Process) Bind(fd int, addr unix.Sockaddr) error {
	_, s, err := p.sock(fd)
	if err != nil {
		return err
	}
	if err := checkAddress(addr); err != nil {
		return err
	}
	return s.bind(addr)
}

// Listen is listen(2): backlog is a C int, and what becomes of it is for
// listenq.Limit to say.
func (p *Process) Listen(fd, backlog int) error {
	_, s, err := p.sock(fd)
	if err != nil {
		return err
	}
	return s.listen(int(int32(backlog)))
}

// Accept4 is accept4(2): flags are SOCK_NONBLOCK and SOCK_CLOEXEC. Connections
// come in the order in which they were completed.
//
// Errors: EINVAL for other flags and for a socket that does not listen, EMFILE
// before anything is accepted, EOPNOTSUPP for a socket that never listens.
func (p *Process) Accept4(fd, flags int) (int, unix.Sockaddr, error) {
	f, err := p.file(fd)
	if err != nil {
		return -1, nil, err
	}
	if flags&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0 {
		return -1, nil, unix.EINVAL
	}
	newfd, err := p.reserve()
	if err != nil {
		return -1, nil, err
	}
	conn, addr, err := p.ns.accept(f)
	if err != nil {
		p.unreserve(newfd)
		return -1, nil, err
	}
	p.fill(newfd, newFile(conn, flags&unix.SOCK_NONBLOCK != 0), flags&unix.SOCK_CLOEXEC != 0)
	return newfd, addr, nil
}

// accept waits for a connection if the file blocks.
func (ns *Namespace) accept(f *file) (conn sock, addr unix.Sockaddr, err error) {
	s, err := f.sock()
	if err != nil {
		return nil, nil, err
	}
	timeout, waits := f.waits(&f.receiveTimeout, 0)
	err = ns.try(f, waiter.ReadableEvents, timeout, waits, func() (err error) {
		conn, addr, err = s.accept()
		if err == unix.EAGAIN && waits && s.Readiness(waiter.EventRdHUp)&waiter.EventRdHUp != 0 {
			return unix.EINVAL // shut down: none will come (skb_wait_for_more_packets)
		}
		return err
	})
	return conn, addr, err
}

// Connect is connect(2). SockaddrUnspec ends a connection or an association.
//
// On a stream socket without O_NONBLOCK it waits until the connection is there,
// failed, or SO_SNDTIMEO passed (EINPROGRESS); with O_NONBLOCK it fails with
// EINPROGRESS and goes on.
func (p *Process) Connect(fd int, addr unix.Sockaddr) error {
	f, err := p.file(fd)
	if err != nil {
		return err
	}
	if err := checkAddress(addr); err != nil { // even before it is asked what fd is
		return err
	}
	s, err := f.sock()
	if err != nil {
		return err
	}
	return p.ns.connect(f, s, addr)
}

func (ns *Namespace) connect(f *file, s sock, addr unix.Sockaddr) error {
	timeout, waits := f.waits(&f.sendTimeout, 0)
	var first error // what the call fails with if it does not wait
	err := ns.try(f, waiter.WritableEvents, timeout, waits, func() error {
		err := s.connect(addr)
		if err != unix.EINPROGRESS && err != unix.EALREADY && err != unix.EAGAIN {
			return err
		}
		if first == nil {
			first = err
		}
		return unix.EAGAIN
	})
	if err == unix.EAGAIN {
		return first
	}
	return err
}

// Shutdown is shutdown(2): EINVAL if how is not SHUT_RD, SHUT_WR or SHUT_RDWR.
func (p *Process) Shutdown(fd, how int) error {
	_, s, err := p.sock(fd)
	if err != nil {
		return err
	}
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	return s.shutdown(how)
}
