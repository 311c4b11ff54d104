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

// socket makes a socket; typ carries no mode bits.
func (ns *Namespace) socket(domain, typ, protocol int) (sock, error) {
	switch {
	case (domain == unix.AF_INET || domain == unix.AF_INET6) && typ == unix.SOCK_DGRAM:
		if protocol != 0 && protocol != unix.IPPROTO_UDP {
			return nil, unix.EPROTONOSUPPORT
		}
		return newUDP(ns, domain), nil
	case (domain == unix.AF_INET || domain == unix.AF_INET6) && typ == unix.SOCK_STREAM:
		if protocol != 0 && protocol != unix.IPPROTO_TCP {
			return nil, unix.EPROTONOSUPPORT
		}
		return newTCP(ns, domain), nil
	case domain == unix.AF_UNIX:
		return ns.unixSocket(typ, protocol)
	}
	return nil, unix.EAFNOSUPPORT
}
