//go:build linux

package socket

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// syscalls is what Process and the kernel have in common.
type syscalls interface {
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
	Dup(fd int) (int, error)
	Fcntl(fd, cmd, arg int) (int, error)
	GetsockoptInt(fd, level, name int) (int, error)
	SetsockoptInt(fd, level, name, value int) error
	Sendmsg(fd int, iov [][]byte, oob []byte, to unix.Sockaddr, flags int) (int, error)
	Recvmsg(fd int, iov [][]byte, oob []byte, flags int) (n, oobn, recvflags int, from unix.Sockaddr, err error)
	Ioctl(fd int, request uint) (int, error)
	Poll(fds []unix.PollFd, timeout int) (int, error)
	Select(nfd int, r, w, e *unix.FdSet, timeout *unix.Timeval) (int, error)
	EpollCreate1(flags int) (int, error)
	EpollCtl(epfd, op, fd int, event *unix.EpollEvent) error
	EpollWait(epfd int, events []unix.EpollEvent, msec int) (int, error)
	Unlink(path string) error
}

// ours is a process and the names of its namespace.
type ours struct{ *Process }

func (o ours) Unlink(path string) error { return o.ns.Unlink(path) }

// kernel is the machine's own.
type kernel struct{}

func (kernel) Socket(domain, typ, protocol int) (int, error) {
	return unix.Socket(domain, typ, protocol)
}
func (kernel) Socketpair(domain, typ, protocol int) ([2]int, error) {
	return unix.Socketpair(domain, typ, protocol)
}
func (kernel) Bind(fd int, addr unix.Sockaddr) error { return unix.Bind(fd, addr) }
func (kernel) Listen(fd, backlog int) error          { return unix.Listen(fd, backlog) }
func (kernel) Accept4(fd, flags int) (int, unix.Sockaddr, error) {
	return unix.Accept4(fd, flags)
}
func (kernel) Connect(fd int, addr unix.Sockaddr) error {
	if _, ok := addr.(SockaddrUnspec); ok {
		unspec := unix.RawSockaddrUnix{Family: unix.AF_UNSPEC}
		return rawConnect(fd, &unspec)
	}
	return unix.Connect(fd, addr)
}
func (kernel) Getsockname(fd int) (unix.Sockaddr, error) { return unix.Getsockname(fd) }
func (kernel) Getpeername(fd int) (unix.Sockaddr, error) { return unix.Getpeername(fd) }
func (kernel) Shutdown(fd, how int) error                { return unix.Shutdown(fd, how) }
func (kernel) Close(fd int) error                        { return unix.Close(fd) }
func (kernel) Dup(fd int) (int, error)                   { return unix.Dup(fd) }
func (kernel) Fcntl(fd, cmd, arg int) (int, error) {
	return unix.FcntlInt(uintptr(fd), cmd, arg)
}
func (kernel) GetsockoptInt(fd, level, name int) (int, error) {
	return unix.GetsockoptInt(fd, level, name)
}
func (kernel) SetsockoptInt(fd, level, name, value int) error {
	return unix.SetsockoptInt(fd, level, name, value)
}
func (kernel) Sendmsg(fd int, iov [][]byte, oob []byte, to unix.Sockaddr, flags int) (int, error) {
	return unix.SendmsgBuffers(fd, iov, oob, to, flags|unix.MSG_NOSIGNAL)
}
func (kernel) Recvmsg(fd int, iov [][]byte, oob []byte, flags int) (n, oobn, recvflags int, from unix.Sockaddr, err error) {
	return unix.RecvmsgBuffers(fd, iov, oob, flags)
}
func (kernel) Ioctl(fd int, request uint) (int, error) { return unix.IoctlGetInt(fd, request) }

// again repeats a call that a signal has interrupted; the runtime sends them.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

func (kernel) Poll(fds []unix.PollFd, timeout int) (int, error) {
	return again(func() (int, error) { return unix.Poll(fds, timeout) })
}
func (kernel) Select(nfd int, r, w, e *unix.FdSet, timeout *unix.Timeval) (int, error) {
	// Package unix makes it a pselect6, which takes other timeouts and leaves none.
	set := func(s *unix.FdSet) *syscall.FdSet { return (*syscall.FdSet)(unsafe.Pointer(s)) }
	return again(func() (int, error) {
		return syscall.Select(nfd, set(r), set(w), set(e), (*syscall.Timeval)(unsafe.Pointer(timeout)))
	})
}
func (kernel) EpollCreate1(flags int) (int, error) { return unix.EpollCreate1(flags) }
func (kernel) EpollCtl(epfd, op, fd int, event *unix.EpollEvent) error {
	return unix.EpollCtl(epfd, op, fd, event)
}
func (kernel) EpollWait(epfd int, events []unix.EpollEvent, msec int) (int, error) {
	return again(func() (int, error) { return unix.EpollWait(epfd, events, msec) })
}
func (kernel) Unlink(path string) error { return unix.Unlink(path) }

