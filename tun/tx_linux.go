package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// noOffload is the virtio header of a packet that is complete as it is.
var noOffload [virtioHeaderLen]byte

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
	for i, pkt := range pkts.AsSlice() {
		switch errno := l.write(pkt); errno {
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

// txViews is how many views a packet may have before they are gathered in
// the heap: a segment of 64 KiB that was written in large pieces has fewer.
const txViews = 14

// maxIovecs is UIO_MAXIOV, the kernel's limit for writev.
const maxIovecs = 1024

// write hands one packet to the kernel.
func (l *Link) write(pkt *gstack.PacketBuffer) unix.Errno {
	var vnet [virtioHeaderLen]byte
	var few [1 + txViews]unix.Iovec
	iovs := few[:0]
	if l.offload {
		first := unix.Iovec{Base: &noOffload[0]}
		if pkt.GSOOptions.Type != gstack.GSONone {
			h, ok := virtioFor(pkt.GSOOptions, len(pkt.NetworkHeader().Slice()),
				pkt.HeaderSize(), pkt.Data().Size())
			if !ok {
				return unix.EINVAL
			}
			h.encode(&vnet)
			first.Base = &vnet[0]
		}
		first.SetLen(virtioHeaderLen)
		iovs = append(iovs, first)
	}

	views, skip := pkt.AsViewList()
	if views.Len() > maxIovecs-1 {
		flat := pkt.ToView()
		defer flat.Release()
		iovs = appendIovec(iovs, flat.AsSlice())
	} else {
		// skip is the unused head room: whole views of it, then a part.
		for v := views.Front(); v != nil; v = v.Next() {
			b := v.AsSlice()
			if skip >= len(b) {
				skip -= len(b)
				continue
			}
			iovs = appendIovec(iovs, b[skip:])
			skip = 0
		}
	}
	if len(iovs) == 0 {
		return unix.EINVAL
	}
	// Non-blocking, but the kernel may run all of its receive path in here,
	// and the receiving socket's wake-up.
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(l.fd),
		uintptr(unsafe.Pointer(&iovs[0])), uintptr(len(iovs)))
	return errno
}

func appendIovec(iovs []unix.Iovec, b []byte) []unix.Iovec {
	if len(b) == 0 {
		return iovs
	}
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return append(iovs, v)
}

// writeError is a failure that WritePackets met.
type writeError struct{ errno unix.Errno }

func (e *writeError) Error() string { return "writev: " + e.errno.Error() }
func (e *writeError) Unwrap() error { return e.errno }
