package tun

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// fakeDevice is the far end of a socket pair that stands in for a TUN
// device: it keeps packet boundaries, as the device does.
type fakeDevice struct{ fd int }

// newFake returns a link over a fake device.
func newFake(t testing.TB, offload bool) (*Link, *fakeDevice) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	l, err := newLink(os.NewFile(uintptr(fds[0]), "fake"), "fake0", 1500, offload)
	if err != nil {
		t.Fatal(err)
	}
	d := &fakeDevice{fd: fds[1]}
	t.Cleanup(func() {
		l.Close()
		d.close()
	})
	return l, d
}

func (d *fakeDevice) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

func (d *fakeDevice) send(t testing.TB, parts ...[]byte) {
	t.Helper()
	if err := unix.Sendto(d.fd, bytes.Join(parts, nil), unix.MSG_NOSIGNAL, nil); err != nil {
		t.Fatal(err)
	}
}

// receive returns the next frame, or nil if there is none.
func (d *fakeDevice) receive() []byte {
	b := make([]byte, 1<<17)
	n, err := unix.Read(d.fd, b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// recorder is a dispatcher that keeps the bytes of what it is given.
type recorder struct {
	mu   sync.Mutex
	got  [][]byte
	note chan struct{} // one element per packet
	hold chan struct{} // if not nil, each delivery waits for an element
}

func newRecorder() *recorder { return &recorder{note: make(chan struct{}, 1<<16)} }

func (r *recorder) DeliverNetworkPacket(proto tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	v := pkt.ToView()
	defer v.Release()
	b := v.ToSlice()
	want := header.IPv4ProtocolNumber
	if len(b) > 0 && b[0]>>4 == 6 {
		want = header.IPv6ProtocolNumber
	}
	if proto != want {
		panic("wrong network protocol number")
	}
	r.mu.Lock()
	r.got = append(r.got, b)
	r.mu.Unlock()
	r.note <- struct{}{}
	if r.hold != nil {
		<-r.hold
	}
}

func (*recorder) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

// wait waits for n packets and returns all so far.
func (r *recorder) wait(t testing.TB, n int) [][]byte {
	t.Helper()
	for range n {
		select {
		case <-r.note:
		case <-time.After(5 * time.Second):
			t.Fatal("no packet after 5 s")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

func waitDone(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("not done after 5 s")
	}
}

var noVirtio = make([]byte, virtioHeaderLen)

func virtioBytes(h virtioHeader) []byte {
	var b [virtioHeaderLen]byte
	h.encode(&b)
	return b[:]
}

func TestReceiveSizes(t *testing.T) {
	for _, offload := range []bool{false, true} {
		l, dev := newFake(t, offload)
		r := newRecorder()
		l.Attach(r)
		// Around every boundary between views, and the largest there is.
		sizes := []int{0, 1, 65535 - 28}
		for sum, i := 0, 0; i < len(rxSizes)-1; i++ {
			sum += rxSizes[i]
			for off := -12; off <= 1; off++ {
				sizes = append(sizes, sum+off-28)
			}
		}
		for _, size := range sizes {
			want := ipPacket(4, udpProto, bytes.Repeat([]byte{0xa5}, size))
			if offload {
				dev.send(t, noVirtio, want)
			} else {
				dev.send(t, want)
			}
			if got := r.wait(t, 1); !bytes.Equal(got[len(got)-1], want) {
				t.Fatalf("offload %v, payload %d: arrived as %d bytes, or changed", offload, size, len(got[len(got)-1]))
			}
		}
		if st := l.Stats(); st.RxPackets != uint64(len(sizes)) {
			t.Errorf("%d packets counted, sent %d", st.RxPackets, len(sizes))
		}
	}
}

func TestReceiveDrops(t *testing.T) {
	l, dev := newFake(t, true)
	r := newRecorder()
	l.Attach(r)
	good := ipPacket(4, tcpProto, []byte("good"))
	gso := virtioHeader{flags: virtioNeedsCsum, gsoType: virtioGSOTCPv4, csumStart: 20, csumOffset: 16}
	dev.send(t, []byte{1})
	dev.send(t, noVirtio)
	dev.send(t, noVirtio, good[:10])
	dev.send(t, noVirtio, []byte{0xf0, 1, 2})
	dev.send(t, noVirtio, good[:len(good)-1])
	dev.send(t, virtioBytes(gso), good)
	dev.send(t, noVirtio, edit(good, func(b []byte) { b[len(b)-1]++ }))
	dev.send(t, noVirtio, good, []byte("trailer"))
	got := r.wait(t, 1)
	if len(got) != 1 || !bytes.Equal(got[0], good) {
		t.Errorf("got %q, want the good packet without its trailer", got)
	}
	want := Stats{
		RxPackets: 1, RxBytes: uint64(len(good)),
		RxDropShort: 3, RxDropVersion: 1, RxDropLength: 1, RxDropVirtio: 1, RxDropChecksum: 1,
	}
	if st := l.Stats(); st != want {
		t.Errorf("stats %+v, want %+v", st, want)
	}
}

// Without offload netstack verifies checksums, so the link lets them pass.
func TestReceivePlainLeavesChecksums(t *testing.T) {
	l, dev := newFake(t, false)
	if c := l.Capabilities(); c != gstack.CapabilityNone {
		t.Errorf("capabilities %b", c)
	}
	if l.SupportedGSO() != gstack.GSONotSupported {
		t.Error("segmentation offload claimed")
	}
	r := newRecorder()
	l.Attach(r)
	bad := edit(ipPacket(4, tcpProto, []byte("bad")), func(b []byte) { b[len(b)-1]++ })
	dev.send(t, bad)
	if got := r.wait(t, 1); !bytes.Equal(got[0], bad) {
		t.Error("packet changed")
	}
}

func TestWrite(t *testing.T) {
	raw := ipPacket(4, tcpProto, bytes.Repeat([]byte{1, 2, 3}, 1000))
	for _, tt := range []struct {
		name    string
		offload bool
		gso     gstack.GSO
		head    []byte
	}{
		{"plain", false, gstack.GSO{}, nil},
		{"offload, complete packet", true, gstack.GSO{}, noVirtio},
		{"offload, segments", true, gstack.GSO{Type: gstack.GSOTCPv4, NeedsCsum: true, CsumOffset: 16, MSS: 1000, L3HdrLen: 20},
			virtioBytes(virtioHeader{flags: virtioNeedsCsum, gsoType: virtioGSOTCPv4, hdrLen: 40, gsoSize: 1000, csumStart: 20, csumOffset: 16})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, dev := newFake(t, tt.offload)
			pkt := outbound(raw[:20], raw[20:40], raw[40:])
			defer pkt.DecRef()
			pkt.GSOOptions = tt.gso
			var list gstack.PacketBufferList
			list.PushBack(pkt)
			list.PushBack(pkt)
			if n, err := l.WritePackets(list); n != 2 || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			for range 2 {
				if got := dev.receive(); !bytes.Equal(got, append(bytes.Clone(tt.head), raw...)) {
					t.Errorf("device got %d bytes: %x...", len(got), got[:min(len(got), 60)])
				}
			}
			if st := l.Stats(); st != (Stats{TxPackets: 2, TxBytes: 2 * uint64(len(raw))}) {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// A segment gathered from thousands of tiny writes has more views than
// writev takes.
func TestWriteManyViews(t *testing.T) {
	l, dev := newFake(t, false)
	raw := ipPacket(4, udpProto, bytes.Repeat([]byte{9}, 3000))
	pkt := inbound(raw, 1)
	defer pkt.DecRef()
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	if n, err := l.WritePackets(list); n != 1 || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if got := dev.receive(); !bytes.Equal(got, raw) {
		t.Errorf("device got %d bytes, want %d", len(got), len(raw))
	}
}

func TestWriteDrops(t *testing.T) {
	l, _ := newFake(t, true)
	write := func(pkt *gstack.PacketBuffer) {
		t.Helper()
		defer pkt.DecRef()
		var list gstack.PacketBufferList
		list.PushBack(pkt)
		if n, err := l.WritePackets(list); n != 1 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	raw := ipPacket(4, tcpProto, make([]byte, 3000))
	bad := outbound(raw[:20], raw[20:40], raw[40:])
	bad.GSOOptions = gstack.GSO{Type: gstack.GSOGvisor, MSS: 1000}
	write(bad)
	if st := l.Stats(); st.TxDropInvalid != 1 {
		t.Errorf("stats %+v", st)
	}
	// Nobody reads: the socket fills up, as a device's queue would.
	for range 2000 {
		write(outbound(raw[:20], raw[20:40], raw[40:]))
	}
	if st := l.Stats(); st.TxDropBusy == 0 || st.TxDropBusy+st.TxPackets != 2000 {
		t.Errorf("stats %+v", st)
	}
}

func TestDeviceGoneWhileReading(t *testing.T) {
	l, dev := newFake(t, true)
	l.Attach(newRecorder())
	if l.Err() != nil {
		t.Errorf("Err() = %v before the loss", l.Err())
	}
	dev.close()
	waitDone(t, l.Done())
	l.Wait()
	if err := l.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("Err() = %v", err)
	}
	l.Close()
	if err := l.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("Err() after Close = %v, want the first reason", err)
	}
}

func TestDeviceGoneWhileWriting(t *testing.T) {
	l, dev := newFake(t, false)
	dev.close()
	raw := ipPacket(4, tcpProto, nil)
	pkt := outbound(raw[:20], raw[20:], nil)
	defer pkt.DecRef()
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	for range 2 {
		if n, err := l.WritePackets(list); n != 0 || err == nil {
			t.Errorf("wrote %d, %v", n, err)
		}
	}
	waitDone(t, l.Done())
	if err := l.Err(); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Err() = %v", err)
	}
}

func TestAttachDetach(t *testing.T) {
	l, dev := newFake(t, false)
	l.Wait() // nothing started
	good := ipPacket(4, tcpProto, nil)
	for range 3 {
		r := newRecorder()
		r.hold = make(chan struct{})
		l.Attach(r)
		if !l.IsAttached() {
			t.Fatal("not attached")
		}
		dev.send(t, good)
		dev.send(t, good)
		r.wait(t, 1)
		// The first packet is being delivered. Detaching does not wait for
		// that, but the second is not delivered any more.
		l.Attach(nil)
		if l.IsAttached() {
			t.Fatal("attached")
		}
		close(r.hold)
		l.Wait()
		if len(r.got) != 1 {
			t.Fatalf("%d packets delivered", len(r.got))
		}
		// The second one is for the next dispatcher.
		next := newRecorder()
		l.Attach(next)
		next.wait(t, 1)
		// Replaced, not detached: the reader changes at once.
		third := newRecorder()
		l.Attach(third)
		dev.send(t, good)
		third.wait(t, 1)
		l.Attach(nil)
		l.Wait()
		if len(next.got) != 1 || len(third.got) != 1 {
			t.Fatalf("%d and %d packets delivered, want 1 and 1", len(next.got), len(third.got))
		}
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}

func TestCloseWhileBusy(t *testing.T) {
	for range 50 {
		l, dev := newFake(t, true)
		l.Attach(new(countingDispatcher))
		raw := ipPacket(4, tcpProto, nil)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				pkt := outbound(raw[:20], raw[20:], nil)
				defer pkt.DecRef()
				var list gstack.PacketBufferList
				list.PushBack(pkt)
				for {
					if _, err := l.WritePackets(list); err != nil {
						return
					}
				}
			})
		}
		wg.Go(func() {
			for unix.Sendto(dev.fd, append(noVirtio[:virtioHeaderLen:virtioHeaderLen], raw...), unix.MSG_NOSIGNAL, nil) != unix.EPIPE {
			}
		})
		for range 3 {
			wg.Go(l.Close)
		}
		wg.Wait()
		waitDone(t, l.Done())
		if !errors.Is(l.Err(), net.ErrClosed) {
			t.Fatal(l.Err())
		}
		l.Attach(new(countingDispatcher))
		if l.IsAttached() {
			t.Fatal("attached to a closed link")
		}
	}
}

func TestReceiveDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	l, dev := newFake(t, true)
	r := &reader{l: l, d: new(countingDispatcher)}
	defer r.buf.release()
	frame := append(bytes.Clone(noVirtio), ipPacket(4, tcpProto, nil)...)
	n := testing.AllocsPerRun(1000, func() {
		if err := unix.Sendto(dev.fd, frame, 0, nil); err != nil {
			t.Fatal(err)
		}
		r.drain(uintptr(l.fd))
	})
	// Leak checking, which tests turn on, allocates one entry per packet.
	if n > 1 {
		t.Errorf("%v allocations per packet", n)
	}
}

// FuzzReceive feeds whole frames of a hostile device to a link, with and
// without offload. No frame may panic, and each must be counted once.
func FuzzReceive(f *testing.F) {
	good := ipPacket(4, tcpProto, []byte("payload"))
	for _, h := range []virtioHeader{
		{},
		{flags: virtioNeedsCsum, csumStart: 20, csumOffset: 16},
		{flags: virtioNeedsCsum, gsoType: virtioGSOTCPv4, csumStart: 20, csumOffset: 16},
		{hdrLen: 65535, gsoSize: 65535, csumStart: 65535, csumOffset: 65535},
		{flags: 0xff, gsoType: 0xff},
	} {
		for _, b := range [][]byte{nil, good[:1], good[:19], good, ipPacket(6, udpProto, make([]byte, 3000))} {
			f.Add(append(virtioBytes(h), b...), true)
			f.Add(b, false)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, offload bool) {
		if len(frame) == 0 || len(frame) > 70000 {
			return
		}
		l := &Link{offload: offload}
		var b rxBuffer
		defer b.release()
		b.fill()
		rest := frame
		for _, v := range b.views {
			n := min(len(rest), v.Size())
			v.WriteAt(rest[:n], 0)
			rest = rest[n:]
		}
		d := new(countingDispatcher)
		l.receive(d, &b, len(frame))
		st := l.Stats()
		if st.RxPackets != uint64(d.n.Load()) ||
			st.RxPackets+st.RxDropShort+st.RxDropVersion+st.RxDropLength+st.RxDropVirtio+st.RxDropChecksum != 1 {
			t.Fatalf("delivered %d, stats %+v", d.n.Load(), st)
		}
	})
}
