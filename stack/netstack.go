package stack

import gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

// Netstack returns the netstack underneath, on which other transports can be
// built: package socket's UDP registers its endpoints there. It is no way round
// the listen queues: a TCP endpoint made there can connect, but has no TIME-WAIT, and
// if it listens, netstack's own queue is what it gets.
func (s *Stack) Netstack() *gstack.Stack { return s.g }