// newTestStack returns a stack that sends into the void.
func newTestStack(t testing.TB) *stack.Stack {
	a, b := tun.Pipe(tun.PipeConfig{})
	b.Close()
	s, err := stack.New(stack.Config{Link: a, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// newTestProcess returns a process in a namespace of its own.
func newTestProcess(t testing.TB) *Process {
	p := NewNamespace(newTestStack(t)).Process(1 << 16)
	t.Cleanup(p.CloseAll)
	return p
}

// rawConnect is connect(2) with an address that package unix has no type for.
func rawConnect(fd int, addr *unix.RawSockaddrUnix) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(addr)), unix.SizeofSockaddrUnix)
	if errno != 0 {
		return errno
	}
	return nil
}

// A world is one of two in which the same calls are made; what they return is
// written down.
type world struct {
	syscalls
	t       require.TestingT
	dir     string // in front of every path
	mark    string // in front of every abstract name
	handles map[string]int
	order   []string
	log     strings.Builder
}

func newWorlds(t require.TestingT, s *stack.Stack) (linux, own *world) {
	dir, err := os.MkdirTemp("", "u")
	require.NoError(t, err)
	linux = &world{syscalls: kernel{}, t: t, dir: dir + "/", mark: filepath.Base(dir), handles: map[string]int{}}
	own = &world{syscalls: ours{NewNamespace(s).Process(1 << 16)}, t: t, handles: map[string]int{}}
	return linux, own
}

func (w *world) end() {
	for _, fd := range w.handles {
		w.Close(fd)
	}
	if w.dir != "" {
		os.RemoveAll(w.dir)
	}
}

var autobound = regexp.MustCompile(`^@[0-9a-f]{5}$`)

// addr is the world's address for a name of a script; "-" is none and "unspec" an
// AF_UNSPEC one.
func (w *world) addr(name string) unix.Sockaddr {
	switch {
	case name == "-":
		return nil
	case name == "unspec":
		return SockaddrUnspec{}
	case name == "inet":
		return &unix.SockaddrInet4{}
	case strings.HasPrefix(name, "@"):
		name = "@" + w.mark + name[1:]
	case strings.HasPrefix(name, "/"):
		name = w.dir + name[1:]
	}
	return &unix.SockaddrUnix{Name: name}
}

func (w *world) show(addr unix.Sockaddr) string {
	sa, ok := addr.(*unix.SockaddrUnix)
	switch {
	case addr == nil:
		return "none"
	case !ok:
		return fmt.Sprintf("%T", addr)
	case autobound.MatchString(sa.Name):
		return "autobound"
	case w.mark != "" && strings.HasPrefix(sa.Name, "@"+w.mark):
		return "@" + sa.Name[1+len(w.mark):]
	case w.dir != "" && strings.HasPrefix(sa.Name, w.dir):
		return "/" + sa.Name[len(w.dir):]
	case w.dir == "" && sa.Name != "" && sa.Name[0] != '@':
		return "/" + sa.Name
	}
	return sa.Name
}

func (w *world) note(format string, args ...any) { fmt.Fprintf(&w.log, format+"\n", args...) }

func errnoName(err error) string {
	if err == nil {
		return "ok"
	}
	return unix.ErrnoName(err.(unix.Errno))
}

func (w *world) add(h string, fd int) {
	w.handles[h] = fd
	w.order = append(w.order, h)
}

// fd is the descriptor of a handle, or one that is none.
func (w *world) fd(h string) int {
	if fd, ok := w.handles[h]; ok {
		return fd
	}
	return -1
}

func (w *world) socket(h string, typ int) {
	fd, err := w.Socket(unix.AF_UNIX, typ|unix.SOCK_NONBLOCK, 0)
	w.note("%s = socket(%d): %s", h, typ, errnoName(err))
	if err == nil {
		w.add(h, fd)
	}
}

