//go:build linux

package socket

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// iovLimit is UIO_MAXIOV, the buffers that one call takes.
const iovLimit = 1024

// msgCompat is MSG_CMSG_COMPAT, with which no program may mark its calls
// (__sys_sendmsg, __sys_recvmsg).
const msgCompat = 0x80000000

// Read is read(2): Recv without flags, except that it returns 0 at once if b is
// empty (sock_read_iter).
func (p *Process) Read(fd int, b []byte) (int, error) {
	f, s, err := p.stream(fd)
	if err != nil || len(b) == 0 {
		return 0, err
	}
	m := newMessage(b)
	defer m.free()
	return p.ns.receive(f, s, m, 0)
}

// Write is write(2).
func (p *Process) Write(fd int, b []byte) (int, error) {
	f, s, err := p.stream(fd)
	if err != nil {
		return 0, err
	}
	m := newMessage(b)
	defer m.free()
	return p.ns.send(f, s, m, 0)
}

// Readv is readv(2): EINVAL for more than 1024 buffers.
func (p *Process) Readv(fd int, iov [][]byte) (int, error) {
	f, s, err := p.stream(fd)
	if err != nil {
		return 0, err
	}
	m, err := newVector(iov, unix.EINVAL)
	if err != nil {
		return 0, err
	}
	defer m.free()
	if m.len() == 0 {
		return 0, nil
	}
	return p.ns.receive(f, s, m, 0)
}

// Writev is writev(2): EINVAL for more than 1024 buffers. Nothing happens if all
// are empty (vfs_writev), other than with Write.
func (p *Process) Writev(fd int, iov [][]byte) (int, error) {
	f, s, err := p.stream(fd)
	if err != nil {
		return 0, err
	}
	m, err := newVector(iov, unix.EINVAL)
	if err != nil {
		return 0, err
	}
	defer m.free()
	if m.len() == 0 {
		return 0, nil
	}
	return p.ns.send(f, s, m, 0)
}

// Recv is recv(2).
func (p *Process) Recv(fd int, b []byte, flags int) (int, error) {
	f, s, err := p.sock(fd)
	if err != nil {
		return 0, err
	}
	m := newMessage(b)
	defer m.free()
	return p.ns.receive(f, s, m, flags)
}

// Recvfrom is recvfrom(2); the address is nil where the kernel returns none, as
// for a connected stream.
func (p *Process) Recvfrom(fd int, b []byte, flags int) (int, unix.Sockaddr, error) {
	f, s, err := p.sock(fd)
	if err != nil {
		return 0, nil, err
	}
	m := newMessage(b)
	defer m.free()
	m.wantsAddr = true
	n, err := p.ns.receive(f, s, m, flags)
	return n, m.addr, err
}

// Recvmsg is recvmsg(2): n bytes of data in iov, oobn bytes of control messages in
// oob, and the flags that msg_flags returns. EMSGSIZE for more than 1024 buffers.
func (p *Process) Recvmsg(fd int, iov [][]byte, oob []byte, flags int) (n, oobn, recvflags int, from unix.Sockaddr, err error) {
	if flags&msgCompat != 0 {
		return 0, 0, 0, nil, unix.EINVAL
	}
	f, s, err := p.sock(fd)
	if err != nil {
		return 0, 0, 0, nil, err
	}
	m, err := newVector(iov, unix.EMSGSIZE)
	if err != nil {
		return 0, 0, 0, nil, err
	}
	defer m.free()
	m.control, m.process, m.wantsAddr = oob[:0:len(oob)], p, true
	n, err = p.ns.receive(f, s, m, flags)
	return n, len(m.control), m.flags | flags&unix.MSG_CMSG_CLOEXEC, m.addr, err
}

// Send is send(2).
func (p *Process) Send(fd int, b []byte, flags int) (int, error) {
	return p.Sendto(fd, b, flags, nil)
}

// Sendto is sendto(2); to is nil for a connected socket.
func (p *Process) Sendto(fd int, b []byte, flags int, to unix.Sockaddr) (int, error) {
	f, s, err := p.sock(fd)
	if err != nil {
		return 0, err
	}
	if err := checkAddress(to); err != nil {
		return 0, err
	}
	m := newMessage(b)
	defer m.free()
	m.addr = to
	return p.ns.send(f, s, m, flags)
}

