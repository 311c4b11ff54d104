//go:build linux

package phpsock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A Linger is the array that SO_LINGER has: l_onoff and l_linger, in seconds.
type Linger struct{ OnOff, Linger int }

// A Timeval is the array that SO_RCVTIMEO and SO_SNDTIMEO have: sec and usec.
type Timeval struct{ Sec, Usec int }

// GetOption is socket_get_option: a Linger, a Timeval or an int.
func (s *Sockets) GetOption(sock *Socket, level, name int) (any, bool) {
	var value any
	ok := s.do(sock, "get_option", "Unable to retrieve socket option", func() error {
		b := make([]byte, 16)
		n, err := s.p.Getsockopt(sock.fd, level, name, b)
		if err != nil {
			return err
		}
		word := func(i int) int { return int(int32(binary.NativeEndian.Uint32(b[4*i:]))) }
		switch {
		case level == unix.SOL_SOCKET && name == unix.SO_LINGER:
			value = Linger{word(0), word(1)}
		case level == unix.SOL_SOCKET && (name == unix.SO_RCVTIMEO || name == unix.SO_SNDTIMEO) && n == 16:
			value = Timeval{int(binary.NativeEndian.Uint64(b)), int(binary.NativeEndian.Uint64(b[8:]))}
		default:
			value = word(0)
		}
		return nil
	})
	return value, ok
}

// GetOpt is socket_getopt, another name of GetOption.
func (s *Sockets) GetOpt(sock *Socket, level, name int) (any, bool) {
	return s.GetOption(sock, level, name)
}

// SetOption is socket_set_option: the value is a Linger, a Timeval, a string, an
// int or a bool.
func (s *Sockets) SetOption(sock *Socket, level, name int, value any) bool {
	var b []byte
	switch v := value.(type) {
	case Linger:
		b = binary.NativeEndian.AppendUint32(b, uint32(int32(v.OnOff)))
		b = binary.NativeEndian.AppendUint32(b, uint32(int32(v.Linger)))
	case Timeval:
		b = binary.NativeEndian.AppendUint64(b, uint64(v.Sec))
		b = binary.NativeEndian.AppendUint64(b, uint64(v.Usec))
	case string:
		b = []byte(v)
	case int:
		b = binary.NativeEndian.AppendUint32(b, uint32(int32(v)))
	case bool:
		b = make([]byte, 4)
		if v {
			binary.NativeEndian.PutUint32(b, 1)
		}
	default:
		s.warn("set_option", "a %T is no value of an option", value)
		return false
	}
	return s.do(sock, "set_option", "unable to set socket option", func() error {
		return s.p.Setsockopt(sock.fd, level, name, b)
	})
}

// SetOpt is socket_setopt, another name of SetOption.
func (s *Sockets) SetOpt(sock *Socket, level, name int, value any) bool {
	return s.SetOption(sock, level, name, value)
}
