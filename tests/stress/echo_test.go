//go:build linux

package stress

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tests/netlab"
)

// stallLimit is how long a connection may stand still, without one byte in either
// direction, before it counts as stalled: far more than any retransmission needs,
// on a machine that has other things to do.
const stallLimit = 30 * time.Second

// echo sends size bytes from a kernel client, reads them back at the same time,
// and compares.
func echo(t *testing.T, ns *netlab.Namespace, at netip.AddrPort, size int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stallLimit)
	defer cancel()
	c, err := ns.Dial(ctx, "tcp", at.String())
	require.NoError(t, err)
	defer c.Close()

	var sent, received atomic.Int64
	finished := make(chan struct{})
	stalled := make(chan bool, 1)
	go func() {
		stalled <- watch(c, finished, func() int64 { return sent.Load() + received.Load() })
	}()

	wrote := make(chan error, 1)
	hashed := sha256.New()
	go func() {
		from := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{byte(size)}), size), hashed)
		_, err := io.CopyBuffer(counting{c, &sent}, from, make([]byte, 64<<10))
		if err == nil {
			err = c.(*net.TCPConn).CloseWrite()
		}
		wrote <- err
	}()
	back := sha256.New()
	_, readErr := io.CopyBuffer(counting{back, &received}, struct{ io.Reader }{c}, make([]byte, 64<<10))
	info := tcpInfo(c)
	if readErr != nil {
		c.Close() // the writer must not wait
	}
	writeErr := <-wrote
	close(finished)
	if <-stalled {
		t.Fatalf("no byte for %v after %d sent and %d received of %d\nclient %s", stallLimit, sent.Load(), received.Load(), size, info)
	}
	require.NoError(t, readErr, "read: %d sent, %d received\nclient %s", sent.Load(), received.Load(), info)
	require.NoError(t, writeErr)
	require.Equal(t, size, received.Load())
	require.Equal(t, hashed.Sum(nil), back.Sum(nil), "what came back is not what was sent")
}

// watch ends the wait of a connection on which nothing moves any more, and reports
// whether it had to.
func watch(c net.Conn, finished <-chan struct{}, progress func() int64) (stalled bool) {
	const step = 100 * time.Millisecond
	last, since := progress(), time.Now()
	for {
		select {
		case <-finished:
			return stalled
		case <-time.After(step):
		}
		if now := progress(); now != last {
			last, since = now, time.Now()
		} else if !stalled && time.Since(since) > stallLimit {
			stalled = true
			_ = c.SetDeadline(time.Now())
		}
	}
}

// counting counts what is written to w.
type counting struct {
	w io.Writer
	n *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// tcpInfo says what the kernel knows about a connection.
func tcpInfo(c net.Conn) string {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err.Error()
	}
	var text string
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			text = err.Error()
			return
		}
		text = fmt.Sprintf("state %d, rto %d us, %d retransmits, backoff %d, %d unacknowledged, window %d, own window %d, mss %d, path MTU %d",
			info.State, info.Rto, info.Retransmits, info.Backoff, info.Unacked, info.Snd_wnd, info.Rcv_wnd, info.Snd_mss, info.Pmtu)
	})
	if err != nil {
		return err.Error()
	}
	return text
}