func (w *world) pair(a, b string, typ int) {
	fds, err := w.Socketpair(unix.AF_UNIX, typ|unix.SOCK_NONBLOCK, 0)
	w.note("%s, %s = socketpair(%d): %s", a, b, typ, errnoName(err))
	if err == nil {
		w.add(a, fds[0])
		w.add(b, fds[1])
	}
}

func (w *world) bind(h, name string) {
	w.note("bind(%s, %q): %s", h, name, errnoName(w.Bind(w.fd(h), w.addr(name))))
}

func (w *world) listen(h string, backlog int) {
	w.note("listen(%s, %d): %s", h, backlog, errnoName(w.Listen(w.fd(h), backlog)))
}

func (w *world) connect(h, name string) {
	w.note("connect(%s, %q): %s", h, name, errnoName(w.Connect(w.fd(h), w.addr(name))))
}

func (w *world) accept(h, listener string) {
	fd, addr, err := w.Accept4(w.fd(listener), unix.SOCK_NONBLOCK)
	w.note("%s = accept(%s): %s %s", h, listener, w.show(addr), errnoName(err))
	if err == nil {
		w.add(h, fd)
	}
}

func (w *world) names(h string) {
	name, err := w.Getsockname(w.fd(h))
	w.note("getsockname(%s): %s %s", h, w.show(name), errnoName(err))
	name, err = w.Getpeername(w.fd(h))
	w.note("getpeername(%s): %s %s", h, w.show(name), errnoName(err))
}

func (w *world) send(h, data, to string, flags int) {
	w.sendIov(h, [][]byte{[]byte(data)}, to, flags)
}

func (w *world) sendIov(h string, iov [][]byte, to string, flags int) {
	size := 0
	for _, b := range iov {
		size += len(b)
	}
	n, err := w.Sendmsg(w.fd(h), iov, nil, w.addr(to), flags)
	if err != nil {
		n = 0
	}
	w.note("send(%s, %d bytes, %q, %#x): %d %s", h, size, to, flags, n, errnoName(err))
}

func (w *world) recv(h string, size, flags int) {
	b := make([]byte, size)
	n, oobn, recvflags, from, err := w.Recvmsg(w.fd(h), [][]byte{b}, nil, flags)
	if err != nil {
		n, recvflags, from = 0, 0, nil
	}
	shown := b[:min(n, size)]
	if len(shown) > 40 {
		shown = append(append([]byte{}, shown[:20]...), shown[len(shown)-20:]...)
	}
	w.note("recv(%s, %d, %#x): %d %q %d %#x %s %s", h, size, flags, n, shown, oobn, recvflags&^unix.MSG_CMSG_CLOEXEC, w.show(from), errnoName(err))
}

func (w *world) shutdown(h string, how int) {
	w.note("shutdown(%s, %d): %s", h, how, errnoName(w.Shutdown(w.fd(h), how)))
}

func (w *world) close(h string) {
	w.note("close(%s): %s", h, errnoName(w.Close(w.fd(h))))
	delete(w.handles, h)
}

func (w *world) unlink(path string) {
	name := w.addr(path).(*unix.SockaddrUnix).Name
	w.note("unlink(%q): %s", path, errnoName(w.Unlink(name)))
}

func (w *world) ioctl(h string, request uint) {
	n, err := w.Ioctl(w.fd(h), request)
	w.note("ioctl(%s, %#x): %d %s", h, request, n, errnoName(err))
}

func (w *world) option(h string, level, name int) {
	v, err := w.GetsockoptInt(w.fd(h), level, name)
	w.note("getsockopt(%s, %d, %d): %d %s", h, level, name, v, errnoName(err))
}

func (w *world) setOption(h string, level, name, value int) {
	w.note("setsockopt(%s, %d, %d, %d): %s", h, level, name, value, errnoName(w.SetsockoptInt(w.fd(h), level, name, value)))
}

// sendFiles sends a byte and control messages, with descriptors and with whatever
// else is given.
func (w *world) sendFiles(h string, more []byte, files ...string) {
	var fds []int
	for _, f := range files {
		fds = append(fds, w.fd(f))
	}
	oob := more
	if len(files) > 0 {
		oob = append(unix.UnixRights(fds...), more...)
	}
	n, err := w.Sendmsg(w.fd(h), [][]byte{{'x'}}, oob, nil, 0)
	w.note("sendmsg(%s) of %d descriptors and %d bytes: %d %s", h, len(files), len(more), max(n, 0), errnoName(err))
}

