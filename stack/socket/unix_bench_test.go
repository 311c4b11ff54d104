//go:build linux

package socket

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Echo through a socketpair; the metric "of-kernel" is our time as a share of the
// kernel's for the same calls in the same run.
func BenchmarkUnixEcho(b *testing.B) {
	for _, typ := range []int{stream, seqpacket} {
		for _, size := range []int{1, 1024, 32768} {
			b.Run(fmt.Sprintf("type=%d/size=%d", typ, size), func(b *testing.B) {
				p := ours{newTestProcess(b)}
				b.ReportAllocs()
				b.SetBytes(int64(2 * size))
				b.ResetTimer()
				own := echoes(b, p, typ, size)
				b.StopTimer()
				linux := echoes(b, kernel{}, typ, size)
				b.ReportMetric(float64(own)/float64(linux), "of-kernel")
			})
		}
	}
}

type reader interface {
	syscalls
	Read(fd int, b []byte) (int, error)
	Write(fd int, b []byte) (int, error)
}

func (kernel) Read(fd int, b []byte) (int, error)  { return unix.Read(fd, b) }
func (kernel) Write(fd int, b []byte) (int, error) { return unix.Write(fd, b) }

// echoes makes b.N round trips and returns how long they took.
func echoes(b *testing.B, s reader, typ, size int) time.Duration {
	fds, err := s.Socketpair(unix.AF_UNIX, typ, 0)
	require.NoError(b, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, size)
		for {
			n, err := s.Read(fds[1], buf)
			if err != nil || n == 0 {
				return
			}
			if _, err := s.Write(fds[1], buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, size)
	start := time.Now()
	for range b.N {
		if _, err := s.Write(fds[0], buf); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < size; {
			n, err := s.Read(fds[0], buf[got:])
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
	took := time.Since(start)
	require.NoError(b, s.Shutdown(fds[0], unix.SHUT_RDWR))
	<-done
	s.Close(fds[0])
	s.Close(fds[1])
	return took
}

// One event for each wait, among many descriptors that are idle.
func BenchmarkEpoll(b *testing.B) {
	for _, idle := range []int{0, 1000} {
		b.Run(fmt.Sprintf("idle=%d", idle), func(b *testing.B) {
			p := ours{newTestProcess(b)}
			b.ReportAllocs()
			b.ResetTimer()
			own := waits(b, p, idle)
			b.StopTimer()
			linux := waits(b, kernel{}, idle)
			b.ReportMetric(float64(own)/float64(linux), "of-kernel")
		})
	}
}

func waits(b *testing.B, s reader, idle int) time.Duration {
	ep, err := s.EpollCreate1(0)
	require.NoError(b, err)
	fds := []int{ep}
	var last [2]int
	for range idle + 1 {
		last, err = s.Socketpair(unix.AF_UNIX, stream, 0)
		require.NoError(b, err)
		fds = append(fds, last[:]...)
		require.NoError(b, s.EpollCtl(ep, unix.EPOLL_CTL_ADD, last[0], &unix.EpollEvent{Events: unix.EPOLLIN}))
	}
	one := make([]byte, 1)
	events := make([]unix.EpollEvent, 8)
	start := time.Now()
	for range b.N {
		s.Write(last[1], one)
		if n, err := s.EpollWait(ep, events, -1); n != 1 {
			b.Fatal(n, err)
		}
		s.Read(last[0], one)
	}
	took := time.Since(start)
	for _, fd := range fds {
		s.Close(fd)
	}
	return took
}
