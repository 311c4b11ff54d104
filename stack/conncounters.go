package stack

import "reflect"

// ConnCounters count what became of connections and of segments without a
// listener, which is netstack's work, under the kernel's names. Those of the
// listen queues are in Stack.Counters; OutRsts and RetransSegs exist in both,
// and the kernel shows the sum.
type ConnCounters struct {
	EstabResets uint64 // from ESTABLISHED or CLOSE-WAIT straight to the end
	OutRsts     uint64 // RSTs sent, beyond those of the listeners
	RetransSegs uint64 // segments sent again
	TCPTimeouts uint64 // retransmission timers that fired
}

// Each calls f with every counter's name and value, in the order of the fields.
func (c *ConnCounters) Each(f func(name string, value uint64)) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		f(v.Type().Field(i).Name, v.Field(i).Uint())
	}
}

// ConnCounters returns what netstack has counted so far.
func (s *Stack) ConnCounters() ConnCounters {
	tcp := s.g.Stats().TCP
	return ConnCounters{
		EstabResets: tcp.EstablishedResets.Value(),
		OutRsts:     tcp.ResetsSent.Value(),
		RetransSegs: tcp.Retransmits.Value(),
		TCPTimeouts: tcp.Timeouts.Value(),
	}
}
