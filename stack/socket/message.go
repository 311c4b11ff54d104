//go:build linux

package socket

import (
	"sync"

	"golang.org/x/sys/unix"
)

// A message is the data of one receive or send.
type message struct {
	// iov is where data goes to or comes from; skip bytes of it are done. A
	// call that has done some already must leave an error of the socket
	// pending: it is for the next call.
	iov  [][]byte
	skip int
	// addr is the sender or the receiver; nil if there is none.
	addr unix.Sockaddr
	// control is the ancillary data: received up to its capacity, or to send.
	control []byte
	// flags are MSG_TRUNC, MSG_CTRUNC and the like of a receive.
	flags int

	// process is the caller of a sendmsg or recvmsg: its descriptors are meant.
	process *Process
	// wantsAddr says that the caller asks for the sender's address.
	wantsAddr bool
	// waited says that the call has come to EAGAIN before, hence that it waits.
	waited bool

	one    [1][]byte // the usual iov
	cursor cursor    // of TCP
}

var messages = sync.Pool{New: func() any { return new(message) }}

// newMessage returns a message with one buffer.
func newMessage(b []byte) *message {
	m := messages.Get().(*message)
	m.one[0] = b
	m.iov = m.one[:]
	return m
}

// newVector returns a message with several buffers, or an error if they are too
// many.
func newVector(iov [][]byte, tooMany error) (*message, error) {
	if len(iov) > iovLimit {
		return nil, tooMany
	}
	m := messages.Get().(*message)
	m.iov = iov
	return m, nil
}

// free ends the use of a message.
func (m *message) free() {
	*m = message{}
	messages.Put(m)
}

// len returns how many bytes are left of the data.
func (m *message) len() int {
	n := -m.skip
	for _, b := range m.iov {
		n += len(b)
	}
	return n
}
