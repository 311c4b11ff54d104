//go:build linux

package syscalls

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// tableSize is how many descriptors a kernel table holds.
	tableSize = 64
	// firstTable is the number of the first descriptor of the first table;
	// descriptors of the rest of the program are below.
	firstTable = 256
	// lastTable is below FD_SETSIZE, the end of what select(2) can name.
	lastTable = unix.FD_SETSIZE - tableSize
	// never is a number that no descriptor of this program gets.
	never = 1 << 20
)

// tables are the ranges of descriptors that are free.
var tables = func() chan int {
	c := make(chan int, unix.FD_SETSIZE/tableSize)
	for base := firstTable; base <= lastTable; base += tableSize {
		c <- base
	}
	return c
}()

// A kernelProcess is the kernel's calls on a descriptor table of its own: a range
// of this program's descriptors, numbered from 0, so that a number that was closed
// is not at once somebody else's. The calls are made without the help of
// golang.org/x/sys/unix where that would hide something, as it does with addresses.
type kernelProcess struct {
	base int

	mu   sync.Mutex
	used [tableSize]bool
}

var _ Sockets = (*kernelProcess)(nil)

// newKernelProcess returns an empty table. Its sockets live in the network
// namespace of the thread that makes them.
func newKernelProcess() *kernelProcess { return &kernelProcess{base: <-tables} }

// CloseAll closes every descriptor and gives the range back.
func (k *kernelProcess) CloseAll() {
	for fd, used := range k.used {
		if used {
			_ = unix.Close(k.base + fd)
		}
	}
	tables <- k.base
}

// real turns a number of this table into one of the program.
func (k *kernelProcess) real(fd int) uintptr {
	switch {
	case fd < 0:
		return uintptr(fd)
	case fd >= tableSize:
		return never
	}
	return uintptr(k.base + fd)
}

