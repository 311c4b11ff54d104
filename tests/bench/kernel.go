//go:build linux

package main

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// kernelServer is the kernel of the server process's namespace.
type kernelServer struct{}

func openKernel() (server, error) { return kernelServer{}, nil }

// listen makes the socket by hand, because package net chooses the backlog.
func (kernelServer) listen(backlog int) (net.Listener, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: serverAddr.As4(), Port: serverPort}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	return net.FileListener(f)
}
