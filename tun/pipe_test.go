package tun

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// numbered is a packet that carries i.
func numbered(i int) *gstack.PacketBuffer {
	raw := ipPacket(4, udpProto, fmt.Appendf(nil, "%06d", i))
	return outbound(raw[:20], raw[20:28], raw[28:])
}

func number(b []byte) (i int) {
	fmt.Sscanf(string(b[28:]), "%d", &i)
	return i
}

func writePacket(t testing.TB, l gstack.LinkWriter, pkt *gstack.PacketBuffer) tcpip.Error {
	t.Helper()
	defer pkt.DecRef()
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	n, err := l.WritePackets(list)
	if err == nil && n != 1 {
		t.Fatalf("wrote %d packets", n)
	}
	return err
}

func TestPipeOrder(t *testing.T) {
	a, b := Pipe(PipeConfig{QueueLen: 5000})
	defer a.Close()
	defer b.Close()
	r := newRecorder()
	for i := range 100 {
		writePacket(t, a, numbered(i)) // waits for Attach
	}
	b.Attach(r)
	for i := range 4000 {
		writePacket(t, a, numbered(100+i))
	}
	for i, p := range r.wait(t, 4100) {
		if number(p) != i {
			t.Fatalf("packet %d is number %d", i, number(p))
		}
	}
	if st := b.Stats(); st != (MemStats{Delivered: 4100}) || b.Pending() != 0 {
		t.Errorf("stats %+v", st)
	}
	if a.MTU() != 1500 || a.Capabilities() != 0 {
		t.Errorf("MTU %d, capabilities %b", a.MTU(), a.Capabilities())
	}
}

func TestPipeBound(t *testing.T) {
	a, b := Pipe(PipeConfig{Manual: true, QueueLen: 20})
	defer a.Close()
	defer b.Close()
	r := newRecorder()
	b.Attach(r)
	for round := range 3 {
		for i := range 30 {
			if err := writePacket(t, a, numbered(i)); err != nil {
				t.Fatal(err)
			}
		}
		if b.Pending() != 20 {
			t.Fatalf("%d pending", b.Pending())
		}
		for i := range 20 {
			if b.Deliver() != 1 || number(r.wait(t, 1)[20*round+i]) != i {
				t.Fatalf("round %d: packet %d is not next", round, i)
			}
		}
		if b.Deliver() != 0 {
			t.Fatal("delivered from an empty queue")
		}
		if st := b.Stats(); st != (MemStats{Delivered: uint64(20 * (round + 1)), DroppedFull: uint64(10 * (round + 1))}) {
			t.Fatalf("stats %+v", st)
		}
	}
}

func TestPipeDrops(t *testing.T) {
	a, b := Pipe(PipeConfig{Manual: true})
	defer a.Close()
	writePacket(t, a, numbered(0))
	if b.Deliver() != 1 { // no dispatcher
		t.Error("nothing taken")
	}
	b.Attach(newRecorder())
	writePacket(t, a, outbound([]byte{0xf0}, []byte{1}, nil))
	b.Deliver()
	writePacket(t, a, numbered(1))
	b.Close() // with one waiting
	b.Close()
	if err := writePacket(t, a, numbered(2)); err != nil {
		t.Errorf("write to a closed peer: %v", err)
	}
	if err := writePacket(t, b, numbered(3)); err == nil {
		t.Error("write from a closed end")
	}
	if st := b.Stats(); st != (MemStats{DroppedDetached: 3, DroppedVersion: 1}) {
		t.Errorf("stats %+v", st)
	}
	b.Attach(newRecorder())
	if b.IsAttached() {
		t.Error("attached to a closed end")
	}
}

// echo writes every packet it is given back, from within the delivery.
type echo struct{ out *MemLink }

func (e echo) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	e.out.WritePackets(list)
}
func (echo) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