// install moves a new descriptor of the program to the lowest free number.
func (k *kernelProcess) install(r, least int) (int, error) {
	defer unix.Close(r)
	flags, err := unix.FcntlInt(uintptr(r), unix.F_GETFD, 0)
	if err != nil {
		return -1, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for fd := least; fd < tableSize; fd++ {
		if k.used[fd] {
			continue
		}
		how := 0
		if flags&unix.FD_CLOEXEC != 0 {
			how = unix.O_CLOEXEC
		}
		if err := unix.Dup3(r, k.base+fd, how); err != nil {
			return -1, err
		}
		k.used[fd] = true
		return fd, nil
	}
	return -1, unix.EMFILE
}

// call makes a system call.
//
//go:uintptrescapes
func call(number uintptr, a ...uintptr) (int, error) {
	var args [6]uintptr
	copy(args[:], a)
	n, _, errno := unix.Syscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

func (k *kernelProcess) Socket(domain, typ, protocol int) (int, error) {
	fd, err := unix.Socket(domain, typ, protocol)
	if err != nil {
		return -1, err
	}
	return k.install(fd, 0)
}

func (k *kernelProcess) Socketpair(domain, typ, protocol int) ([2]int, error) {
	fds, err := unix.Socketpair(domain, typ, protocol)
	for i := range fds {
		if err == nil {
			fds[i], err = k.install(fds[i], 0)
		}
	}
	return fds, err
}

func (k *kernelProcess) Bind(fd int, addr unix.Sockaddr) error {
	raw, err := encodeAddr(addr)
	if err != nil {
		return err
	}
	_, err = call(unix.SYS_BIND, k.real(fd), uintptr(unsafe.Pointer(raw.start())), uintptr(raw.size))
	return err
}

func (k *kernelProcess) Listen(fd, backlog int) error {
	_, err := call(unix.SYS_LISTEN, k.real(fd), uintptr(backlog))
	return err
}

func (k *kernelProcess) Accept4(fd, flags int) (int, unix.Sockaddr, error) {
	var from rawAddr
	n, err := call(unix.SYS_ACCEPT4, k.real(fd), uintptr(unsafe.Pointer(from.room())), uintptr(unsafe.Pointer(&from.size)), uintptr(flags))
	if err != nil {
		return -1, nil, err
	}
	n, err = k.install(n, 0)
	return n, from.decode(), err
}

func (k *kernelProcess) Connect(fd int, addr unix.Sockaddr) error {
	raw, err := encodeAddr(addr)
	if err != nil {
		return err
	}
	_, err = call(unix.SYS_CONNECT, k.real(fd), uintptr(unsafe.Pointer(raw.start())), uintptr(raw.size))
	return err
}

func (k *kernelProcess) Getsockname(fd int) (unix.Sockaddr, error) {
	var a rawAddr
	_, err := call(unix.SYS_GETSOCKNAME, k.real(fd), uintptr(unsafe.Pointer(a.room())), uintptr(unsafe.Pointer(&a.size)))
	return a.decode(), err
}

func (k *kernelProcess) Getpeername(fd int) (unix.Sockaddr, error) {
	var a rawAddr
	_, err := call(unix.SYS_GETPEERNAME, k.real(fd), uintptr(unsafe.Pointer(a.room())), uintptr(unsafe.Pointer(&a.size)))
	return a.decode(), err
}

func (k *kernelProcess) Shutdown(fd, how int) error {
	_, err := call(unix.SYS_SHUTDOWN, k.real(fd), uintptr(how))
	return err
}

func (k *kernelProcess) Close(fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := call(unix.SYS_CLOSE, k.real(fd))
	if err == nil {
		k.used[fd] = false
	}
	return err
}

func (k *kernelProcess) Getsockopt(fd, level, name int, value []byte) (int, error) {
	length := int32(len(value))
	_, err := call(unix.SYS_GETSOCKOPT, k.real(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(unsafe.Pointer(&length)))
	return int(length), err
}

func (k *kernelProcess) Setsockopt(fd, level, name int, value []byte) error {
	_, err := call(unix.SYS_SETSOCKOPT, k.real(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(len(value)))
	return err
}

func (k *kernelProcess) Read(fd int, b []byte) (int, error) {
	return unix.Read(int(k.real(fd)), b)
}

func (k *kernelProcess) Write(fd int, b []byte) (int, error) {
	return unix.Write(int(k.real(fd)), b)
}

func (k *kernelProcess) Readv(fd int, iov [][]byte) (int, error) {
	return unix.Readv(int(k.real(fd)), iov)
}

func (k *kernelProcess) Writev(fd int, iov [][]byte) (int, error) {
	return unix.Writev(int(k.real(fd)), iov)
}

func (k *kernelProcess) Recv(fd int, b []byte, flags int) (int, error) {
	n, err := call(unix.SYS_RECVFROM, k.real(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags))
	return n, err
}

func (k *kernelProcess) Recvfrom(fd int, b []byte, flags int) (int, unix.Sockaddr, error) {
	var from rawAddr
	n, err := call(unix.SYS_RECVFROM, k.real(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags), uintptr(unsafe.Pointer(from.room())), uintptr(unsafe.Pointer(&from.size)))
	return n, from.decode(), err
}

func (k *kernelProcess) Recvmsg(fd int, iov [][]byte, oob []byte, flags int) (n, oobn, recvflags int, from unix.Sockaddr, err error) {
	var addr rawAddr
	vector := iovecs(iov)
	msg := unix.Msghdr{
		Name:    addr.room(),
		Namelen: addr.size,
		Iov:     unsafe.SliceData(vector),
		Control: unsafe.SliceData(oob),
	}
	msg.SetIovlen(len(vector))
	msg.SetControllen(len(oob))
	n, err = call(unix.SYS_RECVMSG, k.real(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	if err != nil {
		return n, 0, 0, nil, err
	}
	addr.size = msg.Namelen
	return n, int(msg.Controllen), int(msg.Flags), addr.decode(), nil
}

func (k *kernelProcess) Send(fd int, b []byte, flags int) (int, error) {
	n, err := call(unix.SYS_SENDTO, k.real(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags))
	return n, err
}

func (k *kernelProcess) Sendto(fd int, b []byte, flags int, to unix.Sockaddr) (int, error) {
	raw, err := encodeAddr(to)
	if err != nil {
		return -1, err
	}
	n, err := call(unix.SYS_SENDTO, k.real(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags), uintptr(unsafe.Pointer(raw.start())), uintptr(raw.size))
	return n, err
}

func (k *kernelProcess) Sendmsg(fd int, iov [][]byte, oob []byte, to unix.Sockaddr, flags int) (int, error) {
	raw, err := encodeAddr(to)
	if err != nil {
		return -1, err
	}
	vector := iovecs(iov)
	msg := unix.Msghdr{
		Iov:     unsafe.SliceData(vector),
		Control: unsafe.SliceData(oob),
		Name:    raw.start(),
		Namelen: raw.size,
	}
	msg.SetIovlen(len(vector))
	msg.SetControllen(len(oob))
	n, err := call(unix.SYS_SENDMSG, k.real(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	return n, err
}

func iovecs(iov [][]byte) []unix.Iovec {
	v := make([]unix.Iovec, len(iov))
	for i, b := range iov {
		v[i].Base = unsafe.SliceData(b)
		v[i].SetLen(len(b))
	}
	return v
}

func (k *kernelProcess) Dup(fd int) (int, error) {
	n, err := unix.Dup(int(k.real(fd)))
	if err != nil {
		return -1, err
	}
	return k.install(n, 0)
}

func (k *kernelProcess) Dup3(fd, to, flags int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	target := int(k.real(to))
	if target == never {
		// dup3 would make it; the table's end is the limit of a process.
		target = 1 << 30
	}
	err := unix.Dup3(int(k.real(fd)), target, flags)
	if err == nil {
		k.used[to] = true
	}
	return err
}

func (k *kernelProcess) Fcntl(fd, cmd, arg int) (int, error) {
	if cmd != unix.F_DUPFD && cmd != unix.F_DUPFD_CLOEXEC {
		return unix.FcntlInt(k.real(fd), cmd, arg)
	}
	least := arg
	if arg >= tableSize {
		arg = 1 << 30
	}
	n, err := unix.FcntlInt(k.real(fd), cmd, arg)
	if err != nil {
		return -1, err
	}
	return k.install(n, least)
}

func (k *kernelProcess) Ioctl(fd int, request uint) (int, error) {
	return unix.IoctlGetInt(int(k.real(fd)), request)
}

func (k *kernelProcess) Poll(fds []unix.PollFd, timeout int) (int, error) {
	real := make([]unix.PollFd, len(fds))
	for i, f := range fds {
		real[i] = unix.PollFd{Fd: int32(k.real(int(f.Fd))), Events: f.Events}
	}
	n, err := unix.Poll(real, timeout)
	for i := range fds {
		fds[i].Revents = real[i].Revents
	}
	return n, err
}

func (k *kernelProcess) Select(nfd int, r, w, e *unix.FdSet, timeout *unix.Timeval) (int, error) {
	if nfd >= 0 {
		nfd = min(nfd+k.base, unix.FD_SETSIZE)
	}
	sets := [...]*unix.FdSet{r, w, e}
	var real [len(sets)]*unix.FdSet
	for i, s := range sets {
		real[i] = k.realSet(s)
	}
	n, err := unix.Select(nfd, real[0], real[1], real[2], timeout)
	if err != nil {
		return -1, err
	}
	for i, s := range sets {
		if s == nil {
			continue
		}
		for fd := range tableSize {
			if !real[i].IsSet(k.base + fd) {
				s.Clear(fd)
			}
		}
	}
	return n, nil
}

// realSet is real for a set.
func (k *kernelProcess) realSet(s *unix.FdSet) *unix.FdSet {
	if s == nil {
		return nil
	}
	var real unix.FdSet
	for fd := range tableSize {
		if s.IsSet(fd) {
			real.Set(k.base + fd)
		}
	}
	return &real
}

func (k *kernelProcess) EpollCreate1(flags int) (int, error) {
	n, err := unix.EpollCreate1(flags)
	if err != nil {
		return -1, err
	}
	return k.install(n, 0)
}

func (k *kernelProcess) EpollCtl(epfd, op, fd int, event *unix.EpollEvent) error {
	return unix.EpollCtl(int(k.real(epfd)), op, int(k.real(fd)), event)
}

func (k *kernelProcess) EpollWait(epfd int, events []unix.EpollEvent, msec int) (int, error) {
	return unix.EpollWait(int(k.real(epfd)), events, msec)
}
