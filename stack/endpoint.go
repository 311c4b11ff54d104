package stack

import "gvisor.dev/gvisor/pkg/tcpip"

// Clock returns the time that the stack follows: Config.Clock, or real time.
func (s *Stack) Clock() tcpip.Clock { return s.clock }