// recvFiles receives size bytes and what room there is for of control messages.
// Descriptors become handles: the name with a number.
func (w *world) recvFiles(h string, size, room, flags int, name string) {
	b, oob := make([]byte, size), make([]byte, room)
	n, oobn, recvflags, _, err := w.Recvmsg(w.fd(h), [][]byte{b}, oob, flags)
	w.note("recvmsg(%s, %d, room %d, %#x): %d %d %#x %s", h, size, room, flags, max(n, 0), oobn, recvflags&^unix.MSG_CMSG_CLOEXEC, errnoName(err))
	if err != nil {
		return
	}
	for len(oob[:oobn]) >= unix.SizeofCmsghdr {
		head := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		data := oob[unix.CmsgLen(0):min(int(head.Len), oobn)]
		switch head.Type {
		case unix.SCM_RIGHTS:
			for i := 0; len(data) >= 4; i++ {
				fd := int(binary.NativeEndian.Uint32(data))
				w.add(fmt.Sprintf("%s%d", name, i), fd)
				on, err := w.Fcntl(fd, unix.F_GETFD, 0)
				w.note("  descriptor, closed on exec: %d %s", on, errnoName(err))
				data = data[4:]
			}
		case unix.SCM_CREDENTIALS:
			c := *(*unix.Ucred)(unsafe.Pointer(&data[0]))
			w.note("  credentials, mine: %v", c == mine())
			if c.Pid == 0 {
				w.note("  none: %v", c)
			}
		}
		step := min(unix.CmsgSpace(int(head.Len)-unix.CmsgLen(0)), oobn)
		oob, oobn = oob[step:], oobn-step
	}
}

func mine() unix.Ucred {
	return unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
}

func (w *world) epoll(h string) {
	fd, err := w.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(w.t, err)
	w.add(h, fd)
}

func (w *world) dup(h, of string) {
	fd, err := w.Dup(w.fd(of))
	w.note("%s = dup(%s): %s", h, of, errnoName(err))
	if err == nil {
		w.add(h, fd)
	}
}

// ctl is epoll_ctl; the event carries the place of the handle in the order in which
// they were made.
func (w *world) ctl(ep string, op int, h string, events uint32) {
	event := &unix.EpollEvent{Events: events, Fd: int32(slices.Index(w.order, h))}
	w.note("epoll_ctl(%s, %d, %s, %#x): %s", ep, op, h, events, errnoName(w.EpollCtl(w.fd(ep), op, w.fd(h), event)))
}

func (w *world) wait(ep string, room int) {
	w.note("epoll_wait(%s, %d): %s", ep, room, w.events(ep, room))
}

func (w *world) waitUnordered(ep string, room int) {
	got := strings.Fields(w.events(ep, room))
	slices.Sort(got)
	w.note("epoll_wait(%s, %d): %s", ep, room, got)
}

func (w *world) events(ep string, room int) string {
	events := make([]unix.EpollEvent, room)
	n, err := w.EpollWait(w.fd(ep), events, 0)
	var got []string
	for _, e := range events[:max(n, 0)] {
		got = append(got, fmt.Sprintf("%s:%#x", w.order[e.Fd], e.Events))
	}
	return strings.Join(append(got, errnoName(err)), " ")
}

// poll shows what all handles are ready for.
func (w *world) poll(events int16) {
	var fds []unix.PollFd
	var handles []string
	for _, h := range w.order {
		if fd, ok := w.handles[h]; ok && !slices.Contains(handles, h) {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: events})
			handles = append(handles, h)
		}
	}
	n, err := w.Poll(fds, 0)
	var got []string
	for i, h := range handles {
		got = append(got, fmt.Sprintf("%s:%#x", h, fds[i].Revents))
	}
	w.note("poll(%#x): %d %s %s", events, n, got, errnoName(err))
}

// requireSameLog compares what two worlds have written down, and shows the first
// difference with what led to it.
func requireSameLog(t require.TestingT, linux, own *world) {
	want, got := strings.Split(linux.log.String(), "\n"), strings.Split(own.log.String(), "\n")
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			before := strings.Join(want[max(0, i-15):i], "\n")
			require.FailNow(t, "unlike the kernel", "%s\nkernel: %s\nours:   %s", before, want[i], got[i])
		}
	}
	require.Equal(t, len(want), len(got))
}
