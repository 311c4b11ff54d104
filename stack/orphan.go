package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Orphans returns the number of connections that no program has any more and that
// still have data or a FIN to be acknowledged (TCP: orphan in /proc/net/sockstat).
func (s *Stack) Orphans() int { return int(s.orphans.Load()) }

// orphaned takes note that the program has closed the connection. One more than
// net.ipv4.tcp_max_orphans is reset (tcp_check_oom).
func (e *Endpoint) orphaned() {
	if e.leave() && e.s.orphans.Add(1) > int64(e.s.sysctl(tcpMaxOrphans)) {
		e.s.count(func(c *ConnCounters) { c.TCPAbortOnMemory++ })
		e.ep.Abort()
	}
}

// leave makes the connection an orphan; false means that it is one, or has nothing left
// to send.
func (e *Endpoint) leave() bool {
	e.ep.LockUser()
	defer e.ep.UnlockUser()
	state := e.ep.EndpointState()
	g := guardOf(e.ep)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
	default:
		return false
	}
	t, l := sendTimersOf(e.ep), &g.life
	l.orphan = true
	if l.probing && l.since != 0 {
		*t.fires = tcpip.MonotonicTime{}.Add(l.last + *t.rto) // the FIN has moved it on
	}
	g.decide(t)
	return !e.orphan.Swap(true)
}

// buried says that the connection is no orphan any more: it is over, or in TIME-WAIT
// or FIN-WAIT-2, for which Linux keeps no socket.
func (e *Endpoint) buried() {
	if e.orphan.Swap(false) {
		e.s.orphans.Add(-1)
	}
}
