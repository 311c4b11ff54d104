//go:build linux

package socket

import (
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// unixPathMax is the size of sun_path (unix(7)).
	unixPathMax = 108
	// pathsMax bounds the path names of a namespace, because they outlive their
	// sockets; a file system that is full says ENOSPC too.
	pathsMax = 1 << 16
	// autobindMask gives the five hexadecimal digits of an autobind name.
	autobindMask = 1<<20 - 1
)

// An abstractName is a name that begins with NUL. Each type of socket has names
// of its own (unix_abstract_hash).
type abstractName struct {
	typ  int
	name string
}

// A unixNames is the names of the unix sockets of a namespace. A path is a name
// like any other: there are no directories, and no file appears anywhere.
type unixNames struct {
	mu       sync.Mutex
	abstract map[abstractName]*unixSocket
	paths    map[string]*unixSocket // nil if the socket is closed: the name stays
	lastAuto uint32
}

// Unlink is unlink(2) for the path name of a unix socket: it removes the name,
// which on Linux outlives the socket. A socket that still has it keeps working
// but cannot be found, and the name can be bound again. ENOENT if there is no
// such name; abstract names go with their socket.
func (ns *Namespace) Unlink(path string) error {
	n := &ns.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.paths[path]; !ok {
		return unix.ENOENT
	}
	delete(n.paths, path)
	return nil
}

// bind gives a socket a name, or an abstract one of the table's choice if the
// name is empty.
func (n *unixNames) bind(s *unixSocket, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case name == "":
		return n.autobind(s)
	case name[0] == 0:
		return n.bindAbstract(s, name)
	}
	return n.bindPath(s, name)
}

func (n *unixNames) bindAbstract(s *unixSocket, name string) error {
	key := abstractName{s.typ, name}
	switch {
	case s.boundTo() != "":
		return unix.EINVAL
	case n.abstract[key] != nil:
		return unix.EADDRINUSE
	}
	if n.abstract == nil {
		n.abstract = map[abstractName]*unixSocket{}
	}
	n.abstract[key] = s
	s.boundName.Store(&name)
	return nil
}

// bindPath looks at the path before the socket, because Linux makes the file
// first (unix_bind_bsd).
func (n *unixNames) bindPath(s *unixSocket, path string) error {
	_, used := n.paths[path]
	switch {
	case used:
		return unix.EADDRINUSE
	case s.boundTo() != "":
		return unix.EINVAL
	case len(n.paths) >= pathsMax:
		return unix.ENOSPC
	}
	if n.paths == nil {
		n.paths = map[string]*unixSocket{}
	}
	n.paths[path] = s
	s.boundName.Store(&path)
	return nil
}

// autobind does nothing to a socket that has a name (unix_autobind).
func (n *unixNames) autobind(s *unixSocket) error {
	if s.boundTo() != "" {
		return nil
	}
	for range autobindMask + 1 {
		n.lastAuto = (n.lastAuto + 1) & autobindMask
		if n.bindAbstract(s, fmt.Sprintf("\x00%05x", n.lastAuto)) == nil {
			return nil
		}
	}
	return unix.ENOSPC
}

// release is told when a socket is closed.
func (n *unixNames) release(s *unixSocket) {
	name := s.boundTo()
	if name == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if key := (abstractName{s.typ, name}); n.abstract[key] == s { // an accepted socket only shows the name
		delete(n.abstract, key)
	}
	if n.paths[name] == s {
		n.paths[name] = nil
	}
}

// find returns the socket of a name, for a socket of a type: ENOENT if there is no
// such path, ECONNREFUSED if nobody has the name, EPROTOTYPE if the path is a
// socket's of another type.
func (n *unixNames) find(name string, typ int) (*unixSocket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name[0] == 0 {
		if s := n.abstract[abstractName{typ, name}]; s != nil {
			return s, nil
		}
		return nil, unix.ECONNREFUSED
	}
	s, ok := n.paths[name]
	switch {
	case !ok:
		return nil, unix.ENOENT
	case s == nil:
		return nil, unix.ECONNREFUSED
	case s.typ != typ:
		return nil, unix.EPROTOTYPE
	}
	return s, nil
}

// unixName reads an address as golang.org/x/sys/unix writes it for the kernel: "@"
// in front stands for NUL, and a path ends at a NUL. Anything but the address of a
// unix socket, and one that is too long, is EINVAL (unix_validate_addr).
func unixName(addr unix.Sockaddr) (string, error) {
	sa, ok := addr.(*unix.SockaddrUnix)
	if !ok || sa == nil || len(sa.Name) >= unixPathMax {
		return "", unix.EINVAL
	}
	switch {
	case sa.Name == "" || sa.Name[0] == 0:
		return sa.Name, nil
	case sa.Name[0] == '@':
		return "\x00" + sa.Name[1:], nil
	}
	path, _, _ := strings.Cut(sa.Name, "\x00")
	return path, nil
}

// unixPeerName is unixName for an address that must name a socket.
func unixPeerName(addr unix.Sockaddr) (string, error) {
	name, err := unixName(addr)
	if name == "" {
		return "", unix.EINVAL
	}
	return name, err
}

// unixAddress shows a name as golang.org/x/sys/unix reads it from the kernel: "@"
// in front for NUL, also alone for a socket without a name, and the end at the
// next NUL.
func unixAddress(name string) unix.Sockaddr {
	if name == "" || name[0] == 0 {
		rest, _, _ := strings.Cut(strings.TrimPrefix(name, "\x00"), "\x00")
		name = "@" + rest
	}
	return &unix.SockaddrUnix{Name: name}
}
