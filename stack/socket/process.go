//go:build linux

package socket

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A descriptor is an entry of a descriptor table.
type descriptor struct {
	file        *file
	closeOnExec bool
}

// reserved stands for the file of a number that a call will give one later.
var reserved = new(file)

// A Process is a descriptor table and the calls that go through it. Descriptors
// are numbers from 0; a new one is the lowest that is free.
type Process struct {
	ns    *Namespace
	limit int
	cred  atomic.Pointer[unix.Ucred] // nil for those of the real process

	mu    sync.RWMutex
	table []descriptor
	// free is not above the lowest free number.
	free int
}

// Process returns an empty descriptor table that holds at most limit descriptors
// (RLIMIT_NOFILE, getrlimit(2)); a further one is EMFILE.
func (ns *Namespace) Process(limit int) *Process {
	return &Process{ns: ns, limit: limit}
}

// install gives a file the lowest free number that is not below least.
func (p *Process) install(f *file, least int, closeOnExec bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fd, err := p.reserveLocked(least)
	if err != nil {
		return -1, err
	}
	p.set(fd, descriptor{f, closeOnExec})
	return fd, nil
}

// reserve takes the lowest free number, for fill or unreserve.
func (p *Process) reserve() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reserveLocked(0)
}

func (p *Process) reserveLocked(least int) (int, error) {
	fd := max(least, p.free)
	for fd < len(p.table) && p.table[fd].file != nil {
		fd++
	}
	if fd >= p.limit {
		return -1, unix.EMFILE
	}
	for len(p.table) <= fd {
		p.table = append(p.table, descriptor{})
	}
	p.table[fd].file = reserved
	if least <= p.free {
		p.free = fd + 1
	}
	return fd, nil
}

// fill gives a reserved number to a file.
func (p *Process) fill(fd int, f *file, closeOnExec bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(fd, descriptor{f, closeOnExec})
}

// unreserve gives a reserved number back.
func (p *Process) unreserve(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table[fd] = descriptor{}
	p.free = min(p.free, fd)
}

// replace gives a number to a file, whatever it is now, and returns what it was
// if that was a file.
func (p *Process) replace(fd int, d descriptor) (old *file, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.table) <= fd {
		p.table = append(p.table, descriptor{})
	}
	old = p.table[fd].file
	if old == reserved {
		return nil, unix.EBUSY
	}
	p.set(fd, d)
	return old, nil
}

// set enters a descriptor; the lock is held.
func (p *Process) set(fd int, d descriptor) {
	d.file.refs.Add(1)
	p.table[fd] = d
}

func (p *Process) closeOnExec(fd int) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return fd < len(p.table) && p.table[fd].closeOnExec
}

func (p *Process) setCloseOnExec(fd int, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has(fd) {
		p.table[fd].closeOnExec = on
	}
}

// has reports whether a number is a descriptor; the lock is held.
func (p *Process) has(fd int) bool {
	return fd >= 0 && fd < len(p.table) && p.table[fd].file != nil && p.table[fd].file != reserved
}

// file returns what a descriptor refers to, or EBADF.
func (p *Process) file(fd int) (*file, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.has(fd) {
		return nil, unix.EBADF
	}
	return p.table[fd].file, nil
}

// held is file with a reference, which the caller closes.
func (p *Process) held(fd int) (*file, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.has(fd) {
		return nil, unix.EBADF
	}
	f := p.table[fd].file
	f.refs.Add(1) // not the first: the descriptor has one
	return f, nil
}

// sock returns the socket that a descriptor refers to, or EBADF or ENOTSOCK.
func (p *Process) sock(fd int) (*file, sock, error) {
	f, err := p.file(fd)
	if err != nil {
		return nil, nil, err
	}
	s, err := f.sock()
	return f, s, err
}

// Close is close(2): EBADF for a number that is no descriptor. The socket is
// closed with its last descriptor; calls that wait on it then fail with EBADF.
func (p *Process) Close(fd int) error {
	p.mu.Lock()
	if !p.has(fd) {
		p.mu.Unlock()
		return unix.EBADF
	}
	f := p.table[fd].file
	p.table[fd] = descriptor{}
	p.free = min(p.free, fd)
	p.mu.Unlock()
	f.close()
	return nil
}

// CloseAll closes every descriptor, as the end of a process does.
func (p *Process) CloseAll() {
	p.mu.Lock()
	table := p.table
	p.table, p.free = make([]descriptor, len(table)), 0
	for fd, d := range table {
		if d.file == reserved { // for the call that has reserved it to give back
			p.table[fd] = d
		}
	}
	p.mu.Unlock()
	for _, d := range table {
		if d.file != nil && d.file != reserved {
			d.file.drop()
		}
	}
}
