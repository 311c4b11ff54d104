//go:build linux

package socket

import "golang.org/x/sys/unix"

// Getsockname is getsockname(2).
func (p *Process) Getsockname(fd int) (unix.Sockaddr, error) {
	_, s, err := p.sock(fd)
	if err != nil {
		return nil, err
	}
	return s.name()
}

// Getpeername is getpeername(2): ENOTCONN for a socket without a peer, also for
// one whose connection is over.
func (p *Process) Getpeername(fd int) (unix.Sockaddr, error) {
	_, s, err := p.sock(fd)
	if err != nil {
		return nil, err
	}
	return s.peer()
}
