package memnet_test

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/memnet"
)

func TestConnectTakesARoundTrip(t *testing.T) {
	bubble(t, memnet.Config{Latency: 40 * ms}, func(lab *lab) {
		lab.listen(5, nil)
		lab.dial()
		require.Equal(t, 80*ms, lab.now())
	})
}

// Linux ignores a SYN that finds the accept queue full; the connect succeeds
// with the first SYN that finds room.
func TestFullAcceptQueueOnLinux(t *testing.T) {
	for _, tc := range []struct {
		client   string
		room     time.Duration // when accept makes room
		connects time.Duration
	}{
		{"linux-6", 500 * ms, 1 * s},
		{"linux-6", 1500 * ms, 2 * s},
		{"linux-6", 2500 * ms, 3 * s},
		{"linux-5", 500 * ms, 1 * s},
		{"linux-5", 1500 * ms, 3 * s},
		{"linux-5", 100 * s, 0},
		{"windows", 1500 * ms, 3 * s},
		{"macos", 1500 * ms, 2 * s},
		{"freebsd", 8 * s, 15 * s},
	} {
		t.Run(tc.client+" "+tc.room.String(), func(t *testing.T) {
			bubble(t, memnet.Config{Client: dialer(t, tc.client)}, func(lab *lab) {
				l := lab.listen(1, nil)
				lab.dial()
				lab.dial()
				require.Zero(t, lab.now(), "two fit")
				lab.after(tc.room, func() { lab.accept(l) })
				got := <-lab.dialing()
				if tc.connects == 0 {
					require.Equal(t, fate{127 * s, "ETIMEDOUT"}, got, "no SYN after 63 s")
					return
				}
				require.Equal(t, fate{tc.connects, "connected"}, got)
			})
		})
	}
}

func TestNobodyAccepts(t *testing.T) {
	for name, want := range map[string]time.Duration{
		"linux-6": 131 * s, "linux-5": 127 * s, "windows": 21 * s, "windows-7": 21 * s, "macos": 75 * s, "freebsd": 75 * s,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, memnet.Config{Client: dialer(t, name)}, func(lab *lab) {
				lab.listen(0, nil)
				lab.dial()
				_, err := lab.Dial("tcp", "shop:80")
				require.Equal(t, want, lab.now())
				require.EqualError(t, err, "dial tcp 198.18.0.1:80: connect: connection timed out")
				require.True(t, err.(net.Error).Timeout())
			})
		})
	}
}

// Where nobody listens, and where a listener resets what it has no room for.
func TestRefused(t *testing.T) {
	for name, want := range map[string]time.Duration{
		"linux-6": 0, "linux-5": 0, "windows": 2 * s, "windows-7": 1 * s, "macos": 0, "freebsd": 0,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, memnet.Config{Client: dialer(t, name)}, func(lab *lab) {
				_, err := lab.Dial("tcp", "shop:80")
				require.Equal(t, want, lab.now())
				require.EqualError(t, err, "dial tcp 198.18.0.1:80: connect: connection refused")
				require.ErrorIs(t, err, syscall.ECONNREFUSED)

				lab.listen(0, &memnet.ListenOptions{Overflow: listenq.Overflow{ResetSYN: true}})
				lab.dial()
				require.Equal(t, fate{2 * want, "ECONNREFUSED"}, <-lab.dialing())
			})
		})
	}
}

// A Windows client does not believe the first RST: if there is room half a
// second later, it connects.
func TestWindowsClientOutlastsAFullQueue(t *testing.T) {
	bubble(t, memnet.Config{Client: dialer(t, "windows")}, func(lab *lab) {
		l := lab.listen(0, &memnet.ListenOptions{Overflow: listenq.Overflow{ResetSYN: true}})
		lab.dial()
		lab.after(700*ms, func() { lab.accept(l) })
		require.Equal(t, fate{1 * s, "connected"}, <-lab.dialing())
	})
}

