//go:build linux

package socket

import "golang.org/x/sys/unix"

// SockaddrUnspec is an address of family AF_UNSPEC: with it Connect ends a
// connection or an association (connect(2)).
type SockaddrUnspec struct{ unix.Sockaddr }
