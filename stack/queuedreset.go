package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
)

// A queuedConn is a connection that nobody has accepted, on a platform where its
// peer's RST frees its place at once.
type queuedConn struct {
	l  *Listener
	id listenq.ConnID
}

// reset tells the listen queue. netstack reports a RST with locks of its own held,
// so this runs later.
func (q *queuedConn) reset() {
	q.l.mu.Lock()
	defer q.l.mu.Unlock()
	q.l.q.Aborted(q.id)
}

// watchesResets reports whether the listen queue must hear of a RST at once, and
// not only when accept comes to the connection.
func (l *Listener) watchesResets() bool {
	return l.q.Profile().Socket.QueuedReset == listenq.ResetReleased
}

// wasReset reports whether the peer of a connection that nobody has accepted has
// reset it.
func (e *Endpoint) wasReset() bool {
	if e.ep == nil {
		return true
	}
	switch e.ep.EndpointState() {
	case tcp.StateError, tcp.StateClose: // the latter if the RST met CLOSE-WAIT
		return true
	}
	return false
}
