//go:build linux

package socket

import (
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// defaultBuffer is net.core.rmem_default and wmem_default.
	defaultBuffer = 212992
	// datagramOverhead is what a datagram takes of the receive buffer beside its
	// data; a small one has a truesize of 768 bytes in Linux, so a buffer holds
	// about as many here as there.
	datagramOverhead = 768
)

// A datagram is what has arrived and was not read yet.
type datagram struct {
	pkt      *gstack.PacketBuffer
	from     netip.AddrPort
	to       netip.Addr
	nic      int32
	ttl, tos uint8
	at       time.Time
}

// A receiveQueue is the receiving half of a UDP socket. It has a lock of its own:
// netstack delivers with locks held that binding takes.
type receiveQueue struct {
	mu sync.Mutex
	// queue[head:] are the datagrams that wait.
	queue  []datagram
	head   int
	used   int // of the buffer, in bytes
	limit  int // SO_RCVBUF; full above it
	drops  uint32
	err    syscall.Errno // sk_err
	shut   int           // bits of shutdownMask
	closed bool
}

// HandlePacket implements gstack.TransportEndpoint.
func (u *udpSocket) HandlePacket(id gstack.TransportEndpointID, pkt *gstack.PacketBuffer) {
	h := header.UDP(pkt.TransportHeader().Slice())
	ip := pkt.Network()
	stats := u.net.Stats().UDP
	lengthValid, checksumValid := header.UDPValid(h,
		func() uint16 { return pkt.Data().Checksum() }, uint16(pkt.Data().Size()),
		pkt.NetworkProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), pkt.RXChecksumValidated)
	switch {
	case !lengthValid:
		stats.MalformedPacketsReceived.Increment()
		return
	case !checksumValid:
		stats.ChecksumErrors.Increment()
		return
	}
	d := datagram{
		from: netip.AddrPortFrom(fromAddress(id.RemoteAddress), h.SourcePort()),
		to:   fromAddress(ip.DestinationAddress()),
		nic:  int32(pkt.NICID),
		at:   u.ns.clock.Now(),
	}
	d.tos, _ = ip.TOS()
	if pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		d.ttl = header.IPv4(pkt.NetworkHeader().Slice()).TTL()
	} else {
		d.ttl = header.IPv6(pkt.NetworkHeader().Slice()).HopLimit()
	}
	d.pkt = pkt.Clone() // reading takes the data off
	d.pkt.Data().CapLength(int(h.Length()) - header.UDPMinimumSize)
	if !u.receiving.push(d) {
		d.pkt.DecRef()
		stats.ReceiveBufferErrors.Increment()
		return
	}
	stats.PacketsReceived.Increment()
	u.Notify(waiter.ReadableEvents)
}

// HandleError implements gstack.TransportEndpoint. Of what ICMP reports a
// connected socket hears what is final; the rest is for IP_RECVERR
// (icmp_err_convert, __udp4_lib_err).
func (u *udpSocket) HandleError(report gstack.TransportError, _ *gstack.PacketBuffer) {
	if !u.connected.Load() {
		return
	}
	switch report.Kind() {
	case gstack.DestinationPortUnreachableTransportError:
		u.receiving.fail(unix.ECONNREFUSED)
	case gstack.DestinationProtoUnreachableTransportError:
		u.receiving.fail(unix.ENOPROTOOPT)
	default:
		return
	}
	u.Notify(waiter.EventErr | waiter.ReadableEvents | waiter.WritableEvents)
}

// receive follows udp_recvmsg: an error comes before data.
func (u *udpSocket) receive(m *message, flags int) (int, error) {
	if flags&unix.MSG_ERRQUEUE != 0 {
		return 0, unix.EAGAIN // nothing is ever queued there without IP_RECVERR
	}
	q := &u.receiving
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.err; err != 0 {
		q.err = 0
		return 0, err
	}
	if q.empty() {
		return 0, unix.EAGAIN
	}
	d := q.queue[q.head]
	size, room := d.pkt.Data().Size(), m.len()
	d.pkt.Data().ReadTo(&scatter{m: m, offset: m.skip}, true)
	m.flags = 0
	n := size
	if size > room {
		m.flags |= unix.MSG_TRUNC
		if flags&unix.MSG_TRUNC == 0 {
			n = room
		}
	}
	if m.wantsAddr {
		m.addr = sockaddrOf(u.domain, d.from)
	}
	u.describe(m, &d)
	if flags&unix.MSG_PEEK == 0 {
		q.pop()
		d.pkt.DecRef()
	}
	return n, nil
}

// scatter writes to the buffers of a message, from an offset on, and throws away
// what is too much.
type scatter struct {
	m      *message
	offset int
}

func (w *scatter) Write(b []byte) (int, error) {
	n := len(b)
	at := 0
	for _, to := range w.m.iov {
		if at += len(to); at > w.offset && len(b) > 0 {
			done := copy(to[len(to)-(at-w.offset):], b)
			w.offset += done
			b = b[done:]
		}
	}
	return n, nil
}

func (q *receiveQueue) push(d datagram) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.used > q.limit {
		q.drops++
		return false
	}
	q.used += d.pkt.Data().Size() + datagramOverhead
	if len(q.queue) == cap(q.queue) && q.head > len(q.queue)/2 {
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.head = q.queue[:n], 0
	}
	q.queue = append(q.queue, d)
	return true
}

func (q *receiveQueue) empty() bool { return q.head == len(q.queue) }

// pop forgets the first datagram. The lock is held.
func (q *receiveQueue) pop() {
	q.used -= q.queue[q.head].pkt.Data().Size() + datagramOverhead
	q.queue[q.head] = datagram{}
	q.head++
	if q.empty() {
		q.queue, q.head = q.queue[:0], 0
	}
}

// next returns the size of the first datagram, 0 if there is none.
func (q *receiveQueue) next() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.empty() {
		return 0
	}
	return q.queue[q.head].pkt.Data().Size()
}

func (q *receiveQueue) fail(err syscall.Errno) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

func (q *receiveQueue) takeError() syscall.Errno {
	q.mu.Lock()
	defer q.mu.Unlock()
	err := q.err
	q.err = 0
	return err
}

// The halves of a socket that shutdown closes, RCV_SHUTDOWN and SEND_SHUTDOWN.
const (
	shutReceive = 1 << iota
	shutSend
)

// shutdown notes what is closed; how is SHUT_RD, SHUT_WR or SHUT_RDWR.
func (q *receiveQueue) shutdown(how int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut |= how + 1
}

// sendable fails with the pending error, or with EPIPE after shutdown
// (sock_alloc_send_pskb).
func (q *receiveQueue) sendable() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.err; err != 0 {
		q.err = 0
		return err
	}
	if q.shut&shutSend != 0 {
		return unix.EPIPE
	}
	return nil
}

// readiness is the receiver's part of datagram_poll.
func (q *receiveQueue) readiness() waiter.EventMask {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ready waiter.EventMask
	if q.err != 0 {
		ready |= waiter.EventErr
	}
	if q.shut&shutReceive != 0 {
		ready |= waiter.EventRdHUp | waiter.ReadableEvents
	}
	if q.shut == shutReceive|shutSend || q.closed {
		ready |= waiter.EventHUp
	}
	if !q.empty() {
		ready |= waiter.ReadableEvents
	}
	return ready
}

func (q *receiveQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for !q.empty() {
		pkt := q.queue[q.head].pkt
		q.pop()
		pkt.DecRef()
	}
}
