//go:build linux

package phpsock

import (
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/socket"
)

// descriptors is how many sockets a script can have open (RLIMIT_NOFILE).
const descriptors = 1024

// unknownHost is the code for a host name that nobody knows: -10000 less
// HOST_NOT_FOUND of netdb.h.
const unknownHost = -10001

// A Sockets is the extension as one script has it: its sockets and its last error.
type Sockets struct {
	// Warning, if not nil, gets what PHP reports of a call that fails, such as
	// "socket_bind(): unable to bind address [98]: Address already in use".
	Warning func(text string)

	mu        sync.Mutex
	p         *socket.Process
	lastError int
}

// A Socket is a resource of type Socket. It belongs to the Sockets that made it.
type Socket struct {
	fd     int
	domain int
	error  int
	closed bool
}

// New returns the extension for a script in a namespace.
func New(ns *socket.Namespace) *Sockets { return &Sockets{p: ns.Process(descriptors)} }

// Process returns the descriptors behind the sockets.
func (s *Sockets) Process() *socket.Process { return s.p }

// GetProtoByName is getprotobyname: the number of "tcp" or "udp", -1 for others.
func (s *Sockets) GetProtoByName(name string) int {
	switch name {
	case "tcp":
		return unix.IPPROTO_TCP
	case "udp":
		return unix.IPPROTO_UDP
	}
	return -1
}

func (s *Sockets) warn(function, format string, args ...any) {
	if s.Warning != nil {
		s.Warning("socket_" + function + "(): " + fmt.Sprintf(format, args...))
	}
}

// fail notes an error; sock may be nil. PHP is silent about what is no more than
// "not yet" (PHP_SOCKET_ERROR).
func (s *Sockets) fail(sock *Socket, function, what string, err error) {
	if err == nil {
		return
	}
	number, what := code(err, what)
	s.note(sock, number)
	if number != int(unix.EAGAIN) && number != int(unix.EINPROGRESS) {
		s.warn(function, "%s [%d]: %s", what, number, s.Strerror(number))
	}
}

func (s *Sockets) note(sock *Socket, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastError = code
	if sock != nil {
		sock.error = code
	}
}

// valid reports whether a socket can be used, and warns if not.
func (s *Sockets) valid(sock *Socket, function string) bool {
	s.mu.Lock()
	ok := sock != nil && !sock.closed
	s.mu.Unlock()
	if !ok {
		s.warn(function, "supplied resource is not a valid Socket resource")
	}
	return ok
}

// do is a call that returns TRUE or FALSE.
func (s *Sockets) do(sock *Socket, function, what string, call func() error) bool {
	if !s.valid(sock, function) {
		return false
	}
	err := call()
	s.fail(sock, function, what, err)
	return err == nil
}

// count is a call that returns a number or FALSE.
func (s *Sockets) count(sock *Socket, function, what string, call func() (int, error)) (int, bool) {
	var n int
	ok := s.do(sock, function, what, func() (err error) {
		n, err = call()
		return err
	})
	return n, ok
}

// Create is socket_create: for AF_INET, AF_INET6 or AF_UNIX, SOCK_STREAM and its
// like, and a protocol, 0 for the usual one.
func (s *Sockets) Create(domain, typ, protocol int) *Socket {
	return s.create("create", domain, typ, protocol)
}

func (s *Sockets) create(function string, domain, typ, protocol int) *Socket {
	domain = s.domain(function, domain)
	const mostType = 10
	if typ > mostType {
		s.warn(function, "invalid socket type [%d] specified for argument 2, assuming SOCK_STREAM", typ)
		typ = unix.SOCK_STREAM
	}
	fd, err := s.p.Socket(domain, typ, protocol)
	if err != nil {
		s.fail(nil, function, "Unable to create socket", err)
		return nil
	}
	return &Socket{fd: fd, domain: domain}
}

func (s *Sockets) domain(function string, domain int) int {
	switch domain {
	case unix.AF_INET, unix.AF_INET6, unix.AF_UNIX:
		return domain
	}
	s.warn(function, "invalid socket domain [%d] specified for argument 1, assuming AF_INET", domain)
	return unix.AF_INET
}

// CreateListen is socket_create_listen: a TCP socket that listens on a port of all
// IPv4 addresses. The backlog is 128 unless given.
func (s *Sockets) CreateListen(port int, backlog ...int) *Socket {
	const function = "create_listen"
	sock := s.create(function, unix.AF_INET, unix.SOCK_STREAM, 0)
	if sock == nil {
		return nil
	}
	what, err := "unable to bind to given address", s.p.Bind(sock.fd, &unix.SockaddrInet4{Port: port})
	if err == nil {
		what, err = "unable to listen on socket", s.p.Listen(sock.fd, option(backlog, 128))
	}
	if err != nil {
		s.p.Close(sock.fd)
		s.fail(nil, function, what, err)
		return nil
	}
	return sock
}

