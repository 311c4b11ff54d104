//go:build linux

package main

import (
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/socket"
)

// goViewServer is Go's view of ulisten's sockets.
type goViewServer struct{ ns *socket.Namespace }

// descriptorServer is ulisten's descriptors and calls.
type descriptorServer struct{ ns *socket.Namespace }

func openNamespace() (*socket.Namespace, error) {
	s, err := openUlisten()
	if err != nil {
		return nil, err
	}
	return socket.NewNamespace(s.(ulistenServer).stack), nil
}

func openGoView() (server, error) {
	ns, err := openNamespace()
	return goViewServer{ns}, err
}

func (s goViewServer) listen(backlog int) (net.Listener, error) {
	return s.ns.Listen("tcp4", serverPoint.String(), backlog)
}

func openDescriptors() (server, error) {
	ns, err := openNamespace()
	return descriptorServer{ns}, err
}

func (s descriptorServer) listen(backlog int) (net.Listener, error) {
	p := s.ns.Process(1 << 20)
	fd, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if err := p.Bind(fd, &unix.SockaddrInet4{Addr: serverAddr.As4(), Port: serverPort}); err != nil {
		return nil, err
	}
	if err := p.Listen(fd, backlog); err != nil {
		return nil, err
	}
	return descriptor{p, fd}, nil
}

// A descriptor is what the handlers need of a net.Listener or a net.Conn: nothing
// but the calls.
type descriptor struct {
	p  *socket.Process
	fd int
}

func (d descriptor) Accept() (net.Conn, error) {
	fd, _, err := d.p.Accept4(d.fd, 0)
	if err != nil {
		return nil, err
	}
	// As the others have it by default.
	return descriptor{d.p, fd}, d.p.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func (d descriptor) Read(b []byte) (int, error) {
	n, err := d.p.Read(d.fd, b)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (d descriptor) Write(b []byte) (int, error) { return d.p.Write(d.fd, b) }

func (d descriptor) Close() error { return d.p.Close(d.fd) }

func (d descriptor) Addr() net.Addr                   { return net.TCPAddrFromAddrPort(serverPoint) }
func (d descriptor) LocalAddr() net.Addr              { return d.Addr() }
func (d descriptor) RemoteAddr() net.Addr             { return nil }
func (d descriptor) SetDeadline(time.Time) error      { return nil }
func (d descriptor) SetReadDeadline(time.Time) error  { return nil }
func (d descriptor) SetWriteDeadline(time.Time) error { return nil }
