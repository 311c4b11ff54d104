//go:build linux

package packets

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// Calls are the system calls that scripts make. *socket.Process has them.
type Calls interface {
	Socket(domain, typ, protocol int) (int, error)
	Bind(fd int, addr unix.Sockaddr) error
	Listen(fd, backlog int) error
	Accept4(fd, flags int) (int, unix.Sockaddr, error)
	Connect(fd int, addr unix.Sockaddr) error
	Shutdown(fd, how int) error
	Close(fd int) error
	Getsockopt(fd, level, name int, value []byte) (int, error)
	Setsockopt(fd, level, name int, value []byte) error
	Read(fd int, b []byte) (int, error)
	Write(fd int, b []byte) (int, error)
	Recv(fd int, b []byte, flags int) (int, error)
	Send(fd int, b []byte, flags int) (int, error)
	Ioctl(fd int, request uint) (int, error)
	Poll(fds []unix.PollFd, timeout int) (int, error)
}

// A callDef is a call that scripts can make.
type callDef struct {
	arguments []valueKind
	// waits says that it may wait.
	waits bool
	// make makes the call; d is the descriptor that it is for, if any. An error that is no errno says what else is wrong
	// with what the call has done.
	make func(p *player, d *descriptor, a []value) (int, error)
}

// calls are the calls by name; it is filled below, since the parser looks into it.
var calls map[string]callDef

func init() {
	calls = map[string]callDef{
		"socket":     {[]valueKind{anything, number, number}, false, makeSocket},
		"bind":       {[]valueKind{onDescriptor, anything, anything}, false, makeBind},
		"listen":     {[]valueKind{onDescriptor, number}, false, makeListen},
		"accept":     {[]valueKind{onDescriptor, anything, anything}, true, makeAccept},
		"connect":    {[]valueKind{onDescriptor, anything, anything}, true, makeConnect},
		"shutdown":   {[]valueKind{onDescriptor, number}, false, makeShutdown},
		"close":      {[]valueKind{onDescriptor}, false, makeClose},
		"getsockopt": {[]valueKind{onDescriptor, number, number, contents, length}, false, makeGetsockopt},
		"setsockopt": {[]valueKind{onDescriptor, number, number, contents, number}, false, makeSetsockopt},
		"read":       {[]valueKind{onDescriptor, anything, number}, true, makeRead},
		"write":      {[]valueKind{onDescriptor, anything, number}, false, makeWrite},
		"recv":       {[]valueKind{onDescriptor, anything, number, number}, true, makeRecv},
		"send":       {[]valueKind{onDescriptor, anything, number, number}, false, makeSend},
		"ioctl":      {[]valueKind{onDescriptor, number, length}, false, makeIoctl},
		"poll":       {[]valueKind{pollSet, number, number}, false, makePoll},
		"fcntl":      {[]valueKind{onDescriptor, number, number}, false, makeFcntl},
	}
}

// A descriptor is one of the script's.
type descriptor struct {
	fd int // the machine's
	// nonblocking is what the script believes; really all are.
	nonblocking bool
	// read and written are the relative sequence numbers of what the program
	// reads and writes next; 0 before the first.
	read, written uint32
}

// mostBytes bounds what one call reads or writes.
const mostBytes = 1 << 24

func size(v value) (int, error) {
	if v.number < 0 || v.number > mostBytes {
		return 0, fmt.Errorf("%d bytes are not between 0 and %d", v.number, mostBytes)
	}
	return v.number, nil
}

func makeSocket(p *player, _ *descriptor, a []value) (int, error) {
	domain := unix.AF_INET
	if p.flow.version() == 6 {
		domain = unix.AF_INET6
	}
	fd, err := p.m.Socket(domain, a[1].number|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, a[2].number)
	if err != nil {
		return -1, err
	}
	p.descriptors[none] = &descriptor{fd: fd}
	return 0, nil
}

func makeBind(p *player, d *descriptor, a []value) (int, error) {
	return 0, p.m.Bind(d.fd, sockaddr(p.bound))
}

func makeListen(p *player, d *descriptor, a []value) (int, error) {
	return 0, p.m.Listen(d.fd, a[1].number)
}

func makeAccept(p *player, d *descriptor, a []value) (int, error) {
	fd, _, err := p.m.Accept4(d.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, err
	}
	p.latest = &descriptor{fd: fd}
	p.descriptors[none] = p.latest
	return 0, nil
}

