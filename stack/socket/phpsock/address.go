//go:build linux

package phpsock

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// sockaddr reads an address and a port for a socket (php_set_inet_addr).
func (s *Sockets) sockaddr(sock *Socket, address string, port int) (unix.Sockaddr, error) {
	if sock.domain == unix.AF_UNIX {
		if len(address) > 0 && address[0] == 0 { // abstract
			address = "@" + address[1:]
		}
		return &unix.SockaddrUnix{Name: address}, nil
	}
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() != (sock.domain == unix.AF_INET) {
		return nil, lookupFailed{}
	}
	if sock.domain == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(uint16(port))}, nil
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(uint16(port))}, nil
}

// lookupFailed is the error of a name that is no address.
type lookupFailed struct{}

func (lookupFailed) Error() string { return "Unknown host" }

// code returns the number that LastError shows for an error, and what PHP says
// that the call was unable to do.
func code(err error, what string) (int, string) {
	if errno, ok := err.(syscall.Errno); ok {
		return int(errno), what
	}
	return unknownHost, "Host lookup failed"
}

// text is an address as PHP returns it; a unix socket has no port.
func text(a unix.Sockaddr) (address string, port int) {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr).String(), a.Port
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).String(), a.Port
	case *unix.SockaddrUnix:
		return a.Name, 0
	}
	return "", 0
}

// GetSockName is socket_getsockname. A unix socket has no port, which is left
// alone then; port may be nil.
func (s *Sockets) GetSockName(sock *Socket, address *string, port *int) bool {
	return s.do(sock, "getsockname", "unable to retrieve socket name", func() error {
		a, err := s.p.Getsockname(sock.fd)
		if err == nil {
			store(a, address, port)
		}
		return err
	})
}

// GetPeerName is socket_getpeername; see GetSockName.
func (s *Sockets) GetPeerName(sock *Socket, address *string, port *int) bool {
	return s.do(sock, "getpeername", "unable to retrieve peer name", func() error {
		a, err := s.p.Getpeername(sock.fd)
		if err == nil {
			store(a, address, port)
		}
		return err
	})
}

// store puts an address where it is wanted.
func store(a unix.Sockaddr, address *string, port *int) {
	host, number := text(a)
	if address != nil {
		*address = host
	}
	if _, path := a.(*unix.SockaddrUnix); !path && port != nil {
		*port = number
	}
}
