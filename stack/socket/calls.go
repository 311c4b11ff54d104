//go:build linux

package socket

import (
	"golang.org/x/sys/unix"
)

// Socket is socket(2) for AF_INET, AF_INET6 and AF_UNIX; typ may carry
// SOCK_NONBLOCK and SOCK_CLOEXEC.
//
// Errors: EINVAL for unknown bits in typ, EAFNOSUPPORT, ESOCKTNOSUPPORT and
// EPROTONOSUPPORT for what does not exist, EMFILE when the table is full.
func (p *Process) Socket(domain, typ, protocol int) (int, error) {
	const modes = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	s, err := p.ns.socket(domain, typ&^modes, protocol)
	if err != nil {
		return -1, err
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