func makeConnect(p *player, d *descriptor, a []value) (int, error) {
	p.latest = d
	p.renew = true
	return 0, p.m.Connect(d.fd, sockaddr(p.flow.peer))
}

func makeShutdown(p *player, d *descriptor, a []value) (int, error) {
	return 0, p.m.Shutdown(d.fd, a[1].number)
}

func makeClose(p *player, d *descriptor, a []value) (int, error) {
	delete(p.descriptors, a[0].number)
	return 0, p.m.Close(d.fd)
}

func makeGetsockopt(p *player, d *descriptor, a []value) (int, error) {
	got := make([]byte, len(a[3].bytes))
	n, err := p.m.Getsockopt(d.fd, a[1].number, a[2].number, got)
	switch {
	case err != nil:
		return -1, err
	case n != a[4].number || !bytes.Equal(got, a[3].bytes):
		return 0, fmt.Errorf("it should give the bytes %x, of a length of %d, and gave %x, %d", a[3].bytes, a[4].number, got, n)
	}
	return 0, nil
}

func makeSetsockopt(p *player, d *descriptor, a []value) (int, error) {
	b := a[3].bytes
	return 0, p.m.Setsockopt(d.fd, a[1].number, a[2].number, b[:min(max(a[4].number, 0), len(b))])
}

func makeRead(p *player, d *descriptor, a []value) (int, error) {
	return receive(p, d, a, func(fd int, b []byte) (int, error) { return p.m.Read(fd, b) })
}

func makeRecv(p *player, d *descriptor, a []value) (int, error) {
	return receive(p, d, a, func(fd int, b []byte) (int, error) { return p.m.Recv(fd, b, a[3].number) })
}

// receive reads, and checks that what was read goes on where the last read ended.
func receive(p *player, d *descriptor, a []value, call func(fd int, b []byte) (int, error)) (int, error) {
	most, err := size(a[2])
	if err != nil {
		return -1, err
	}
	b := make([]byte, most)
	n, err := call(d.fd, b)
	if err != nil {
		return -1, err
	}
	if d.read == 0 {
		d.read = p.peerSYN + 1
	}
	if i := wrongByte(b[:n], d.read); i >= 0 {
		return n, fmt.Errorf("byte %d of what was read is not the one that the peer sent with the number %d", i, d.read+uint32(i))
	}
	d.read += uint32(n)
	return n, nil
}

func makeWrite(p *player, d *descriptor, a []value) (int, error) {
	return send(p, d, a, func(fd int, b []byte) (int, error) { return p.m.Write(fd, b) })
}

func makeSend(p *player, d *descriptor, a []value) (int, error) {
	return send(p, d, a, func(fd int, b []byte) (int, error) { return p.m.Send(fd, b, a[3].number|unix.MSG_NOSIGNAL) })
}

// send writes what goes on where the last write ended.
func send(p *player, d *descriptor, a []value, call func(fd int, b []byte) (int, error)) (int, error) {
	most, err := size(a[2])
	if err != nil {
		return -1, err
	}
	if d.written == 0 {
		d.written = p.stackSYN + 1
	}
	n, err := call(d.fd, pattern(d.written, most))
	if err != nil {
		return -1, err
	}
	d.written += uint32(n)
	return n, nil
}

func makeIoctl(p *player, d *descriptor, a []value) (int, error) {
	n, err := p.m.Ioctl(d.fd, uint(a[1].number))
	switch {
	case err != nil:
		return -1, err
	case n != a[2].number:
		return 0, fmt.Errorf("it should give %d, and gave %d", a[2].number, n)
	}
	return 0, nil
}

func makePoll(p *player, d *descriptor, a []value) (int, error) {
	fields := a[0].fields
	if a[1].number != 1 || a[2].number != 0 {
		return -1, fmt.Errorf("poll is of one descriptor, and waits for nothing: poll([...], 1, 0)")
	}
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: int16(fields["events"])}}
	n, err := p.m.Poll(fds, 0)
	switch {
	case err != nil:
		return -1, err
	case int(fds[0].Revents) != fields["revents"]:
		return n, fmt.Errorf("revents should be %#x, and is %#x", fields["revents"], fds[0].Revents)
	}
	return n, nil
}

func makeFcntl(p *player, d *descriptor, a []value) (int, error) {
	if a[1].number != unix.F_SETFL {
		return -1, fmt.Errorf("fcntl is F_SETFL only")
	}
	d.nonblocking = a[2].number&unix.O_NONBLOCK != 0
	return 0, nil
}
