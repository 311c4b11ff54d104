//go:build linux

package socket

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// rightsMax is how many descriptors one message carries (SCM_MAX_FD).
	rightsMax = 253
	// overflowID stands for a user or group that a message does not tell.
	overflowID = 65534
)

// Credentials returns what sockets of the process show of it: SO_PEERCRED and
// SCM_CREDENTIALS. They are those of the real process until SetCredentials is
// called.
func (p *Process) Credentials() unix.Ucred { return p.credentials() }

// SetCredentials changes what sockets of the process show of it from now on.
func (p *Process) SetCredentials(c unix.Ucred) { p.cred.Store(&c) }

// credentials is Credentials, also for a socket that no process has made.
func (p *Process) credentials() unix.Ucred {
	if p != nil {
		if c := p.cred.Load(); c != nil {
			return *c
		}
	}
	return unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
}

// An ancillary is what goes with the data of a message: who sent it, and open
// files (SCM_CREDENTIALS, SCM_RIGHTS). Linux collects sockets that are under way
// to themselves; here they stay, but no process has more files under way than it
// may have open.
type ancillary struct {
	cred  unix.Ucred // Pid 0 if the message does not tell
	files []*file
	ns    *Namespace // which counts the files
}

// newAncillary reads the control messages of a send (__scm_send): EINVAL for bad
// ones, EBADF for descriptors that are none, EPERM for credentials of somebody
// else unless the user is 0, ETOOMANYREFS for more files under way than the
// process may have open.
func newAncillary(m *message) (a ancillary, err error) {
	if len(m.control) == 0 {
		return a, nil
	}
	p := m.process
	a.ns = p.ns
	err = eachControl(m.control, func(level, typ int, data []byte) error {
		switch {
		case level != unix.SOL_SOCKET:
			return nil
		case typ == unix.SCM_RIGHTS:
			return a.addFiles(p, data)
		case typ == unix.SCM_CREDENTIALS:
			return a.setCredentials(p.credentials(), data)
		}
		return unix.EINVAL
	})
	if err != nil {
		a.drop()
	}
	return a, err
}

func (a *ancillary) addFiles(p *Process, fds []byte) error {
	if len(fds)/4+len(a.files) > rightsMax {
		return unix.EINVAL
	}
	for ; len(fds) >= 4; fds = fds[4:] {
		f, err := p.file(int(int32(binary.NativeEndian.Uint32(fds))))
		switch {
		case err != nil:
			return err
		case p.ns.filesUnderWay.Load() >= int64(p.limit):
			return unix.ETOOMANYREFS
		case !f.hold():
			return unix.EBADF
		}
		a.add(f)
	}
	return nil
}

// add takes over a reference to a file.
func (a *ancillary) add(f *file) {
	a.ns.filesUnderWay.Add(1)
	a.files = append(a.files, f)
}

func (a *ancillary) setCredentials(own unix.Ucred, data []byte) error {
	var c unix.Ucred
	if len(data) != unix.SizeofUcred {
		return unix.EINVAL
	}
	if err := structValue(&c, data); err != nil {
		return err
	}
	if c != own && own.Uid != 0 {
		return unix.EPERM
	}
	a.cred = c
	return nil
}

// credit tells who has sent a message, if either side wants to know it or the
// connection is not accepted yet (maybe_add_creds).
func (s *unixSocket) credit(msg *unixMessage, peer *unixSocket) {
	if msg.cred.Pid == 0 &&
		(s.options.passCredentials.Load() || peer.options.passCredentials.Load() || peer.options.embryo.Load()) {
		msg.cred = s.owner.credentials()
	}
}

// autobindForCredentials names a socket that tells who it is.
func (s *unixSocket) autobindForCredentials() error {
	if !s.options.passCredentials.Load() || s.boundTo() != "" {
		return nil
	}
	return s.ns.names.bind(s, "")
}

// takeFiles moves the files of a message.
func (a *ancillary) takeFiles(from *ancillary) {
	a.files, a.ns = from.files, from.ns
	from.files = nil
}

// copyFiles gives a the files of a message too, for MSG_PEEK.
func (a *ancillary) copyFiles(from *ancillary) {
	a.ns = from.ns
	for _, f := range from.files {
		if f.hold() {
			a.add(f)
		}
	}
}

// drop closes the files.
func (a *ancillary) drop() {
	files := a.files
	a.files = nil
	for _, f := range files {
		a.ns.filesUnderWay.Add(-1)
		f.drop()
	}
}

// deliver turns what came with a message into control messages of a receive
// (scm_recv_unix): credentials if the socket has asked for them, descriptors for
// as many files as there is room for.
func (a *ancillary) deliver(m *message, s *unixSocket, flags int) {
	if s.options.passCredentials.Load() {
		c := a.cred
		if c.Pid == 0 {
			c.Uid, c.Gid = overflowID, overflowID
		}
		m.put(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, structOption(&c))
	}
	if len(a.files) == 0 {
		return
	}
	defer a.drop()
	room := (cap(m.control) - len(m.control) - unix.SizeofCmsghdr) / 4
	var fds []byte
	for _, f := range a.files[:min(len(a.files), max(room, 0))] {
		fd, err := m.process.install(f, 0, flags&unix.MSG_CMSG_CLOEXEC != 0)
		if err != nil {
			break
		}
		fds = binary.NativeEndian.AppendUint32(fds, uint32(fd))
	}
	if len(fds) > 0 {
		m.put(unix.SOL_SOCKET, unix.SCM_RIGHTS, fds)
	}
	if len(fds)/4 < len(a.files) {
		m.flags |= unix.MSG_CTRUNC
	}
}
