//go:build linux

package stress

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tests/netlab"
)

// crowd lets kernel clients connect, send and read an echo, all at the same time.
// Each must be served; it may take as long as somebody makes progress.
func crowd(t *testing.T, ns *netlab.Namespace, at netip.AddrPort, clients int) {
	t.Helper()
	var sockets []*os.File
	defer func() {
		for _, f := range sockets {
			f.Close()
		}
	}()
	ns.Do(func() {
		for range clients {
			f, err := connecting(at)
			require.NoError(t, err)
			sockets = append(sockets, f)
		}
	})

	var progress atomic.Int64
	fates := make(map[string]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n, f := range sockets {
		wg.Go(func() {
			err := ask(f, fmt.Sprintf("client %d asks", n), &progress)
			fate := "served"
			if err != nil {
				fate = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			fates[fate]++
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	for last, since := progress.Load(), time.Now(); ; {
		select {
		case <-done:
			require.Equal(t, map[string]int{"served": clients}, fates)
			return
		case <-time.After(100 * time.Millisecond):
		}
		if now := progress.Load(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > stallLimit {
			for _, f := range sockets {
				_ = f.SetDeadline(time.Now())
			}
		}
	}
}

// connecting returns a socket that connects in the background, in the namespace of
// the calling thread.
func connecting(at netip.AddrPort) (*os.File, error) {
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())})
	if at.Addr().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, to); err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return os.NewFile(uintptr(fd), "client"), nil
}

// ask is one visit of an echo server.
func ask(f *os.File, question string, progress *atomic.Int64) error {
	for range 2 { // once while everybody connects, and once more
		if _, err := f.WriteString(question); err != nil {
			return unwrapped("write", err)
		}
		progress.Add(1)
		var answer []byte
		for len(answer) < len(question) {
			buf := make([]byte, len(question)-len(answer))
			n, err := f.Read(buf)
			if err != nil {
				return unwrapped("read", err)
			}
			answer = append(answer, buf[:n]...)
			progress.Add(1)
		}
		if !bytes.Equal(answer, []byte(question)) {
			return fmt.Errorf("a wrong answer")
		}
	}
	return nil
}

// unwrapped leaves out what differs between clients.
func unwrapped(op string, err error) error {
	if pathErr, ok := err.(*os.PathError); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %w", op, err)
}
