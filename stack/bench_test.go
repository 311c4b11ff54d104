package stack_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
)

// wire is a link whose far side is the test: it delivers crafted packets, and
// what the stack sends is counted and thrown away.
type wire struct {
	*channel.Endpoint
	dispatcher gstack.NetworkDispatcher
	sent       int
}

func newWire() *wire { return &wire{Endpoint: channel.New(0, 1500, "")} }

func (w *wire) Attach(d gstack.NetworkDispatcher) { w.dispatcher = d }
func (w *wire) IsAttached() bool                  { return w.dispatcher != nil }
func (w *wire) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	w.sent += pkts.Len()
	return pkts.Len(), nil
}

func (w *wire) deliver(packet []byte) {
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	w.dispatcher.DeliverNetworkPacket(header.IPv4ProtocolNumber, pkt)
	pkt.DecRef()
}

// synPacket is a SYN to 192.0.2.1:80 as a Linux client sends it.
func synPacket(client netip.AddrPort, seq uint32) []byte {
	options := []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}
	return segmentPacket(client, listenq.SYN, seq, 0, options, 0)
}

func spoofed(i int) netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0xc6120000|uint32(i>>8)&0x1ffff) // 198.18.0.0/15
	return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(1024+i&0xff))
}

func benchStack(b *testing.B, backlog int) (*wire, *stack.Listener) {
	sysctls := listenq.DefaultSysctls()
	sysctls.Somaxconn = 1 << 30
	sysctls.MaxSYNBacklog = 1 << 30
	sysctls.Syncookies = 0
	w := newWire()
	s, err := stack.New(stack.Config{Link: w, Addresses: []netip.Prefix{serverPrefix4}, Sysctls: &sysctls})
	require.NoError(b, err)
	b.Cleanup(func() { s.Close() })
	l, err := s.Listen("tcp", ":80", backlog, nil)
	require.NoError(b, err)
	return w, l
}

// cpu is the processor time that this process has used, in nanoseconds. Unlike
// the wall clock it does not count other people's work.
func cpu() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// A half-open request from the link to the link: SYN in, SYN-ACK out.
func BenchmarkHalfOpen(b *testing.B) {
	packets := make([][]byte, 100_000)
	for i := range packets {
		packets[i] = synPacket(spoofed(i), uint32(i))
	}
	var used int64
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		w, l := benchStack(b, 1<<20)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := cpu()
		b.StartTimer()
		for _, p := range packets {
			w.deliver(p)
		}
		b.StopTimer()
		used += cpu() - start
		runtime.GC()
		runtime.ReadMemStats(&after)
		if l.Stats().SYNQueue != len(packets) || w.sent < len(packets) {
			b.Fatalf("%d requests, %d SYN-ACKs", l.Stats().SYNQueue, w.sent)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(packets)), "B/request")
		b.StartTimer()
	}
	b.ReportMetric(float64(used)/float64(b.N*len(packets)), "cpu-ns/SYN")
}

func BenchmarkDroppedSYN(b *testing.B) {
	w, l := benchStack(b, 0)
	for i := range 3 {
		w.deliver(synPacket(spoofed(i), 1))
	}
	packet := synPacket(spoofed(9), 1)
	start := cpu()
	b.ReportAllocs()
	for b.Loop() {
		w.deliver(packet)
	}
	b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/SYN")
	if l.Stats().Counters.ListenDrops < uint64(b.N) {
		b.Fatal("not dropped")
	}
}
