//go:build linux

package phpsock

import (
	"golang.org/x/sys/unix"
)

// What Read ends with.
const (
	PHP_NORMAL_READ = 1 // a line, up to \n or \r
	PHP_BINARY_READ = 2 // what has arrived
)

const cannotRead, cannotWrite = "unable to read from socket", "unable to write to socket"

// Read is socket_read: up to length bytes, PHP_BINARY_READ unless the type says
// PHP_NORMAL_READ. The end of a stream is "", or ECONNRESET for a line.
func (s *Sockets) Read(sock *Socket, length int, typ ...int) (string, bool) {
	if length < 1 {
		return "", false
	}
	var data []byte
	_, ok := s.count(sock, "read", cannotRead, func() (n int, err error) {
		if option(typ, PHP_BINARY_READ) == PHP_NORMAL_READ {
			data, err = s.line(sock, length)
			return len(data), err
		}
		data = make([]byte, length)
		n, err = s.p.Recv(sock.fd, data, 0)
		data = data[:max(n, 0)]
		return n, err
	})
	return string(data), ok
}

// line reads up to the end of a line, or length bytes (php_read).
func (s *Sockets) line(sock *Socket, length int) ([]byte, error) {
	var line []byte
	var b [1]byte
	for len(line) < length {
		n, err := s.p.Recv(sock.fd, b[:], 0)
		switch {
		case err == unix.EAGAIN && len(line) > 0:
			return line, nil
		case err != nil:
			return nil, err
		case n == 0: // php_read asks 200 times
			return nil, unix.ECONNRESET
		}
		if line = append(line, b[0]); b[0] == '\n' || b[0] == '\r' {
			break
		}
	}
	return line, nil
}

// Recv is socket_recv: it returns how many bytes are in buf now, which is "" at
// the end of a stream.
func (s *Sockets) Recv(sock *Socket, buf *string, length, flags int) (int, bool) {
	return s.count(sock, "recv", cannotRead, func() (int, error) {
		b := make([]byte, max(length, 0))
		n, err := s.p.Recv(sock.fd, b, flags)
		*buf = string(b[:min(max(n, 0), len(b))])
		return n, err
	})
}

// RecvFrom is socket_recvfrom: Recv that says who has sent. port may be nil.
func (s *Sockets) RecvFrom(sock *Socket, buf *string, length, flags int, address *string, port *int) (int, bool) {
	return s.count(sock, "recvfrom", "unable to recvfrom", func() (int, error) {
		b := make([]byte, max(length, 0))
		n, from, err := s.p.Recvfrom(sock.fd, b, flags)
		*buf = string(b[:min(max(n, 0), len(b))])
		if err == nil {
			store(from, address, port)
		}
		return n, err
	})
}

// Write is socket_write: length bytes of data, all unless it is given. It returns
// how many were written.
func (s *Sockets) Write(sock *Socket, data string, length ...int) (int, bool) {
	data, ok := s.cut("write", data, option(length, len(data)))
	if !ok {
		return 0, false
	}
	return s.count(sock, "write", cannotWrite, func() (int, error) { return s.p.Write(sock.fd, []byte(data)) })
}

// Send is socket_send.
func (s *Sockets) Send(sock *Socket, data string, length, flags int) (int, bool) {
	data, ok := s.cut("send", data, length)
	if !ok {
		return 0, false
	}
	return s.count(sock, "send", cannotWrite, func() (int, error) { return s.p.Send(sock.fd, []byte(data), flags) })
}

// SendTo is socket_sendto: to an address and, unless it is a path, a port.
func (s *Sockets) SendTo(sock *Socket, data string, length, flags int, address string, port ...int) (int, bool) {
	data, ok := s.cut("sendto", data, length)
	if !ok {
		return 0, false
	}
	return s.count(sock, "sendto", cannotWrite, func() (int, error) {
		to, err := s.sockaddr(sock, address, option(port, 0))
		if err != nil {
			return 0, err
		}
		return s.p.Sendto(sock.fd, []byte(data), flags, to)
	})
}

// cut returns the first bytes of data.
func (s *Sockets) cut(function, data string, length int) (string, bool) {
	if length < 0 {
		s.warn(function, "Length cannot be negative")
		return "", false
	}
	return data[:min(length, len(data))], true
}