// CreatePair is socket_create_pair: two sockets that are connected with each
// other, of AF_UNIX.
func (s *Sockets) CreatePair(domain, typ, protocol int, pair *[2]*Socket) bool {
	domain = s.domain("create_pair", domain)
	fds, err := s.p.Socketpair(domain, typ, protocol)
	if err != nil {
		s.fail(nil, "create_pair", "unable to create socket pair", err)
		return false
	}
	*pair = [2]*Socket{{fd: fds[0], domain: domain}, {fd: fds[1], domain: domain}}
	return true
}

// ImportStream is socket_import_stream: it makes a socket of a connection of
// package socket or package stack. See socket.Process.Import.
func (s *Sockets) ImportStream(stream net.Conn) *Socket {
	fd, err := s.p.Import(stream)
	if err != nil {
		s.warn("import_stream", "cannot represent a stream of type %T as a Socket Descriptor", stream)
		return nil
	}
	domain, err := s.p.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		s.fail(nil, "import_stream", "unable to obtain blocking state", err)
		return nil
	}
	return &Socket{fd: fd, domain: domain}
}

// Bind is socket_bind: to an address and, unless it is a path, a port, which is 0
// unless given.
func (s *Sockets) Bind(sock *Socket, address string, port ...int) bool {
	const what = "unable to bind address"
	return s.do(sock, "bind", what, func() error {
		to, err := s.sockaddr(sock, address, option(port, 0))
		if err != nil {
			return err
		}
		return s.p.Bind(sock.fd, to)
	})
}

// Listen is socket_listen. The backlog is 0 unless given.
func (s *Sockets) Listen(sock *Socket, backlog ...int) bool {
	return s.do(sock, "listen", "unable to listen on socket", func() error {
		return s.p.Listen(sock.fd, option(backlog, 0))
	})
}

// Accept is socket_accept.
func (s *Sockets) Accept(sock *Socket) *Socket {
	var conn *Socket
	s.do(sock, "accept", "unable to accept incoming connection", func() error {
		fd, _, err := s.p.Accept4(sock.fd, 0)
		if err == nil {
			conn = &Socket{fd: fd, domain: sock.domain}
		}
		return err
	})
	return conn
}

// Connect is socket_connect: to an address and, unless it is a path, a port.
func (s *Sockets) Connect(sock *Socket, address string, port ...int) bool {
	if sock != nil && sock.domain != unix.AF_UNIX && len(port) == 0 {
		s.warn("connect", "Socket of type %s requires 3 arguments", domainName(sock.domain))
		return false
	}
	return s.do(sock, "connect", "unable to connect", func() error {
		to, err := s.sockaddr(sock, address, option(port, 0))
		if err != nil {
			return err
		}
		return s.p.Connect(sock.fd, to)
	})
}

func domainName(domain int) string {
	if domain == unix.AF_INET {
		return "AF_INET"
	}
	return "AF_INET6"
}

// Shutdown is socket_shutdown: 0 ends reading, 1 writing, 2 both, which is what is
// done unless it is given.
func (s *Sockets) Shutdown(sock *Socket, how ...int) bool {
	return s.do(sock, "shutdown", "unable to shutdown socket", func() error {
		return s.p.Shutdown(sock.fd, option(how, unix.SHUT_RDWR))
	})
}

// Close is socket_close.
func (s *Sockets) Close(sock *Socket) {
	if !s.valid(sock, "close") {
		return
	}
	s.mu.Lock()
	sock.closed = true
	s.mu.Unlock()
	s.p.Close(sock.fd)
}

// SetBlock is socket_set_block.
func (s *Sockets) SetBlock(sock *Socket) bool {
	return s.do(sock, "set_block", "unable to set blocking mode", func() error { return s.p.SetNonblock(sock.fd, false) })
}

// SetNonblock is socket_set_nonblock.
func (s *Sockets) SetNonblock(sock *Socket) bool {
	return s.do(sock, "set_nonblock", "unable to set nonblocking mode", func() error { return s.p.SetNonblock(sock.fd, true) })
}

// LastError is socket_last_error: of a socket, or of all calls.
func (s *Sockets) LastError(sock ...*Socket) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(sock) > 0 && sock[0] != nil {
		return sock[0].error
	}
	return s.lastError
}

// ClearError is socket_clear_error: of a socket, or of all calls.
func (s *Sockets) ClearError(sock ...*Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(sock) > 0 && sock[0] != nil {
		sock[0].error = 0
		return
	}
	s.lastError = 0
}

// Strerror is socket_strerror: libc's text of an error, or that of netdb.h below
// -10000.
func (s *Sockets) Strerror(code int) string {
	if code == unknownHost {
		return "Unknown host"
	}
	return socket.Strerror(syscall.Errno(code))
}

// option is an argument that may be left out.
func option(given []int, unless int) int {
	if len(given) > 0 {
		return given[0]
	}
	return unless
}
