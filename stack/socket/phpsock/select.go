//go:build linux

package phpsock

import (
	"golang.org/x/sys/unix"
)

// Select is socket_select: it waits until one of the sockets is ready, at most sec
// seconds and usec microseconds (a nil sec is for ever), and leaves in the arrays
// those that are. An array may be nil. It returns how many there are.
func (s *Sockets) Select(read, write, except *[]*Socket, sec *int, usec ...int) (int, bool) {
	arrays := [3]*[]*Socket{read, write, except}
	var sets [3]unix.FdSet
	limit, any := 0, false
	for i, array := range arrays {
		if array == nil {
			continue
		}
		for _, sock := range *array {
			if !s.valid(sock, "select") {
				return 0, false
			}
			sets[i].Set(sock.fd)
			limit, any = max(limit, sock.fd+1), true
		}
	}
	if !any {
		s.warn("select", "no resource arrays were passed to select")
		return 0, false
	}
	var timeout *unix.Timeval
	if sec != nil {
		// As PHP does, because some systems want less than a second of usec.
		tv := unix.NsecToTimeval((int64(*sec)*1e6 + int64(option(usec, 0))) * 1e3)
		timeout = &tv
	}
	n, err := s.p.Select(limit, &sets[0], &sets[1], &sets[2], timeout)
	if err != nil {
		s.fail(nil, "select", "unable to select", err)
		return 0, false
	}
	for i, array := range arrays {
		if array == nil {
			continue
		}
		ready := []*Socket{}
		for _, sock := range *array {
			if sets[i].IsSet(sock.fd) {
				ready = append(ready, sock)
			}
		}
		*array = ready
	}
	return n, true
}
