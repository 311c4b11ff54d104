package tun

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// countingDispatcher drops packets and counts them: what a SYN costs before
// anything above has looked at it.
type countingDispatcher struct{ n atomic.Int64 }

func (d *countingDispatcher) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {
	d.n.Add(1)
}
func (*countingDispatcher) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

// packetSender returns a function that sends one complete IPv4 packet out
// of l's device, past the host's own stack.
func packetSender(b *testing.B, l *Link, pkt []byte) func() {
	b.Helper()
	ifi, err := net.InterfaceByName(l.Name())
	if err != nil {
		b.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	to := &unix.SockaddrLinklayer{Protocol: 0x0008 /* ETH_P_IP, big endian */, Ifindex: ifi.Index}
	return func() {
		for {
			err := unix.Sendto(fd, pkt, 0, to)
			if err == nil {
				return
			}
			if err != unix.ENOBUFS && err != unix.EAGAIN {
				b.Error(err)
				return
			}
			runtime.Gosched()
		}
	}
}

// synPacket is a bare SYN from the host to the stack, checksums right.
func synPacket() []byte { return ipPacket(4, header.TCPProtocolNumber, nil) }

var benchModes = []Offload{OffloadOn, OffloadOff}

// BenchmarkReceiveSYN is the cost of one small packet that already waits in
// the device: read, judge, hand over, drop.
func BenchmarkReceiveSYN(b *testing.B) {
	for _, mode := range benchModes {
		b.Run("offload="+mode.String(), func(b *testing.B) {
			l := open(b, Config{Offload: mode, HostAddresses: hostPrefixes})
			send := packetSender(b, l, synPacket())
			b.ReportAllocs()
			for left := b.N; left > 0; {
				b.StopTimer()
				batch := min(left, 1000)
				for range batch {
					send()
				}
				d := new(countingDispatcher)
				b.StartTimer()
				l.Attach(d)
				for d.n.Load() < int64(batch) {
					runtime.Gosched()
				}
				b.StopTimer()
				l.Attach(nil)
				l.Wait()
				left -= batch
			}
		})
	}
}

// BenchmarkReceivePaced measures the processor time, user and system, that
// the receiver of a steady stream of SYNs spends on each, parking included.
func BenchmarkReceivePaced(b *testing.B) {
	for _, rate := range []int{1_000, 100_000, 200_000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) {
			l := open(b, Config{HostAddresses: hostPrefixes})
			send := packetSender(b, l, synPacket())
			d := new(countingDispatcher)
			l.Attach(d)
			gap := time.Second / time.Duration(rate)
			var sender time.Duration
			done := make(chan struct{})
			b.ResetTimer()
			start := time.Now()
			before := cpuTime(unix.RUSAGE_SELF)
			go func() {
				defer close(done)
				runtime.LockOSThread()
				mine := cpuTime(unix.RUSAGE_THREAD)
				for i := range b.N {
					for time.Since(start) < time.Duration(i)*gap {
					}
					send()
				}
				sender = cpuTime(unix.RUSAGE_THREAD) - mine
			}()
			<-done
			for until := time.Now().Add(time.Second); d.n.Load() < int64(b.N) && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
			used := cpuTime(unix.RUSAGE_SELF) - before - sender
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/packet")
			b.ReportMetric(100*float64(int64(b.N)-d.n.Load())/float64(b.N), "%lost")
		})
	}
}

func cpuTime(who int) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(who, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkWriteSYN is the cost of handing a small packet to the kernel,
// which drops it: the destination is not the host's.
func BenchmarkWriteSYN(b *testing.B) {
	for _, mode := range benchModes {
		b.Run("offload="+mode.String(), func(b *testing.B) {
			l := open(b, Config{Offload: mode, HostAddresses: hostPrefixes})
			raw := synPacket()
			pkt := outbound(raw[:20], raw[20:], nil)
			defer pkt.DecRef()
			var list gstack.PacketBufferList
			list.PushBack(pkt)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				l.WritePackets(list)
			}
		})
	}
}

// BenchmarkTransfer is one TCP stream between the kernel and netstack.
func BenchmarkTransfer(b *testing.B) {
	for _, mode := range benchModes {
		for _, up := range []bool{true, false} {
			dir := "kernel-to-stack"
			if !up {
				dir = "stack-to-kernel"
			}
			b.Run(fmt.Sprintf("offload=%v/%s", mode, dir), func(b *testing.B) {
				l := open(b, Config{Offload: mode, HostAddresses: hostPrefixes})
				s := newStack(b, l, stackAddrs...)
				ln, err := gonet.ListenTCP(s, fullAddress(stackAddrs[0], 7), protocolOf(stackAddrs[0]))
				if err != nil {
					b.Fatal(err)
				}
				defer ln.Close()
				const chunk = 1 << 20
				accepted := make(chan net.Conn, 1)
				go func() {
					c, err := ln.Accept()
					if err != nil {
						b.Error(err)
					}
					accepted <- c
				}()
				c, err := net.Dial("tcp", netip.AddrPortFrom(stackAddrs[0], 7).String())
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				from, to := c, <-accepted
				defer to.Close()
				if !up {
					from, to = to, from
				}
				b.SetBytes(chunk)
				b.ResetTimer()
				start, cpu := time.Now(), cpuTime(unix.RUSAGE_SELF)
				go func() {
					buf := make([]byte, chunk)
					for range b.N {
						if _, err := from.Write(buf); err != nil {
							b.Error(err)
							return
						}
					}
				}()
				buf := make([]byte, 256<<10)
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(struct{ io.Reader }{to}, int64(b.N)*chunk), buf); err != nil {
					b.Fatal(err)
				}
				// Both sides, kernel and user: steadier than speed when
				// something else runs.
				b.ReportMetric(float64((cpuTime(unix.RUSAGE_SELF)-cpu).Microseconds())/float64(b.N), "cpu-us/MiB")
				b.ReportMetric(float64(b.N)*chunk*8/time.Since(start).Seconds()/1e9, "Gbit/s")
			})
		}
	}
}