// overlap makes two connections whose handshakes overlap, the first one ahead by
// a nanosecond, while the listener, of backlog 1, has room for one only: both
// connect, but the second final ACK finds the accept queue full.
func (lab *lab) overlap(opts *memnet.ListenOptions) (l *memnet.Listener, second *memnet.Conn) {
	l = lab.listen(1, opts)
	lab.dial()
	go lab.dial()
	time.Sleep(time.Nanosecond)
	return l, lab.dial()
}

const overlapped = 40*ms + 1 // when both have connected; latency 10 ms

func TestFinalACKIgnored(t *testing.T) {
	bubble(t, memnet.Config{Latency: 10 * ms}, func(lab *lab) {
		l, _ := lab.overlap(nil)
		require.Equal(t, overlapped, lab.now())
		time.Sleep(10 * ms)
		stats := l.Stats()
		require.Equal(t, 2, stats.AcceptQueue)
		require.Equal(t, 1, stats.SYNQueue)
		require.EqualValues(t, 1, stats.Counters.ListenOverflows)
	})
}

func TestFinalACKAborted(t *testing.T) {
	sysctls := listenq.DefaultSysctls()
	sysctls.AbortOnOverflow = true
	for name, test := range map[string]struct {
		sysctls *listenq.Sysctls
		opts    *memnet.ListenOptions
	}{
		"tcp_abort_on_overflow": {&sysctls, nil},
		"overflow policy":       {nil, &memnet.ListenOptions{Overflow: listenq.Overflow{ResetFinalACK: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, memnet.Config{Latency: 10 * ms, Sysctls: test.sysctls}, func(lab *lab) {
				l, c := lab.overlap(test.opts)
				_, err := c.Read(make([]byte, 1))
				require.Equal(t, overlapped+20*ms, lab.now())
				require.ErrorIs(t, err, syscall.ECONNRESET)
				require.EqualError(t, err, "read tcp 192.0.2.1:32770->198.18.0.1:80: read: connection reset by peer")
				require.Zero(t, l.Stats().SYNQueue)
			})
		})
	}
}

// A client whose final ACK was ignored does not know. It is let in by the
// SYN-ACK of 1 s, or by its own data before that: what is written at 50 ms finds
// the queue full and is sent again after 220 ms, and again after as much.
func TestIgnoredFinalACK(t *testing.T) {
	const written = 50 * ms
	for _, tc := range []struct {
		name  string
		write bool
		room  time.Duration
		in    time.Duration
	}{
		{"SYN-ACK again", false, 100 * ms, overlapped - 10*ms + 1*s + 20*ms},
		{"SYN-ACK again, later", false, 2 * s, overlapped - 10*ms + 3*s + 20*ms},
		{"data again", true, 100 * ms, written + 220*ms + 10*ms},
		{"data again, later", true, 300 * ms, written + 220*ms + 220*ms + 10*ms},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, memnet.Config{Latency: 10 * ms}, func(lab *lab) {
				l, late := lab.overlap(nil)
				if tc.write {
					time.Sleep(written - lab.now())
					_, err := late.Write([]byte("hello"))
					require.NoError(t, err)
				}
				time.Sleep(tc.room - lab.now())
				lab.accept(l)
				lab.accept(l)
				require.Equal(t, tc.room, lab.now())
				accepted := lab.accept(l)
				require.Equal(t, tc.in, lab.now())
				require.Equal(t, late.LocalAddr(), accepted.RemoteAddr())
				if tc.write {
					b := make([]byte, 10)
					n, err := accepted.Read(b)
					require.NoError(t, err)
					require.Equal(t, "hello", string(b[:n]))
				}
			})
		})
	}
}

// A request that runs out of SYN-ACKs is forgotten, and the client that thinks
// it is connected learns it when it writes.
func TestForgottenRequest(t *testing.T) {
	bubble(t, memnet.Config{Latency: 10 * ms}, func(lab *lab) {
		_, c := lab.overlap(nil)
		time.Sleep(2 * time.Minute)
		_, err := c.Write([]byte("hello"))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Equal(t, overlapped+2*time.Minute+20*ms, lab.now())
	})
}

