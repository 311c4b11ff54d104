//go:build linux

package syscalls

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/socket"
)

// A rawAddr is an address as system calls take and give it: a struct sockaddr and
// its length in bytes. Unlike golang.org/x/sys/unix it keeps apart no address, an
// address of no family, and unix sockets without a name.
type rawAddr struct {
	bytes [2 * unix.SizeofSockaddrAny]byte
	size  uint32
}

// start is where the bytes are, nil for no address.
func (a *rawAddr) start() *byte {
	if a.size == 0 {
		return nil
	}
	return &a.bytes[0]
}

// room makes room for an address that a call gives.
func (a *rawAddr) room() *byte {
	a.size = uint32(len(a.bytes))
	return &a.bytes[0]
}

// encodeAddr turns an address into its bytes; nil is no address.
func encodeAddr(addr unix.Sockaddr) (*rawAddr, error) {
	a := new(rawAddr)
	family := func(f uint16) { binary.NativeEndian.PutUint16(a.bytes[:], f) }
	switch s := addr.(type) {
	case nil:
	case *unix.SockaddrInet4:
		family(unix.AF_INET)
		binary.BigEndian.PutUint16(a.bytes[2:], uint16(s.Port))
		copy(a.bytes[4:], s.Addr[:])
		a.size = unix.SizeofSockaddrInet4
	case *unix.SockaddrInet6:
		family(unix.AF_INET6)
		binary.BigEndian.PutUint16(a.bytes[2:], uint16(s.Port))
		copy(a.bytes[8:], s.Addr[:])
		binary.NativeEndian.PutUint32(a.bytes[24:], s.ZoneId)
		a.size = unix.SizeofSockaddrInet6
	case *unix.SockaddrUnix:
		family(unix.AF_UNIX)
		a.size = 2 + uint32(copy(a.bytes[2:], s.Name))
		switch {
		case s.Name == "":
		case s.Name[0] == '@':
			a.bytes[2] = 0
		case a.size < unix.SizeofSockaddrUnix:
			a.size++ // the zero at the end
		}
	case socket.SockaddrUnspec:
		a.size = unix.SizeofSockaddrInet4
	default:
		return nil, unix.EINVAL
	}
	return a, nil
}

// decode turns bytes that a call has given into an address; nil is none.
func (a *rawAddr) decode() unix.Sockaddr {
	if a.size < 2 || a.size > uint32(len(a.bytes)) {
		return nil
	}
	switch binary.NativeEndian.Uint16(a.bytes[:]) {
	case unix.AF_INET:
		return &unix.SockaddrInet4{
			Port: int(binary.BigEndian.Uint16(a.bytes[2:])),
			Addr: [4]byte(a.bytes[4:]),
		}
	case unix.AF_INET6:
		return &unix.SockaddrInet6{
			Port:   int(binary.BigEndian.Uint16(a.bytes[2:])),
			Addr:   [16]byte(a.bytes[8:]),
			ZoneId: binary.NativeEndian.Uint32(a.bytes[24:]),
		}
	case unix.AF_UNIX:
		path := a.bytes[2:a.size]
		switch {
		case len(path) == 0:
			return &unix.SockaddrUnix{}
		case path[0] == 0:
			return &unix.SockaddrUnix{Name: "@" + string(path[1:])}
		}
		path, _, _ = bytes.Cut(path, []byte{0})
		return &unix.SockaddrUnix{Name: string(path)}
	}
	return nil
}
