//go:build linux

package syscalls

import "golang.org/x/sys/unix"

// Sockets are the calls that are compared: those of *socket.Process. Errors are
// bare errno values.
type Sockets interface {
	Socket(domain, typ, protocol int) (int, error)
	Socketpair(domain, typ, protocol int) ([2]int, error)
	Bind(fd int, addr unix.Sockaddr) error
	Listen(fd, backlog int) error
	Accept4(fd, flags int) (int, unix.Sockaddr, error)
	Connect(fd int, addr unix.Sockaddr) error
	Getsockname(fd int) (unix.Sockaddr, error)
	Getpeername(fd int) (unix.Sockaddr, error)
	Shutdown(fd, how int) error
	Close(fd int) error
	Getsockopt(fd, level, name int, value []byte) (int, error)
	Setsockopt(fd, level, name int, value []byte) error
	Read(fd int, b []byte) (int, error)
	Write(fd int, b []byte) (int, error)
	Readv(fd int, iov [][]byte) (int, error)
	Writev(fd int, iov [][]byte) (int, error)
	Recv(fd int, b []byte, flags int) (int, error)
	Recvfrom(fd int, b []byte, flags int) (int, unix.Sockaddr, error)
	Recvmsg(fd int, iov [][]byte, oob []byte, flags int) (n, oobn, recvflags int, from unix.Sockaddr, err error)
	Send(fd int, b []byte, flags int) (int, error)
	Sendto(fd int, b []byte, flags int, to unix.Sockaddr) (int, error)
	Sendmsg(fd int, iov [][]byte, oob []byte, to unix.Sockaddr, flags int) (int, error)
	Dup(fd int) (int, error)
	Dup3(fd, to, flags int) error
	Fcntl(fd, cmd, arg int) (int, error)
	Ioctl(fd int, request uint) (int, error)
	Poll(fds []unix.PollFd, timeout int) (int, error)
	Select(nfd int, r, w, e *unix.FdSet, timeout *unix.Timeval) (int, error)
	EpollCreate1(flags int) (int, error)
	EpollCtl(epfd, op, fd int, event *unix.EpollEvent) error
	EpollWait(epfd int, events []unix.EpollEvent, msec int) (int, error)
}
