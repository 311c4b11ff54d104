package memnet_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/memnet"
)

// Clients come and go in every way there is while a server is too slow for them.
// In the end nothing is left: no connection, no event to come, no goroutine.
func TestNothingIsLeft(t *testing.T) {
	tests := map[string]memnet.Config{
		"at once":  {},
		"latency":  {Latency: 3 * ms},
		"abort":    {Latency: 3 * ms, Sysctls: &listenq.Sysctls{Somaxconn: 10, AbortOnOverflow: true, SYNACKRetries: 2, MaxSYNBacklog: 100}},
		"cookies":  {Latency: 3 * ms, Sysctls: &listenq.Sysctls{Somaxconn: 10, Syncookies: 2, Timestamps: true}},
		"refusing": {Latency: 3 * ms, Client: dialer(t, "windows")},
		"far away": {Latency: 2 * s},
	}
	for _, p := range listenq.Profiles() {
		tests[p.Name] = memnet.Config{Server: p, Latency: 3 * ms}
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, cfg, func(lab *lab) {
				opts := &memnet.ListenOptions{Overflow: listenq.Overflow{ResetSYN: name == "refusing"}}
				l := lab.listen(3, opts)
				var everybody sync.WaitGroup
				everybody.Go(func() { serveSlowly(l, &everybody) })
				for i := range 200 {
					everybody.Go(func() { lab.visit(rand.New(rand.NewPCG(uint64(i), 0))) })
				}
				time.Sleep(5 * time.Minute)
				require.NoError(t, l.Close())
				everybody.Wait()
				time.Sleep(time.Hour) // requests, retransmissions
				require.Zero(t, lab.Pending())
				require.Zero(t, lab.Links())
			})
		})
	}
}

// serveSlowly accepts a connection every 20 ms and echoes what it sends.
func serveSlowly(l net.Listener, everybody *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, syscall.ECONNABORTED):
			continue
		}
		everybody.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			io.Copy(c, c)
		})
		time.Sleep(20 * ms)
	}
}

// visit is one client: it dials, perhaps gives up, perhaps writes and reads, and
// leaves by the door or through the window.
func (lab *lab) visit(r *rand.Rand) {
	time.Sleep(time.Duration(r.Int64N(int64(10 * s))))
	ctx, cancel := context.WithTimeout(lab.t.Context(), time.Duration(1+r.Int64N(int64(2*time.Minute))))
	defer cancel()
	if r.IntN(4) == 0 {
		lab.after(time.Duration(r.Int64N(int64(10*ms))), cancel)
	}
	c, err := lab.DialContext(ctx, "tcp", "shop:80")
	if err != nil {
		return
	}
	conn := c.(*memnet.Conn)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if r.IntN(2) == 0 {
		go conn.Write(make([]byte, r.IntN(300_000)))
	}
	if r.IntN(3) == 0 {
		conn.CloseWrite()
	}
	if r.IntN(3) == 0 {
		conn.CloseRead()
	}
	if r.IntN(2) == 0 {
		io.CopyN(io.Discard, conn, r.Int64N(300_000))
	}
	if r.IntN(3) == 0 {
		conn.SetLinger(0)
	}
}