// Data that the listener never answers is sent 16 times more. Here it keeps the
// request for hours, and its queue stays full.
func TestUnansweredData(t *testing.T) {
	patient := server(t, "linux-6")
	patient.SYNACK.Retries = 255
	bubble(t, memnet.Config{Server: patient, Latency: 10 * ms}, func(lab *lab) {
		_, c := lab.overlap(nil)
		_, err := c.Write([]byte("hello"))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		end, wait := overlapped+220*ms, 220*ms // the probe
		for range 16 {
			end += wait
			wait = min(2*wait, 2*time.Minute)
		}
		require.Equal(t, end, lab.now())
	})
}

func TestDialTimeouts(t *testing.T) {
	tests := map[string]func(lab *lab) error{
		"timeout": func(lab *lab) error {
			d := memnet.Dialer{Network: lab.Network, Timeout: 1500 * ms}
			_, err := d.Dial("tcp", "shop:80")
			return err
		},
		"deadline": func(lab *lab) error {
			ctx, cancel := context.WithDeadline(lab.t.Context(), time.Now().Add(1500*ms))
			defer cancel()
			_, err := lab.DialContext(ctx, "tcp", "shop:80")
			return err
		},
	}
	for name, dial := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, memnet.Config{}, func(lab *lab) {
				lab.listen(0, nil)
				lab.dial()
				err := dial(lab)
				require.Equal(t, 1500*ms, lab.now())
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.True(t, err.(net.Error).Timeout())
				require.EqualError(t, err, "dial tcp 198.18.0.1:80: i/o timeout")
			})
		})
	}
}

func TestDialCanceled(t *testing.T) {
	bubble(t, memnet.Config{Latency: 100 * ms}, func(lab *lab) {
		l := lab.listen(0, nil)
		ctx, cancel := context.WithCancel(lab.t.Context())
		lab.after(150*ms, cancel)
		_, err := lab.DialContext(ctx, "tcp", "shop:80")
		require.Equal(t, 150*ms, lab.now())
		require.ErrorIs(t, err, context.Canceled)
		require.EqualError(t, err, "dial tcp 198.18.0.1:80: operation was canceled")
		require.Equal(t, 1, l.Stats().SYNQueue)
		time.Sleep(150 * ms)
		require.Zero(t, l.Stats().SYNQueue, "the SYN-ACK was answered by RST")

		_, err = lab.DialContext(ctx, "tcp", "shop:80")
		require.ErrorIs(t, err, context.Canceled, "before the first SYN")
	})
}

// Each dialer and each listener may have a platform of its own.
func TestProfilesOfOneSocket(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		d := memnet.Dialer{Network: lab.Network, Profile: dialer(t, "windows-7")}
		_, err := d.Dial("tcp", "nobody:80")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Equal(t, 1*s, lab.now())

		custom := server(t, "linux-6")
		custom.Name = "mine"
		l := lab.listen(0, &memnet.ListenOptions{Profile: custom})
		require.Equal(t, "mine", l.Profile().Name)
	})
}

func TestInvalidProfiles(t *testing.T) {
	bad := dialer(t, "linux-6")
	bad.GiveUp = 0
	worse := server(t, "linux-6")
	worse.SYNACK.Waits = nil
	bubble(t, memnet.Config{Client: bad, Server: worse}, func(lab *lab) {
		_, err := lab.Dial("tcp", "shop:80")
		require.ErrorContains(t, err, "give-up: 0s")
		_, err = lab.Listen("tcp", "shop:80", 0, nil)
		require.ErrorContains(t, err, "waits")
		d := memnet.Dialer{Network: lab.Network, Profile: bad}
		_, err = d.Dial("tcp", "shop:80")
		require.ErrorContains(t, err, "give-up: 0s")
	})
}

func TestDeferAccept(t *testing.T) {
	bubble(t, memnet.Config{}, func(lab *lab) {
		l := lab.listen(5, &memnet.ListenOptions{DeferAccept: 10 * s})
		c := lab.dial()
		lab.after(5*s, func() { io.WriteString(c, "hello") })
		accepted := lab.accept(l)
		require.Equal(t, 5*s, lab.now())
		b := make([]byte, 5)
		_, err := io.ReadFull(accepted, b)
		require.NoError(t, err)
		require.Equal(t, "hello", string(b))
	})
}
