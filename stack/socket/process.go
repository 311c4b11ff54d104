//go:build linux

package socket

import (
	"sync"

	"golang.org/x/sys/unix"
)

// A descriptor is an entry of a descriptor table.
type descriptor struct {
	file        *file
	closeOnExec bool
}

// A Process is a descriptor table and the calls that go through it. Descriptors
// are numbers from 0; a new one is the lowest that is free.
type Process struct {
	ns    *Namespace
	limit int

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
	fd := max(least, p.free)
	for fd < len(p.table) && p.table[fd].file != nil {
		fd++
	}
	if fd >= p.limit {
		return -1, unix.EMFILE
	}
	p.set(fd, descriptor{f, closeOnExec})
	if least <= p.free {
		p.free = fd + 1
	}
	return fd, nil
}

// set enters a descriptor; the lock is held.
func (p *Process) set(fd int, d descriptor) {
	for len(p.table) <= fd {
		p.table = append(p.table, descriptor{})
	}
	d.file.refs.Add(1)
	p.table[fd] = d
}

// file returns what a descriptor refers to, or EBADF.
func (p *Process) file(fd int) (*file, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if fd < 0 || fd >= len(p.table) || p.table[fd].file == nil {
		return nil, unix.EBADF
	}
	return p.table[fd].file, nil
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
	if fd < 0 || fd >= len(p.table) || p.table[fd].file == nil {
		p.mu.Unlock()
		return unix.EBADF
	}
	f := p.table[fd].file
	p.table[fd] = descriptor{}
	p.free = min(p.free, fd)
	p.mu.Unlock()
	f.drop()
	return nil
}

// Dup is dup(2).
func (p *Process) Dup(fd int) (int, error) {
	f, err := p.file(fd)
	if err != nil {
		return -1, err
	}
	return p.install(f, 0, false)
}

// CloseAll closes every descriptor, as the end of a process does.
func (p *Process) CloseAll() {
	p.mu.Lock()
	table := p.table
	p.table, p.free = nil, 0
	p.mu.Unlock()
	for _, d := range table {
		if d.file != nil {
			d.file.drop()
		}
	}
}
