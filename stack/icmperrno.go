package stack

import (
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// unreachable4 is what the codes of an ICMPv4 "destination unreachable" mean
// (icmp_err_convert, Linux 6.18). Code 4 is a matter of the path's MTU.
var unreachable4 = [...]syscall.Errno{
	syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENOPROTOOPT, syscall.ECONNREFUSED,
	0, syscall.EOPNOTSUPP, syscall.ENETUNREACH, syscall.EHOSTDOWN,
	Errno(&tcpip.ErrNoNet{}), syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	syscall.EHOSTUNREACH, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH,
}

// unreachable6 are those of an ICMPv6 one (tab_unreach); codes beyond are EPROTO.
var unreachable6 = [...]syscall.Errno{
	syscall.ENETUNREACH, syscall.EACCES, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH,
	syscall.ECONNREFUSED, syscall.EACCES, syscall.EACCES,
}

// errno is the error that an ICMP error means (tcp_v4_err, tcp_v6_err); 0 stands for
// none, as of source quench, redirect and "packet too big".
func (e *icmpError) errno() syscall.Errno {
	if e.id.RemoteAddress.Len() == header.IPv6AddressSize {
		switch header.ICMPv6Type(e.kind) {
		case header.ICMPv6DstUnreachable:
			if int(e.code) < len(unreachable6) {
				return unreachable6[e.code]
			}
			return syscall.EPROTO
		case header.ICMPv6ParamProblem:
			return syscall.EPROTO
		case header.ICMPv6TimeExceeded:
			return syscall.EHOSTUNREACH
		}
		return 0
	}
	switch header.ICMPv4Type(e.kind) {
	case header.ICMPv4DstUnreachable:
		if int(e.code) < len(unreachable4) {
			return unreachable4[e.code]
		}
	case header.ICMPv4ParamProblem:
		return syscall.EPROTO
	case header.ICMPv4TimeExceeded:
		return syscall.EHOSTUNREACH
	}
	return 0
}

// suffers tells a connection of an ICMP error about a number in flight: it ends one that
// is being opened, and is soft afterwards, when SO_ERROR tells it and it takes the place
// of ETIMEDOUT (sk_err_soft). The endpoint is not locked.
func (g *guard) suffers(errno syscall.Errno) {
	state := g.ep.EndpointState()
	connects := state == tcp.StateConnecting || state == tcp.StateSynSent
	g.mu.Lock()
	if connects {
		g.refused = errno
	} else {
		g.soft = errno
	}
	protocol := networkProtocol(fromAddress(g.id.RemoteAddress))
	g.mu.Unlock()
	if !connects {
		return
	}
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{})
	defer pkt.DecRef()
	pkt.NetworkProtocolNumber = protocol
	g.ep.HandleError(connectFails{}, pkt)
}

// connectFails makes netstack end a connection that is being opened; Endpoint.Errno
// knows why.
type connectFails struct{}

var _ gstack.TransportError = connectFails{}

// Kind implements gstack.TransportError.
func (connectFails) Kind() gstack.TransportErrorKind {
	return gstack.DestinationHostUnreachableTransportError
}

// Origin implements tcpip.SockErrorCause.
func (connectFails) Origin() tcpip.SockErrOrigin { return tcpip.SockExtErrorOriginNone }

// Type implements tcpip.SockErrorCause.
func (connectFails) Type() uint8 { return 0 }

// Code implements tcpip.SockErrorCause.
func (connectFails) Code() uint8 { return 0 }

// Info implements tcpip.SockErrorCause.
func (connectFails) Info() uint32 { return 0 }

// Errno is the errno of an error of netstack's that has ended the connection, or what
// the network has said of the cause: instead of ETIMEDOUT (tcp_write_err), or when it
// ended connect.
func (e *Endpoint) Errno(err tcpip.Error) syscall.Errno {
	errno := Errno(err)
	g := guardOf(e.ep)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.refused != 0 && errno == syscall.EHOSTUNREACH:
		return g.refused
	case g.soft != 0 && errno == syscall.ETIMEDOUT:
		return g.soft
	}
	return errno
}

// SoftError returns what the network has said last of the connection, once; 0 is nothing
// (sk_err_soft, which SO_ERROR tells if there is nothing else to tell).
func (e *Endpoint) SoftError() syscall.Errno {
	g := guardOf(e.ep)
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	errno := g.soft
	g.soft = 0
	return errno
}
