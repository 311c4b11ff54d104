//go:build linux

package socket_test

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/socket"
)

// connect(2) with O_NONBLOCK: poll(2) says when it is done, SO_ERROR how.
func ExampleProcess_Connect() {
	p, done := newProcess()
	defer done()
	client := must(p.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0))
	err := p.Connect(client, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: 9})
	fmt.Println(socket.Strerror(err.(unix.Errno)))
	must(p.Poll([]unix.PollFd{{Fd: int32(client), Events: unix.POLLOUT}}, -1))
	errno := must(p.GetsockoptInt(client, unix.SOL_SOCKET, unix.SO_ERROR))
	fmt.Println(socket.Strerror(unix.Errno(errno)))
	// Output:
	// Operation now in progress
	// Connection refused
}

// Two listeners share a port and its clients; one of them closes, and the other's
// stay.
func ExampleProcess_Listen_reusePort() {
	p, done := newProcess()
	defer done()
	address := &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: 80}
	var listeners [2]int
	for i := range listeners {
		listeners[i] = must(p.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0))
		try(p.SetsockoptInt(listeners[i], unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		try(p.Bind(listeners[i], address))
		try(p.Listen(listeners[i], 100))
	}
	const clients = 20
	for range clients {
		try(p.Connect(must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)), address))
	}
	accepted := 0
	for accepted < clients {
		must(p.Poll([]unix.PollFd{
			{Fd: int32(listeners[0]), Events: unix.POLLIN}, {Fd: int32(listeners[1]), Events: unix.POLLIN},
		}, -1))
		for _, l := range listeners {
			if _, _, err := p.Accept4(l, 0); err == nil {
				accepted++
			}
		}
	}
	fmt.Println("accepted", accepted)

	try(p.Close(listeners[0]))
	try(p.Connect(must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)), address))
	fmt.Println("and one more")
	// Output:
	// accepted 20
	// and one more
}
