//go:build linux

package socket_test

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that dup made of each other are one socket, with one peer.
func ExampleProcess_Dup3() {
	p, closeAll := newProcess()
	defer closeAll()
	p.SetCredentials(unix.Ucred{Pid: 7, Uid: 1000, Gid: 1000})

	pair := must(p.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	try(p.Dup3(pair[0], 10, unix.O_CLOEXEC))
	try(p.Dup2(10, 11))
	try(p.Close(pair[0]))

	peer := must(p.Getpeername(11)).(*unix.SockaddrUnix)
	fmt.Printf("peer %q of pid %d\n", peer.Name, p.Credentials().Pid)
	fmt.Println(p.Dup3(11, 64, 0)) // the table holds 64: 0 to 63
	// Output:
	// peer "@" of pid 7
	// bad file descriptor
}

// A path outlives its socket until it is unlinked, which Go's listeners do when they
// are closed.
func ExampleNamespace_Unlink() {
	ns, closeStack := newNamespace()
	defer closeStack()
	l, err := ns.Listen("unix", "/run/shop", 5)
	try(err)

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := ns.DialContext(ctx, "unix", "/run/shop")
	try(err)
	try(c.Close())

	p := ns.Process(8)
	fd := must(p.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	fmt.Println(p.Bind(fd, &unix.SockaddrUnix{Name: "/run/shop"}))
	try(l.Close())
	fmt.Println(ns.Unlink("/run/shop"))
	try(p.Bind(fd, &unix.SockaddrUnix{Name: "/run/shop"}))
	try(ns.Unlink("/run/shop"))
	p.CloseAll()
	// Output:
	// address already in use
	// no such file or directory
}
