//go:build linux

package socket

import (
	"net"

	"gvisor.dev/gvisor/pkg/waiter"
)

// A Listener is a listening unix socket. It behaves like a *net.UnixListener.
type Listener struct{ goSocket }

var _ net.Listener = (*Listener)(nil)

// Accept implements net.Listener; the connection is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	var s sock
	err := l.await(&l.readDeadline, waiter.ReadableEvents, func() (err error) {
		s, _, err = l.s.accept()
		return err
	})
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: l.network, Addr: l.local, Err: l.cause("accept", err)}
	}
	return newConn(l.ns, s, l.network), nil
}

// Close implements net.Listener. Connections that nobody has accepted are reset.
// As with a *net.UnixListener, the name goes, too.
func (l *Listener) Close() error {
	err := l.goSocket.Close()
	if name := l.local.String(); err == nil && name != "" && name[0] != '@' {
		l.ns.Unlink(name)
	}
	return err
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.local }
