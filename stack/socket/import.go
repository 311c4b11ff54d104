//go:build linux

package socket

import (
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
)

// Import gives a connection of Go's view a descriptor of the process, the lowest
// that is free. A *Conn, *PacketConn or *Listener of this package then shares its
// socket with the descriptor, as after dup(2); it does not wait on its own, so the
// description has O_NONBLOCK set until SetNonblock clears it. A *stack.Conn is
// taken over: its own calls fail with net.ErrClosed from now on, and the
// descriptor blocks.
//
// Errors: EMFILE, EBADF for one that is closed, ENOTSOCK for something else.
func (p *Process) Import(c any) (int, error) {
	switch c := c.(type) {
	case *Conn:
		return p.share(&c.goSocket)
	case *PacketConn:
		return p.share(&c.goSocket)
	case *Listener:
		return p.share(&c.goSocket)
	case *stack.Conn:
		fd, err := p.reserve()
		if err != nil {
			return -1, err
		}
		e, err := c.Endpoint()
		if err != nil {
			p.unreserve(fd)
			return -1, unix.EBADF
		}
		domain := unix.AF_INET
		if e.Local().Addr().Is6() {
			domain = unix.AF_INET6
		}
		t := newTCP(p.ns, domain)
		t.phase = ssConnected
		t.attach(e)
		p.fill(fd, newFile(t, false), false)
		return fd, nil
	}
	return -1, unix.ENOTSOCK
}

// share gives the file of a socket a descriptor.
func (p *Process) share(g *goSocket) (int, error) {
	if !g.f.hold() {
		return -1, unix.EBADF
	}
	defer g.f.drop() // the descriptor has a reference of its own
	return p.install(g.f, 0, false)
}
