//go:build linux

package socket

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/ulisten/ulisten/stack"
)

// A Namespace is a stack and the unix sockets beside it (network_namespaces(7)).
type Namespace struct {
	stack *stack.Stack
	clock tcpip.Clock
	// sleepers are those of calls that have returned.
	sleepers sync.Pool

	udpPorts udpPorts

	names unixNames
	waits unixWaits
	// filesUnderWay counts the files in messages of unix sockets.
	filesUnderWay atomic.Int64

	// nesting guards which epoll instances watch each other.
	nesting sync.Mutex
}

// NewNamespace returns the namespace of a stack. Closing the stack ends what its
// sockets can do; it does not close descriptors.
func NewNamespace(s *stack.Stack) *Namespace {
	return &Namespace{stack: s, clock: s.Clock()}
}

// socket makes a socket; typ carries no mode bits. The checks are those of
// __sock_create and inet_create.
func (ns *Namespace) socket(domain, typ, protocol int) (sock, error) {
	switch {
	case domain != unix.AF_INET && domain != unix.AF_INET6 && domain != unix.AF_UNIX:
		return nil, unix.EAFNOSUPPORT
	case typ < 0 || typ > unix.SOCK_PACKET:
		return nil, unix.EINVAL
	case domain == unix.AF_UNIX:
		return ns.unixSocket(typ, protocol)
	case protocol < 0 || protocol > unix.IPPROTO_MPTCP:
		return nil, unix.EINVAL
	case typ == unix.SOCK_STREAM && (protocol == 0 || protocol == unix.IPPROTO_TCP):
		return newTCP(ns, domain), nil
	case typ == unix.SOCK_DGRAM && (protocol == 0 || protocol == unix.IPPROTO_UDP):
		return newUDP(ns, domain), nil
	case typ == unix.SOCK_STREAM, typ == unix.SOCK_DGRAM, typ == unix.SOCK_RAW && protocol == 0:
		return nil, unix.EPROTONOSUPPORT
	}
	return nil, unix.ESOCKTNOSUPPORT
}
