//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
)

func netlabTo(at netip.AddrPort) netlab.ConnectConfig { return netlab.ConnectConfig{Remote: at} }

// ask is one visit of a kernel client to an echo server; nil means served.
func ask(l *lab, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := l.ns.Dial(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	giveUpAfter(c, 5*time.Second)
	question := []byte(c.LocalAddr().String())
	if _, err := c.Write(question); err != nil {
		return err
	}
	answer := make([]byte, len(question))
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if string(answer) != string(question) {
		return fmt.Errorf("asked %q, got %q", question, answer)
	}
	return nil
}

// giveUpAfter makes a kernel connection fail with ETIMEDOUT when what it sent
// stays unanswered for so long.
func giveUpAfter(c net.Conn, d time.Duration) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
	}
	if err != nil {
		panic(err)
	}
}

// slowly accepts a listener's connections one at a time with a pause between,
// and echoes.
func slowly(ln *stack.Listener, pause time.Duration) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second)) // the client may have gone without a word
			io.Copy(c, c)
		}()
		time.Sleep(pause)
	}
}

// A thousand clients at once meet a backlog of 16 and a slow application. Each
// is served, or told no; nobody hangs. Afterwards both queues are empty, a new
// client is served at once, and no goroutine is left of the crowd.
func TestCrowd(t *testing.T) {
	for _, tc := range []struct {
		policy  listenq.Overflow
		cookies string
		fates   []string // what a client may meet with
	}{
		{drop, "0", []string{"served"}},
		{reset, "0", []string{"served", "refused"}},
		{resetAndAbort, "0", []string{"served", "refused", "reset"}},
		// A client with a cookie whose ACK finds no room has nothing to be
		// remembered by: all depends on its own retransmissions.
		{drop, "1", []string{"served", "reset", "timed out"}},
	} {
		t.Run(tc.policy.String()+" cookies "+tc.cookies, func(t *testing.T) {
			const clients = 1000
			lab := newLab(t, labConfig{sysctls: map[string]string{
				"net.ipv4.tcp_syncookies":     tc.cookies,
				"net.ipv4.tcp_synack_retries": "3", // requests of clients that gave up last 15 s
			}})
			// A dropped SYN comes again every second, not after longer and
			// longer pauses.
			require.NoError(t, lab.ns.SetSysctl("net.ipv4.tcp_syn_linear_timeouts", "30"))
			require.NoError(t, lab.ns.SetSysctl("net.ipv4.tcp_syn_retries", "30"))
			l := lab.listen(http4, 16, &stack.ListenOptions{Overflow: tc.policy})
			go slowly(l, 200*time.Microsecond)
			require.NoError(t, ask(lab, http4))
			lab.isTrue("the application waits in accept", func() bool {
				return slices.ContainsFunc(stackGoroutines(), func(g string) bool {
					return strings.Contains(g, "stack.(*Listener).Accept(")
				})
			})
			before := len(stackGoroutines())

			fates := make(map[string]int)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					fate := fateOf(ask(lab, http4))
					mu.Lock()
					defer mu.Unlock()
					fates[fate]++
				})
			}
			wg.Wait()
			t.Logf("%v, %v overflows", fates, l.Stats().Counters.ListenOverflows)

			for fate := range fates {
				require.Contains(t, tc.fates, fate, "%v", fates)
			}
			require.Positive(t, l.Stats().Counters.ListenDrops)
			if tc.policy.ResetSYN {
				require.Positive(t, fates["refused"])
			}
			lab.depths(l, 0, 0)
			require.NoError(t, ask(lab, http4))
			require.Equal(t, stack.Drops{}, lab.s.Drops())
			require.GreaterOrEqual(t, l.Stats().Counters.PassiveOpens, uint64(fates["served"]+2))
			lab.isTrue("goroutines back to the number before", func() bool { return len(stackGoroutines()) <= before })
		})
	}
}

// fateOf names what became of a client.
func fateOf(err error) string {
	switch {
	case err == nil:
		return "served"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.ETIMEDOUT):
		return "timed out"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "stuck"
	default:
		return err.Error()
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
