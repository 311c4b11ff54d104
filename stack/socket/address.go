//go:build linux

package socket

import "golang.org/x/sys/unix"

// SockaddrUnspec is an address of family AF_UNSPEC: with it Connect ends a
// connection or an association (connect(2)).
type SockaddrUnspec struct{ unix.Sockaddr }

// checkAddress fails with EINVAL for an address that is too long to be one
// (move_addr_to_kernel).
func checkAddress(addr unix.Sockaddr) error {
	if a, ok := addr.(*unix.SockaddrUnix); ok && len(a.Name) > unix.SizeofSockaddrUnix-2 {
		return unix.EINVAL
	}
	return nil
}
