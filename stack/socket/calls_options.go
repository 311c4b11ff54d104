//go:build linux

package socket

import (
	"encoding/binary"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Getsockopt is getsockopt(2): it fills value, truncating what is longer, and
// returns the length used. ENOPROTOOPT for an option that does not exist or is
// not supported, see docs/sockets.md.
func (p *Process) Getsockopt(fd, level, name int, value []byte) (int, error) {
	f, s, err := p.sock(fd)
	if err != nil {
		return 0, err
	}
	v, err := f.option(s, level, name)
	if err != nil {
		return 0, err
	}
	switch {
	case level == unix.SOL_SOCKET && name == unix.SO_BINDTODEVICE && len(v) > 0 && len(value) < unix.IFNAMSIZ:
		return 0, unix.EINVAL // sock_getbindtodevice
	case level == unix.IPPROTO_IP && len(v) == 4 && len(value) < 4 && len(value) > 0 && binary.NativeEndian.Uint32(v) <= 255:
		v = v[:1] // do_ip_getsockopt takes it for a char
	}
	return copy(value, v), nil
}

// Setsockopt is setsockopt(2).
func (p *Process) Setsockopt(fd, level, name int, value []byte) error {
	f, s, err := p.sock(fd)
	if err != nil {
		return err
	}
	if level == unix.SOL_SOCKET {
		switch name {
		case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
			return setTimeout(&f.receiveTimeout, value)
		case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
			return setTimeout(&f.sendTimeout, value)
		}
	}
	return s.setOption(level, name, value)
}

// GetsockoptInt is Getsockopt for an int.
func (p *Process) GetsockoptInt(fd, level, name int) (int, error) {
	var v [4]byte
	n, err := p.Getsockopt(fd, level, name, v[:])
	if err != nil {
		return 0, err
	}
	if n < len(v) { // a char, or less than an int
		clear(v[n:])
	}
	return int(int32(binary.NativeEndian.Uint32(v[:]))), nil
}

// SetsockoptInt is Setsockopt for an int.
func (p *Process) SetsockoptInt(fd, level, name, value int) error {
	return p.Setsockopt(fd, level, name, intOption(value))
}

// option answers for what every socket has, and asks the socket for the rest.
func (f *file) option(s sock, level, name int) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return s.option(level, name)
	}
	domain, typ, protocol := s.kind()
	switch name {
	case unix.SO_DOMAIN:
		return intOption(domain), nil
	case unix.SO_TYPE:
		return intOption(typ), nil
	case unix.SO_PROTOCOL:
		return intOption(protocol), nil
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		return timeoutOption(f.receiveTimeout.Load()), nil
	case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		return timeoutOption(f.sendTimeout.Load()), nil
	}
	return s.option(level, name)
}

// intOption is an int as an option's value.
func intOption(v int) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(int32(v)))
}

// boolOption is a flag as an option's value.
func boolOption(on bool) []byte {
	if on {
		return intOption(1)
	}
	return intOption(0)
}

// intValue reads an option's value that is an int; a shorter one is EINVAL.
func intValue(value []byte) (int, error) {
	if len(value) < 4 {
		return 0, unix.EINVAL
	}
	return int(int32(binary.NativeEndian.Uint32(value))), nil
}

// timeoutOption is a timeout as a struct timeval. One that was set below zero
// reads back as 0 (sock_get_timeout).
func timeoutOption(timeout int64) []byte {
	tv := unix.NsecToTimeval(max(timeout, 0))
	return structOption(&tv)
}

// setTimeout stores a struct timeval (sock_set_timeout): 0 waits for ever, below
// zero never waits. Unlike the kernel it does not round to its clock ticks.
func setTimeout(timeout *atomic.Int64, value []byte) error {
	var tv unix.Timeval
	if err := structValue(&tv, value); err != nil {
		return err
	}
	switch {
	case tv.Usec < 0 || tv.Usec >= 1e6:
		return unix.EDOM
	case tv.Sec < 0:
		timeout.Store(-1)
	case tv.Sec >= int64(maxTimeout/time.Second):
		timeout.Store(0)
	default:
		timeout.Store(tv.Nano())
	}
	return nil
}

// maxTimeout is what counts as for ever.
const maxTimeout = 100 * 365 * 24 * time.Hour

// structOption is a struct of the kernel as an option's value.
func structOption[T any](v *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}

// structValue reads an option's value that is a struct of the kernel; a shorter
// one is EINVAL.
func structValue[T any](v *T, value []byte) error {
	if len(value) < int(unsafe.Sizeof(*v)) {
		return unix.EINVAL
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)), value)
	return nil
}