// Sendmsg is sendmsg(2): EMSGSIZE for more than 1024 buffers.
func (p *Process) Sendmsg(fd int, iov [][]byte, oob []byte, to unix.Sockaddr, flags int) (int, error) {
	if flags&msgCompat != 0 {
		return 0, unix.EINVAL
	}
	f, s, err := p.sock(fd)
	if err != nil {
		return 0, err
	}
	m, err := newVector(iov, unix.EMSGSIZE)
	if err != nil {
		return 0, err
	}
	defer m.free()
	m.addr, m.control, m.process = to, oob, p
	return p.ns.send(f, s, m, flags)
}

// stream is sock for read(2) and write(2), which other files have too: EINVAL
// for one that has neither, such as an epoll instance.
func (p *Process) stream(fd int) (*file, sock, error) {
	f, s, err := p.sock(fd)
	if err == unix.ENOTSOCK {
		err = unix.EINVAL
	}
	return f, s, err
}

// receive fills m, waiting for data if the file blocks.
func (ns *Namespace) receive(f *file, s sock, m *message, flags int) (int, error) {
	_, typ, _ := s.kind()
	target := 1 // bytes to wait for
	if flags&unix.MSG_WAITALL != 0 && typ == unix.SOCK_STREAM {
		target = m.len()
	} else if t, ok := s.(*tcpSocket); ok {
		target = min(t.lowWater(), m.len())
	}
	timeout, waits := f.waits(&f.receiveTimeout, flags)
	if flags&unix.MSG_ERRQUEUE != 0 { // never waits (inet_recv_error)
		waits = false
	}
	total := 0
	try := func() error {
		for {
			// Seen before the data: what ends the stream comes behind it.
			ended := target > 1 && s.Readiness(waiter.EventRdHUp)&(waiter.EventRdHUp|waiter.EventHUp|waiter.EventErr) != 0
			n, err := s.receive(m, flags)
			if err == unix.EAGAIN && waits && typ == unix.SOCK_DGRAM && s.Readiness(waiter.EventRdHUp)&waiter.EventRdHUp != 0 {
				return nil // __skb_wait_for_more_packets; a call that does not wait fails
			}
			if err != nil {
				return err
			}
			if flags&unix.MSG_PEEK != 0 {
				total = n
				if n > 0 && n < target && !ended && waits {
					return unix.EAGAIN
				}
				return nil
			}
			m.skip += n
			total += n
			if n == 0 || total >= target {
				return nil
			}
		}
	}
	err := ns.try(f, waiter.ReadableEvents|waiter.EventRdHUp, timeout, waits, try)
	if total > 0 {
		err = nil
	}
	return total, err
}

// send sends all of m, waiting for room if the file blocks; one that does not
// sends what there is room for.
func (ns *Namespace) send(f *file, s sock, m *message, flags int) (int, error) {
	timeout, waits := f.waits(&f.sendTimeout, flags)
	total := 0
	try := func() error {
		for {
			n, err := s.send(m, flags)
			if err != nil {
				return err
			}
			m.skip += n
			total += n
			if n == 0 || m.len() <= 0 {
				return nil
			}
		}
	}
	err := ns.try(f, waiter.WritableEvents, timeout, waits, try)
	if total > 0 {
		err = nil
	}
	return total, err
}

// waits returns how long a call on the file may wait, 0 for ever, and whether it
// may wait at all.
func (f *file) waits(timeout *atomic.Int64, flags int) (time.Duration, bool) {
	t := time.Duration(timeout.Load())
	return t, t >= 0 && flags&unix.MSG_DONTWAIT == 0 && !f.nonblock.Load()
}

// try calls a function that fails with EAGAIN instead of waiting, once or until
// it has something else to say.
func (ns *Namespace) try(f *file, events waiter.EventMask, timeout time.Duration, waits bool, try func() error) error {
	if !waits {
		return try()
	}
	return ns.wait(f, events, timeout, try)
}
