//go:build linux

package socket

import "golang.org/x/sys/unix"

// typeMask are the bits of a socket's type (SOCK_TYPE_MASK).
const typeMask = 0xf

// Socketpair is socketpair(2), for AF_UNIX; typ may carry SOCK_NONBLOCK and
// SOCK_CLOEXEC.
//
// Errors: those of Socket, EMFILE before all others but EINVAL for unknown bits,
// and EOPNOTSUPP for other families.
func (p *Process) Socketpair(domain, typ, protocol int) ([2]int, error) {
	none := [2]int{-1, -1}
	const modes = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if typ&^(typeMask|modes) != 0 {
		return none, unix.EINVAL
	}
	var fds [2]int
	for i := range fds {
		fd, err := p.reserve()
		if err != nil {
			if i == 1 {
				p.unreserve(fds[0])
			}
			return none, err
		}
		fds[i] = fd
	}
	pair, err := p.pair(domain, typ&typeMask, protocol)
	if err != nil {
		p.unreserve(fds[1])
		p.unreserve(fds[0])
		return none, err
	}
	for i, s := range pair {
		p.fill(fds[i], newFile(s, typ&unix.SOCK_NONBLOCK != 0), typ&unix.SOCK_CLOEXEC != 0)
	}
	return fds, nil
}

// pair makes two sockets that are connected to each other.
func (p *Process) pair(domain, typ, protocol int) (pair [2]*unixSocket, err error) {
	if domain != unix.AF_UNIX {
		s, err := p.ns.socket(domain, typ, protocol)
		if err == nil {
			s.release()
			err = unix.EOPNOTSUPP
		}
		return pair, err
	}
	for i := range pair {
		if pair[i], err = p.ns.unixSocket(typ, protocol); err != nil {
			return pair, err
		}
		pair[i].owner = p
	}
	for i, s := range pair {
		own := p.credentials()
		s.peerCred.Store(&own)
		s.peerSocket.Store(pair[1-i])
		s.state.Store(int32(unixConnected))
	}
	return pair, nil
}
