package listenq

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

var benchServer = netip.MustParseAddrPort("192.0.2.1:80")

func benchFlow(i int) Flow {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0xc6120000|uint32(i>>8)&0x1ffff) // 198.18.0.0/15
	return NewFlow(benchServer, netip.AddrPortFrom(netip.AddrFrom4(a), uint16(1024+i&0xff)))
}

func benchSYN(i int) Segment {
	return Segment{
		Flow:   benchFlow(i),
		Flags:  SYN,
		Seq:    uint32(i),
		Window: 65535,
		Options: Options{
			MSS: 1460, SACKPermitted: true, WindowScaling: true, WindowScale: 7, Timestamps: true, TSVal: uint32(i),
		},
	}
}

func benchListener(backlog, cookies int) *Listener {
	s := DefaultSysctls()
	s.Somaxconn = 1 << 30
	s.Syncookies = cookies
	s.MaxSYNBacklog = 1 << 30
	return MustNew(Config{Backlog: backlog, Window: 65535, Sysctls: &s})
}

// benchClients returns the SYNs of n clients and the final ACKs that a listener
// made with the same arguments will take for them at time 0.
func benchClients(first, n, backlog, cookies int) (syns, acks []Segment) {
	l := benchListener(backlog, cookies)
	for i := range n {
		syn := benchSYN(first + i)
		out := l.Segment(0, &syn)
		ack := syn
		ack.Flags, ack.Seq, ack.Ack = ACK, syn.Seq+1, out.Seq+1
		ack.Options.TSEcr = out.Handshake.TSVal
		syns, acks = append(syns, syn), append(acks, ack)
	}
	return syns, acks
}

// phase measures one kind of decision, apart from the others of a benchmark.
type phase struct {
	spent time.Duration
	count int
	best  float64 // nanoseconds per decision in the fastest batch
}

func (p *phase) decide(b *testing.B, l *Listener, segs []Segment, want Verdict) {
	start := time.Now()
	for i := range segs {
		if got := l.Segment(0, &segs[i]).Verdict; got != want {
			b.Fatalf("verdict %v, want %v", got, want)
		}
	}
	p.add(time.Since(start), len(segs))
}

func (p *phase) add(spent time.Duration, count int) {
	p.spent += spent
	p.count += count
	each := float64(spent.Nanoseconds()) / float64(count)
	if p.best == 0 || each < p.best {
		p.best = each
	}
}

// report gives the mean, and the fastest batch: what the machine does when it
// does nothing else.
func (p *phase) report(b *testing.B, kind string) {
	b.ReportMetric(float64(p.spent.Nanoseconds())/float64(p.count), "ns/"+kind)
	b.ReportMetric(p.best, "best-ns/"+kind)
}

// One iteration is 1000 passive opens: their SYNs, their final ACKs, and accept.
// The SYN queue holds other requests besides.
func BenchmarkHandshake(b *testing.B) {
	const batch, backlog = 1000, 1 << 20
	for _, depth := range []int{0, 1_000, 100_000} {
		b.Run(fmt.Sprintf("requests=%d", depth), func(b *testing.B) {
			l := benchListener(backlog, 0)
			for i := range depth {
				syn := benchSYN(i)
				l.Segment(0, &syn)
			}
			syns, acks := benchClients(depth, 32*batch, backlog, 0)
			var syn, ack phase
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				from := i % 32 * batch
				syn.decide(b, l, syns[from:from+batch], SendSYNACK)
				ack.decide(b, l, acks[from:from+batch], Promote)
				for range batch {
					l.Accept()
				}
			}
			syn.report(b, "SYN")
			ack.report(b, "ACK")
		})
	}
}

// A SYN that finds the SYN queue full and is dropped.
func BenchmarkSYNDropped(b *testing.B) {
	for _, backlog := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
			l := benchListener(backlog, 0)
			for i := range backlog + 1 {
				syn := benchSYN(i)
				l.Segment(0, &syn)
			}
			syns, _ := benchClients(backlog+1, 1<<15, 1<<20, 0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if l.Segment(0, &syns[i%len(syns)]).Reason != SYNQueueFull {
					b.Fatal("not dropped")
				}
			}
		})
	}
}

func BenchmarkCookieMade(b *testing.B) {
	l := benchListener(128, 2)
	syns, _ := benchClients(0, 1<<15, 128, 2)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if l.Segment(0, &syns[i%len(syns)]).Verdict != SendCookie {
			b.Fatal("no cookie")
		}
	}
}

func BenchmarkCookieChecked(b *testing.B) {
	l := benchListener(128, 2)
	syns, acks := benchClients(0, 1<<15, 128, 2)
	l.Segment(0, &syns[0])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if l.Segment(0, &acks[i%len(acks)]).Verdict != Promote {
			b.Fatal("cookie refused")
		}
		l.Accept()
	}
}

// One iteration is a million SYNs, 1 us apart, and their timers until the last
// request has expired.
func BenchmarkMillionRequests(b *testing.B) {
	const n = 1_000_000
	segs := make([]Segment, n)
	for i := range segs {
		segs[i] = benchSYN(i)
	}
	var timers phase
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		l := benchListener(n, 1)
		for i := range segs {
			l.Segment(time.Duration(i)*time.Microsecond, &segs[i])
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/request")

		start, fired := time.Now(), 0
		for at, ok := l.NextTimeout(); ok; at, ok = l.NextTimeout() {
			l.Advance(at, func(Outcome) { fired++ })
		}
		timers.add(time.Since(start), fired)
		if l.SYNQueueLen() != 0 {
			b.Fatal("requests left")
		}
	}
	timers.report(b, "timer")
}
