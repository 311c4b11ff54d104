package tun

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

var (
	_ gstack.LinkEndpoint = (*Link)(nil)
	_ gstack.GSOEndpoint  = (*Link)(nil)
)

// gsoMaxSize is the largest segment that netstack may build, headers
// included, in bytes. Netstack itself keeps 160 of them for headers, so the
// packet fits the 16-bit length of an IP header.
const gsoMaxSize = 65536

// Link is a TUN device as a netstack link endpoint. Create it with [Open].
// All methods are safe for concurrent use.
type Link struct {
	name    string
	offload bool
	file    *os.File // owns the descriptor
	conn    syscall.RawConn
	fd      int // of file, for writing; used under wmu only
	mtu     atomic.Uint32
	stats   counters

	// wmu guards fd against being closed, and perhaps reused, under a
	// writer. Writers share it: a write to a TUN device is atomic.
	wmu     sync.RWMutex
	wclosed bool

	mu     sync.Mutex
	rd     *reader // the last one started
	closed bool
	failed error

	done     chan struct{}
	doneOnce sync.Once
}

// newLink makes a link of an open, non-blocking descriptor, which it then
// owns. With offload each frame starts with a virtio header.
func newLink(file *os.File, name string, mtu int, offload bool) (*Link, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &Link{name: name, offload: offload, file: file, conn: conn, done: make(chan struct{})}
	if err := conn.Control(func(fd uintptr) { l.fd = int(fd) }); err != nil {
		return nil, err
	}
	l.mtu.Store(uint32(mtu))
	return l, nil
}

// Name returns the name of the kernel's network device.
func (l *Link) Name() string { return l.name }

// Offload reports whether segments of up to 64 KiB cross the device whole,
// with checksums left out.
func (l *Link) Offload() bool { return l.offload }

// Stats returns the counters. They are read one by one, not as one moment.
func (l *Link) Stats() Stats { return l.stats.snapshot() }

// Done is closed when the link has stopped for good: it was closed, or its
// device disappeared or failed. A loss is noticed by reading or writing, so
// not before Attach.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err returns nil until Done is closed. After that it returns the reason:
// an error that matches [net.ErrClosed] if Close came first, else one that
// names the device and wraps the errno (EBADFD: the device was deleted).
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failed != nil:
		return l.failed
	case l.closed:
		return fmt.Errorf("tun: %s: %w", l.name, net.ErrClosed)
	}
	return nil
}

// fail records why the device is of no more use. The first reason counts.
func (l *Link) fail(err error) {
	l.mu.Lock()
	if l.failed == nil && !l.closed {
		l.failed = fmt.Errorf("tun: %s: device is gone: %w", l.name, err)
	}
	l.mu.Unlock()
	l.doneOnce.Do(func() { close(l.done) })
}

// Attach implements [gstack.LinkEndpoint]. A dispatcher starts reading. With
// nil, no packet is delivered any more once the one in flight, if any, has
// been; Attach does not wait for that (netstack calls it with a lock held
// that the delivery may need), Wait does.
func (l *Link) Attach(d gstack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopReaderLocked()
	if d == nil || l.closed {
		return
	}
	prev := l.rd
	l.rd = &reader{l: l, d: d, done: make(chan struct{})}
	// Undo the poke of stopReaderLocked. An earlier reader that has not
	// woken yet sees its stop flag.
	l.file.SetReadDeadline(time.Time{})
	go l.rd.run(prev)
}

// stopReaderLocked tells the reader to end and wakes it if it is parked.
func (l *Link) stopReaderLocked() {
	if l.rd != nil && !l.rd.stop.Swap(true) {
		l.file.SetReadDeadline(time.Unix(1, 0))
	}
}

// IsAttached implements [gstack.LinkEndpoint].
func (l *Link) IsAttached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rd != nil && !l.rd.stop.Load()
}

// Wait implements [gstack.LinkEndpoint]: it returns when no reader is
// running, so after Attach(nil), Close or the loss of the device.
func (l *Link) Wait() {
	l.mu.Lock()
	rd := l.rd
	l.mu.Unlock()
	if rd != nil {
		<-rd.done
	}
}

// Close ends reading and writing and closes the descriptor, with which the
// device disappears from the host. When it returns, the reader has ended
// and the device is gone. Calling it again does nothing. It must not be
// called from within the delivery of a packet, which it waits for.
//
// It has no result because [gstack.LinkEndpoint] says so.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.stopReaderLocked()
	l.mu.Unlock()

	l.wmu.Lock()
	l.wclosed = true
	l.wmu.Unlock()

	l.file.Close() // waits for the reader to let go of the descriptor
	l.Wait()
	l.doneOnce.Do(func() { close(l.done) })
}

// SetOnCloseAction implements [gstack.LinkEndpoint]. The device goes with
// the descriptor, so there is nothing else to destroy and it does nothing.
func (l *Link) SetOnCloseAction(func()) {}

// MTU implements [gstack.LinkEndpoint], in bytes of IP packet.
func (l *Link) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements [gstack.LinkEndpoint]. It changes what netstack sends,
// not the device.
func (l *Link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// Capabilities implements [gstack.LinkEndpoint]. With offload every packet
// that is delivered has been vouched for by the kernel or verified here.
//
// Transmit checksum offload is never claimed: netstack would then compute
// none at all, also for packets that it does not mark for segmentation.
func (l *Link) Capabilities() gstack.LinkEndpointCapabilities {
	if l.offload {
		return gstack.CapabilityRXChecksumOffload
	}
	return gstack.CapabilityNone
}

// GSOMaxSize implements [gstack.GSOEndpoint], in bytes.
func (l *Link) GSOMaxSize() uint32 { return gsoMaxSize }

// SupportedGSO implements [gstack.GSOEndpoint].
func (l *Link) SupportedGSO() gstack.SupportedGSO {
	if l.offload {
		return gstack.HostGSOSupported
	}
	return gstack.GSONotSupported
}

// MaxHeaderLength implements [gstack.LinkEndpoint]: a TUN frame has no link
// header, and the virtio header is written from elsewhere.
func (l *Link) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements [gstack.LinkEndpoint]: there is none.
func (l *Link) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements [gstack.LinkEndpoint] and does nothing.
func (l *Link) SetLinkAddress(tcpip.LinkAddress) {}

// ARPHardwareType implements [gstack.LinkEndpoint].
func (l *Link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements [gstack.LinkEndpoint] and does nothing.
func (l *Link) AddHeader(*gstack.PacketBuffer) {}

// ParseHeader implements [gstack.LinkEndpoint]: there is nothing to parse.
func (l *Link) ParseHeader(*gstack.PacketBuffer) bool { return true }
