//go:build linux

package socket

import (
	"math/bits"
	"sync"
)

// A unixMessage is what one send has put into the queue of its receiver; a long
// send on a stream makes several.
type unixMessage struct {
	next *unixMessage
	data []byte      // not received yet
	from *unixSocket // whose send buffer it counts in
	// charge is what it counts there.
	charge int
	ancillary
	space []byte // data's home
	pool  *sync.Pool
}

// A unixQueue is what a socket has not received yet, first in, first out. What it
// holds is bounded by the send buffers of those who sent it.
type unixQueue struct {
	head, tail *unixMessage
	count      int
	bytes      int
}

func (q *unixQueue) push(m *unixMessage) {
	if q.tail == nil {
		q.head = m
	} else {
		q.tail.next = m
	}
	q.tail = m
	q.count++
	q.bytes += len(m.data)
}

// pop takes the first message out; what is left of its data goes with it.
func (q *unixQueue) pop() *unixMessage {
	m := q.head
	q.head, m.next = m.next, nil
	if q.head == nil {
		q.tail = nil
	}
	q.count--
	q.bytes -= len(m.data)
	return m
}

// consume takes n bytes from the first message, which stays.
func (q *unixQueue) consume(n int) {
	q.head.data = q.head.data[n:]
	q.bytes -= n
}

// take empties the queue.
func (q *unixQueue) take() (all unixQueue) {
	all, *q = *q, unixQueue{}
	return all
}

// unixSpaces are the sizes of the buffers that are used again.
var unixSpaces = [...]int{256, 2 << 10, 8 << 10, 64 << 10}

var unixPools [len(unixSpaces)]sync.Pool

// newUnixMessage returns a message with room for size bytes.
func newUnixMessage(from *unixSocket, size, charge int) *unixMessage {
	var m *unixMessage
	for i, space := range unixSpaces {
		if size > space {
			continue
		}
		m, _ = unixPools[i].Get().(*unixMessage)
		if m == nil {
			m = &unixMessage{space: make([]byte, space), pool: &unixPools[i]}
		}
		break
	}
	if m == nil {
		m = &unixMessage{space: make([]byte, size)}
	}
	m.data, m.from, m.charge = m.space[:size], from, charge
	return m
}

// free ends a message and tells its sender that there is room again.
func (m *unixMessage) free() { m.giveBack().writeSpace() }

// giveBack gives back the memory of a message, and what it counts in the buffer of its
// sender, which it returns.
func (m *unixMessage) giveBack() *unixSocket {
	from, charge := m.from, m.charge
	m.drop()
	if m.pool != nil {
		*m = unixMessage{space: m.space, pool: m.pool}
		m.pool.Put(m)
	}
	from.sent.Add(-int64(charge))
	return from
}

// What a message costs on Linux 6.18 on amd64, as SIOCOUTQ shows it: the sk_buff
// and, in a block of the allocator, the first part of the data with
// skb_shared_info behind it; the other part is in pages.
const (
	skbSize       = 256
	skbSharedInfo = 320
	pageSize      = 4096
	// streamHead and datagramHead are what the first part holds of a long
	// message (SKB_MAX_HEAD, SKB_MAX_ALLOC), streamPages and datagramPages what
	// the pages hold (UNIX_SKB_FRAGS_SZ, MAX_SKB_FRAGS).
	streamHead    = pageSize - skbSharedInfo
	streamPages   = 32 << 10
	datagramHead  = 4*pageSize - skbSharedInfo
	datagramPages = 17 * pageSize
)

// streamCharge is what size bytes of a stream cost, at most streamHead+streamPages.
func streamCharge(size int) int {
	return skbCharge(size, min(size, pages(max(size-streamHead, 0))))
}

// datagramCharge is what a datagram of size bytes costs.
func datagramCharge(size int) int {
	return skbCharge(size, pages(min(max(size-datagramHead, 0), datagramPages)))
}

func skbCharge(size, paged int) int {
	block := size - paged + skbSharedInfo
	return skbSize + 1<<bits.Len(uint(block-1)) + pages(paged)
}

// pages rounds up to whole pages.
func pages(n int) int { return (n + pageSize - 1) &^ (pageSize - 1) }

// gather copies len(b) bytes of m's data to b, from the offset on.
func (m *message) gather(offset int, b []byte) {
	m.each(offset, func(piece []byte) bool {
		b = b[copy(b, piece):]
		return len(b) > 0
	})
}

// scatter copies b into m's buffers, from the offset on, and returns how much
// there was room for.
func (m *message) scatter(offset int, b []byte) (n int) {
	m.each(offset, func(piece []byte) bool {
		n += copy(piece, b[n:])
		return n < len(b)
	})
	return n
}

// each calls f with the buffers behind what is done and the offset, until it
// returns false.
func (m *message) each(offset int, f func([]byte) bool) {
	skip := m.skip + offset
	for _, b := range m.iov {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		if !f(b[skip:]) {
			return
		}
		skip = 0
	}
}

// receivedFrom notes the sender's address, if it is asked for and there is one.
func (m *message) receivedFrom(s *unixSocket) {
	if name := s.boundTo(); m.wantsAddr && name != "" {
		m.addr = unixAddress(name)
	}
}
