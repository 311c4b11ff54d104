package listenq

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

func benchFlow(i int) Flow {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0xc6120000|uint32(i>>8)&0x1ffff) // 198.18.0.0/15
	return NewFlow(netip.MustParseAddrPort("192.0.2.1:80"), netip.AddrPortFrom(netip.AddrFrom4(a), uint16(1024+i&0xff)))
}

func synFrom(i int) Segment {
	return Segment{Flow: benchFlow(i), Flags: SYN, Seq: uint32(i), Window: 65535, Options: Options{MSS: 1460, SACKPermitted: true, WindowScaling: true, WindowScale: 7, Timestamps: true, TSVal: uint32(i)}}
}

func benchListener(backlog int, cookies int) *Listener {
	s := DefaultSysctls()
	s.Somaxconn = 1 << 30
	s.Syncookies = cookies
	s.MaxSYNBacklog = 1 << 30
	return New(Config{Backlog: backlog, Window: 65535, Sysctls: &s})
}

// One whole passive open in steady state: SYN, final ACK, accept.
func BenchmarkHandshake(b *testing.B) {
	l := benchListener(128, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		seg := synFrom(i)
		out := l.Segment(0, &seg)
		seg.Flags, seg.Seq, seg.Ack = ACK, seg.Seq+1, out.Seq+1
		seg.Options.TSEcr = out.Handshake.TSVal
		if l.Segment(0, &seg).Verdict != Promote {
			b.Fatal("not promoted")
		}
		l.Accept()
	}
}

// A SYN with 100,000 requests in the queue; the request ends by RST so that the
// depth stays the same.
func BenchmarkSYN(b *testing.B) {
	l := benchListener(1<<20, 0)
	for i := range 100_000 {
		seg := synFrom(i)
		l.Segment(0, &seg)
	}
	b.ReportAllocs()
	for i := 100_000; b.Loop(); i++ {
		seg := synFrom(i)
		l.Segment(0, &seg)
		seg.Flags, seg.Seq = RST, seg.Seq+1
		l.Segment(0, &seg)
	}
}

func BenchmarkSYNDropped(b *testing.B) {
	l := benchListener(0, 0)
	for i := range 2 {
		seg := synFrom(i)
		l.Segment(0, &seg)
	}
	b.ReportAllocs()
	seg := synFrom(9)
	for b.Loop() {
		l.Segment(0, &seg)
	}
}

func BenchmarkCookieMade(b *testing.B) {
	l := benchListener(0, 2)
	seg := synFrom(1)
	b.ReportAllocs()
	for b.Loop() {
		l.Segment(0, &seg)
	}
}

func BenchmarkCookieChecked(b *testing.B) {
	l := benchListener(0, 2)
	seg := synFrom(1)
	out := l.Segment(0, &seg)
	seg.Flags, seg.Seq, seg.Ack = ACK, seg.Seq+1, out.Seq+1
	seg.Options.TSEcr = out.Handshake.TSVal
	b.ReportAllocs()
	for b.Loop() {
		if l.Segment(0, &seg).Verdict != Promote {
			b.Fatal("cookie refused")
		}
		l.Accept()
	}
}

// One million requests: bytes each, and time to let all of them expire.
func BenchmarkMillionRequests(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		l := benchListener(n, 1)
		for i := range n {
			seg := synFrom(i)
			l.Segment(time.Duration(i)*time.Microsecond, &seg)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/request")
		for at, ok := l.NextTimeout(); ok; at, ok = l.NextTimeout() {
			l.Advance(at, func(Outcome) {})
		}
		if l.SYNQueueLen() != 0 {
			b.Fatal("requests left")
		}
	}
}
