//go:build linux

package socket

import "golang.org/x/sys/unix"

// Dup is dup(2).
func (p *Process) Dup(fd int) (int, error) { return p.dup(fd, 0, false) }

func (p *Process) dup(fd, least int, closeOnExec bool) (int, error) {
	f, err := p.held(fd)
	if err != nil {
		return -1, err
	}
	defer f.close()
	return p.install(f, least, closeOnExec)
}

// Dup2 is dup2(2): nothing happens if both numbers are the same descriptor.
func (p *Process) Dup2(fd, to int) error {
	if fd == to {
		_, err := p.file(fd)
		return err
	}
	return p.Dup3(fd, to, 0)
}

// Dup3 is dup3(2): EINVAL for flags other than O_CLOEXEC and if both numbers are
// the same, EBADF for a number beyond the limit of the table, EBUSY for one that
// an accept under way has reserved. What to was is closed without a word.
func (p *Process) Dup3(fd, to, flags int) error {
	if flags&^unix.O_CLOEXEC != 0 || fd == to {
		return unix.EINVAL
	}
	if to < 0 || to >= p.limit {
		return unix.EBADF
	}
	f, err := p.held(fd)
	if err != nil {
		return err
	}
	defer f.close()
	old, err := p.replace(to, descriptor{f, flags&unix.O_CLOEXEC != 0})
	if old != nil {
		old.close()
	}
	return err
}

// Fcntl is fcntl(2) for F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD (FD_CLOEXEC),
// F_GETFL and F_SETFL (O_NONBLOCK; other flags are ignored). Other commands are
// EINVAL.
func (p *Process) Fcntl(fd, cmd, arg int) (int, error) {
	f, err := p.file(fd)
	if err != nil {
		return -1, err
	}
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		if arg < 0 || arg >= p.limit {
			return -1, unix.EINVAL
		}
		return p.dup(fd, arg, cmd == unix.F_DUPFD_CLOEXEC)
	case unix.F_GETFD:
		if p.closeOnExec(fd) {
			return unix.FD_CLOEXEC, nil
		}
		return 0, nil
	case unix.F_SETFD:
		p.setCloseOnExec(fd, arg&unix.FD_CLOEXEC != 0)
		return 0, nil
	case unix.F_GETFL:
		flags := unix.O_RDWR
		if f.nonblock.Load() {
			flags |= unix.O_NONBLOCK
		}
		return flags, nil
	case unix.F_SETFL:
		f.nonblock.Store(arg&unix.O_NONBLOCK != 0)
		return 0, nil
	}
	return -1, unix.EINVAL
}

// SetNonblock switches O_NONBLOCK on or off (ioctl FIONBIO).
func (p *Process) SetNonblock(fd int, on bool) error {
	f, err := p.file(fd)
	if err != nil {
		return err
	}
	f.nonblock.Store(on)
	return nil
}

// Ioctl is ioctl(2) for requests that return a number: FIONREAD (SIOCINQ), the
// bytes that can be read, and TIOCOUTQ (SIOCOUTQ), those that are not sent or not
// acknowledged. Other requests are ENOTTY.
func (p *Process) Ioctl(fd int, request uint) (int, error) {
	_, s, err := p.sock(fd)
	switch {
	case err == unix.ENOTSOCK:
		return 0, unix.EINVAL // ep_eventpoll_ioctl
	case err != nil:
		return 0, err
	case request != unix.TIOCINQ && request != unix.TIOCOUTQ:
		return 0, unix.ENOTTY
	}
	return s.ioctl(request)
}
