package stack

import "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

// Connections returns the number of connections that are not over: those that
// wait for accept, those in use, and those that were closed and still have data
// or a FIN on the way. TIME-WAIT does not count.
func (s *Stack) Connections() int {
	n := 0
	for _, ep := range s.g.RegisteredEndpoints() {
		e, ok := ep.(*tcp.Endpoint)
		if !ok {
			continue
		}
		switch e.EndpointState() {
		case tcp.StateListen, tcp.StateTimeWait, tcp.StateClose, tcp.StateError:
		default:
			n++
		}
	}
	return n
}
