package memnet_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/memnet"
)

// A lab is a network in a bubble, and what tests ask of it. Times are since the
// lab was made, and exact.
type lab struct {
	*memnet.Network
	t     *testing.T
	start time.Time
}

// bubble runs a test in virtual time and closes its network at the end.
func bubble(t *testing.T, cfg memnet.Config, f func(lab *lab)) {
	synctest.Test(t, func(t *testing.T) {
		lab := &lab{memnet.New(cfg), t, time.Now()}
		f(lab)
		lab.Close()
	})
}

func server(t *testing.T, name string) *listenq.Profile {
	t.Helper()
	p, err := listenq.ProfileNamed(name)
	require.NoError(t, err)
	return p
}

func dialer(t *testing.T, name string) *client.Profile {
	t.Helper()
	p, err := client.ProfileNamed(name)
	require.NoError(t, err)
	return p
}

func (lab *lab) now() time.Duration { return time.Since(lab.start) }

func (lab *lab) listen(backlog int, opts *memnet.ListenOptions) *memnet.Listener {
	lab.t.Helper()
	l, err := lab.Listen("tcp", "shop:80", backlog, opts)
	require.NoError(lab.t, err)
	return l
}

func (lab *lab) dial() *memnet.Conn {
	lab.t.Helper()
	c, err := lab.Dial("tcp", "shop:80")
	require.NoError(lab.t, err)
	return c.(*memnet.Conn)
}

func (lab *lab) accept(l *memnet.Listener) *memnet.Conn {
	lab.t.Helper()
	require.NoError(lab.t, l.SetDeadline(time.Now().Add(time.Hour)))
	c, err := l.Accept()
	require.NoError(lab.t, err)
	require.NoError(lab.t, l.SetDeadline(time.Time{}))
	return c.(*memnet.Conn)
}

// pair is an accepted connection; the server's end comes first.
func (lab *lab) pair(l *memnet.Listener) (accepted, dialed *memnet.Conn) {
	lab.t.Helper()
	dialed = lab.dial()
	return lab.accept(l), dialed
}

// fate is what a call came to, in the words of its errno, and when.
type fate struct {
	at  time.Duration
	end string
}

// dialing dials in the background.
func (lab *lab) dialing() <-chan fate {
	done := make(chan fate, 1)
	go func() {
		c, err := lab.Dial("tcp", "shop:80")
		if err == nil {
			defer c.Close()
		}
		done <- fate{lab.now(), outcome(err)}
	}()
	return done
}

func outcome(err error) string {
	for name, is := range map[string]error{
		"ECONNREFUSED": syscall.ECONNREFUSED,
		"ECONNRESET":   syscall.ECONNRESET,
		"ETIMEDOUT":    syscall.ETIMEDOUT,
		"EPIPE":        syscall.EPIPE,
		"closed":       net.ErrClosed,
	} {
		if errors.Is(err, is) {
			return name
		}
	}
	if err == nil {
		return "connected"
	}
	return err.Error()
}

// after does something later in the background.
func (lab *lab) after(wait time.Duration, do func()) {
	go func() {
		time.Sleep(wait)
		do()
	}()
}

const (
	ms = time.Millisecond
	s  = time.Second
)