// Both ends write while they deliver, with full queues.
func TestPipeNoDeadlock(t *testing.T) {
	a, b := Pipe(PipeConfig{QueueLen: 4})
	a.Attach(echo{a})
	b.Attach(echo{b})
	var wg sync.WaitGroup
	for _, end := range []*MemLink{a, b} {
		wg.Go(func() {
			for i := range 5000 {
				writePacket(t, end, numbered(i))
			}
		})
	}
	wg.Wait()
	a.Attach(nil)
	a.Wait()
	b.Attach(nil)
	b.Wait()
	total := uint64(a.Pending() + b.Pending())
	for _, end := range []*MemLink{a, b} {
		st := end.Stats()
		total += st.Delivered + st.DroppedFull
		// An echoed packet is counted again where it arrives.
		total -= st.Delivered
	}
	if total != 10000 {
		t.Errorf("%d packets accounted for, want 10000: %+v %+v", total, a.Stats(), b.Stats())
	}
	a.Close()
	b.Close()
}

func TestPipeAttachDetach(t *testing.T) {
	a, b := Pipe(PipeConfig{})
	defer a.Close()
	defer b.Close()
	b.Wait()
	for i := range 100 {
		r := newRecorder()
		b.Attach(r)
		writePacket(t, a, numbered(i))
		if got := r.wait(t, 1); number(got[0]) != i {
			t.Fatalf("got %d, want %d", number(got[0]), i)
		}
		b.Attach(nil)
		if i%2 == 0 {
			b.Wait()
		}
	}
}

// The receiver's bytes are its own: netstack writes into headers.
func TestPipePayloadIsShared(t *testing.T) {
	a, b := Pipe(PipeConfig{Manual: true})
	defer a.Close()
	defer b.Close()
	raw := ipPacket(4, udpProto, bytes.Repeat([]byte{7}, 1000))
	pkt := outbound(raw[:20], raw[20:28], raw[28:])
	defer pkt.DecRef()
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	a.WritePackets(list)
	b.Attach(scribbler{})
	b.Deliver()
	v := pkt.ToView()
	defer v.Release()
	if !bytes.Equal(v.AsSlice(), raw) {
		t.Error("the sender's packet changed")
	}
}

type scribbler struct{}

func (scribbler) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	b, _ := pkt.Data().PullUp(60)
	clear(b)
}
func (scribbler) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

// TestPipeStacks joins two stacks, with the link's own goroutines and with a
// driver that delivers one packet at a time.
func TestPipeStacks(t *testing.T) {
	const size = 4 << 20
	for _, manual := range []bool{false, true} {
		for _, mtu := range []int{1500, 65520} {
			for i, addr := range stackAddrs {
				t.Run(fmt.Sprintf("manual=%v/mtu=%d/ip=%d", manual, mtu, 4+2*i), func(t *testing.T) {
					a, b := Pipe(PipeConfig{MTU: mtu, Manual: manual})
					server := newStack(t, a, stackAddrs...)
					client := newStack(t, b, hostPrefixes[0].Addr(), hostPrefixes[1].Addr())
					if manual {
						stop := drive(a, b)
						defer stop()
					}
					ln, err := gonet.ListenTCP(server, fullAddress(addr, 7), protocolOf(addr))
					if err != nil {
						t.Fatal(err)
					}
					defer ln.Close()
					go func() {
						c, err := ln.Accept()
						if err != nil {
							t.Error(err)
							return
						}
						defer c.Close()
						io.Copy(c, randomData(1, size))
					}()
					c, err := gonet.DialTCP(client, fullAddress(addr, 7), protocolOf(addr))
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(30 * time.Second))
					h := sha256.New()
					if n, err := io.Copy(h, c); err != nil || n != size || [32]byte(h.Sum(nil)) != digest(1, size) {
						t.Fatalf("read %d of %d bytes, err %v", n, size, err)
					}
				})
			}
		}
	}
}

// drive delivers packets of both ends until the returned function is called.
func drive(a, b *MemLink) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			if a.Deliver()+b.Deliver() > 0 {
				continue
			}
			select {
			case <-quit:
				return
			case <-time.After(50 * time.Microsecond):
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

func BenchmarkPipe(b *testing.B) {
	from, to := Pipe(PipeConfig{Manual: true})
	to.Attach(new(countingDispatcher))
	pkt := numbered(1)
	defer pkt.DecRef()
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	b.ReportAllocs()
	for b.Loop() {
		from.WritePackets(list)
		to.Deliver()
	}
}
