//go:build linux

package socket

import (
	"net"

	"golang.org/x/sys/unix"
)

// A PacketConn is a datagram socket, of UDP or unix. It behaves like a *net.UDPConn
// or a *net.UnixConn of the network "unixgram": it is a net.PacketConn, and if it
// was dialed, a net.Conn.
//
// Control messages go through a descriptor: see Process.Import.
type PacketConn struct{ goSocket }

var _ net.PacketConn = (*PacketConn)(nil)
var _ net.Conn = (*PacketConn)(nil)

func newPacketConn(ns *Namespace, s sock, network string) *PacketConn {
	c := new(PacketConn)
	c.init(ns, s, network)
	return c
}

// Read implements net.Conn: it reads one datagram; what does not fit into b is
// lost.
func (c *PacketConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	m := newMessage(b)
	defer m.free()
	n, err := c.receive(m)
	return n, c.opError("read", "read", c.remote, err)
}

// Write implements net.Conn: it writes one datagram to the peer.
func (c *PacketConn) Write(b []byte) (int, error) {
	m := newMessage(b)
	defer m.free()
	n, err := c.send(m)
	return n, c.opError("write", "write", c.remote, err)
}

// ReadFrom implements net.PacketConn.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	m := newMessage(b)
	defer m.free()
	m.wantsAddr = true
	n, err := c.receive(m)
	if err != nil {
		return n, nil, c.opError("read", "recvfrom", c.remote, err)
	}
	return n, addrOf(c.network, m.addr), nil
}

// WriteTo implements net.PacketConn. It fails with net.ErrWriteToConnected if the
// socket was dialed.
func (c *PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := c.sockaddr(addr)
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: c.network, Source: c.local, Addr: addr, Err: err}
	}
	m := newMessage(b)
	defer m.free()
	m.addr = to
	n, err := c.send(m)
	return n, c.opError("write", "sendto", addr, err)
}

// sockaddr reads an address to send to.
func (c *PacketConn) sockaddr(addr net.Addr) (unix.Sockaddr, error) {
	if c.remote != nil {
		return nil, net.ErrWriteToConnected
	}
	domain, _, _ := c.s.kind()
	switch a := addr.(type) {
	case *net.UDPAddr:
		if to := a.AddrPort(); domain != unix.AF_UNIX && to.IsValid() && (domain == unix.AF_INET6 || to.Addr().Unmap().Is4()) {
			if domain == unix.AF_INET {
				return &unix.SockaddrInet4{Addr: to.Addr().Unmap().As4(), Port: a.Port}, nil
			}
			return &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: a.Port}, nil
		}
	case *net.UnixAddr:
		if domain == unix.AF_UNIX {
			return &unix.SockaddrUnix{Name: a.Name}, nil
		}
	case nil:
		return nil, &net.AddrError{Err: "missing address"}
	}
	return nil, &net.AddrError{Err: "address of the wrong kind for " + c.network, Addr: addr.String()}
}

// RemoteAddr implements net.Conn; nil if the socket was not dialed.
func (c *PacketConn) RemoteAddr() net.Addr { return c.remote }
