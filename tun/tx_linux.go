package tun

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// WritePackets hands packets to the kernel, each with one system call that
// takes it whole or not at all. What the kernel does not take is dropped
// and counted, as on a wire: the error is nil unless the link is closed or
// its device gone.
func (l *Link) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	l.wmu.RLock()
	defer l.wmu.RUnlock()
	if l.wclosed {
		return 0, &tcpip.ErrClosedForSend{}
	}
	tx := txPool.Get().(*txScratch)
	defer txPool.Put(tx)
	for i, pkt := range pkts.AsSlice() {
		switch errno := l.write(tx, pkt); errno {
		case 0:
			l.stats.txPackets.Add(1)
			l.stats.txBytes.Add(uint64(pkt.Size()))
		case unix.EIO:
			// tun_get_user: the device exists but is not up. It may be
			// brought up again.
			l.stats.txDown.Add(1)
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			l.stats.txBusy.Add(1)
		case unix.EBADFD, unix.EPIPE, unix.ECONNRESET:
			// The device was deleted; of the others a socket that stands
			// in for it speaks.
			l.fail(&writeError{errno})
			return i, &tcpip.ErrClosedForSend{}
		default:
			l.stats.txInvalid.Add(1)
		}
	}
	return pkts.Len(), nil
}

// txScratch is what one writer needs for the time of a system call. It is
// pooled because the kernel's view of it defeats escape analysis.
type txScratch struct {
	vnet [virtioHeaderLen]byte
	iovs []unix.Iovec // empty between packets
}

// add appends b, if there is any of it.
func (tx *txScratch) add(b []byte) {
	if len(b) > 0 {
		v := unix.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		tx.iovs = append(tx.iovs, v)
	}
}

// reset forgets the packet's memory, so that the pool does not hold it.
func (tx *txScratch) reset() {
	clear(tx.iovs)
	tx.iovs = tx.iovs[:0]
}

var txPool = sync.Pool{New: func() any {
	// A segment of 64 KiB that was written in large pieces has fewer views.
	return &txScratch{iovs: make([]unix.Iovec, 0, 16)}
}}

// maxIovecs is UIO_MAXIOV, the kernel's limit for writev.
const maxIovecs = 1024

// write hands one packet to the kernel.
func (l *Link) write(tx *txScratch, pkt *gstack.PacketBuffer) unix.Errno {
	defer tx.reset()
	if l.offload {
		// A packet that is complete as it is has a header of zeros.
		var h virtioHeader
		if pkt.GSOOptions.Type != gstack.GSONone {
			var ok bool
			h, ok = virtioFor(pkt.GSOOptions, len(pkt.NetworkHeader().Slice()),
				pkt.HeaderSize(), pkt.Data().Size())
			if !ok {
				return unix.EINVAL
			}
		}
		h.encode(&tx.vnet)
		tx.add(tx.vnet[:])
	}

	views, skip := pkt.AsViewList()
	if views.Len() > maxIovecs-1 {
		flat := pkt.ToView()
		defer flat.Release()
		tx.add(flat.AsSlice())
	} else {
		// skip is the unused head room: whole views of it, then a part.
		for v := views.Front(); v != nil; v = v.Next() {
			b := v.AsSlice()
			if skip >= len(b) {
				skip -= len(b)
				continue
			}
			tx.add(b[skip:])
			skip = 0
		}
	}
	if len(tx.iovs) == 0 {
		return unix.EINVAL
	}
	// Non-blocking, but the kernel may run all of its receive path in here,
	// and the receiving socket's wake-up.
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(l.fd),
		uintptr(unsafe.Pointer(&tx.iovs[0])), uintptr(len(tx.iovs)))
	return errno
}

// writeError is a failure that WritePackets met.
type writeError struct{ errno unix.Errno }

func (e *writeError) Error() string { return "writev: " + e.errno.Error() }
func (e *writeError) Unwrap() error { return e.errno }
