//go:build linux

package socket

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// listen follows __inet_listen_sk; an unbound socket gets a port
// (inet_csk_listen_start).
func (t *tcpSocket) listen(backlog int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync()
	if t.phase != ssUnconnected || !oneOf(t.state(), tcp.StateClose, tcp.StateListen) {
		return unix.EINVAL
	}
	if t.listener != nil { // it listens, or was shut down and keeps its port
		if err := t.listener.Listen(backlog); err != nil {
			return errnoIn(err)
		}
		t.listens = true
		return nil
	}
	t.drop()
	if t.binding == nil {
		if err := t.reserve(netip.AddrPortFrom(t.local, 0)); err != nil {
			return err
		}
	}
	l, err := t.ns.stack.ListenOn(t.binding, backlog, t.options.listen())
	if err != nil {
		return errnoIn(err)
	}
	t.listener, t.listens = l, true
	t.entry.Init(t, waiter.AllEvents)
	l.EventRegister(&t.entry)
	return nil
}

// accept follows inet_csk_accept.
func (t *tcpSocket) accept() (sock, unix.Sockaddr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.listens {
		return nil, nil, unix.EINVAL
	}
	conn, err := t.listener.AcceptEndpoint()
	if err != nil {
		return nil, nil, err
	}
	return t.accepted(conn), sockaddrOf(t.domain, conn.Remote()), nil
}

// unlisten is shutdown(2) of a socket that listens (inet_csk_listen_stop). With a
// port of the user's choice, requests stay for the next listen. The lock is held.
func (t *tcpSocket) unlisten() {
	t.shut = 0
	if t.lockPort {
		t.listener.Shutdown()
		t.listens = false
		return
	}
	t.dropListener()
	t.freePort()
	if !t.lockAddr {
		t.local = netip.Addr{}
	}
}

// dropListener closes the listener. The lock is held.
func (t *tcpSocket) dropListener() {
	if t.listener == nil {
		return
	}
	t.listener.EventUnregister(&t.entry)
	t.listener.Close()
	t.listener, t.listens = nil, false
}

// errnoIn returns the errno within an error of package stack.
func errnoIn(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EINVAL
}
