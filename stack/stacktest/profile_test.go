package stacktest_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

func profile(t *testing.T, name string) *listenq.Profile {
	p, err := listenq.ProfileNamed(name)
	require.NoError(t, err)
	return p
}

func labWith(t *testing.T, name string) *stacktest.Lab {
	return stacktest.New(t, stacktest.Config{Profile: profile(t, name)})
}

// The listener's profile goes before the stack's.
func TestProfilePerListener(t *testing.T) {
	lab := labWith(t, "freebsd")
	l := lab.Listen(":80", 1000, nil)
	require.Equal(t, "freebsd", l.Stats().Profile)
	require.Equal(t, []int{128, 193, 15360}, []int{l.Stats().Limit, l.Stats().AcceptCapacity, l.Stats().SYNCapacity})
	other := lab.Listen(":81", 1000, &stack.ListenOptions{Profile: profile(t, "linux-6")})
	require.Equal(t, "linux-6", other.Stats().Profile)
	require.Equal(t, []int{1000, 1001, 1001}, []int{other.Stats().Limit, other.Stats().AcceptCapacity, other.Stats().SYNCapacity})
	macos := lab.Listen(":82", 0, &stack.ListenOptions{Profile: profile(t, "macos")})
	require.Equal(t, []int{128, 128, -1}, []int{macos.Stats().Limit, macos.Stats().AcceptCapacity, macos.Stats().SYNCapacity})

	// A setting moves what the platform has a setting for, and only when listen
	// is called.
	lab.SetSysctl("net.core.somaxconn", "500")
	lab.SetSysctl("net/core/somaxconn", "600")
	l.Listen(1000)
	other.Listen(1000)
	require.Equal(t, 600, l.Stats().Limit)
	require.Equal(t, 600, other.Stats().Limit)
	lwip := lab.Listen(":83", 1000, &stack.ListenOptions{Profile: profile(t, "lwip")})
	require.Equal(t, 255, lwip.Stats().Limit)
}

func TestProfileErrors(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	_, err := lab.TryListen(":80", 0, &stack.ListenOptions{Profile: profile(t, "illumos")})
	require.ErrorIs(t, err, syscall.EINVAL)
	broken := profile(t, "linux-6")
	broken.SYNACK.Retries = -1
	_, err = lab.TryListen(":80", 0, &stack.ListenOptions{Profile: broken})
	require.ErrorContains(t, err, "the schedule never ends")
	_, err = lab.TryListen(":80", 1, &stack.ListenOptions{Profile: profile(t, "freebsd"), DeferAccept: time.Second})
	require.ErrorContains(t, err, "FreeBSD 14 has no TCP_DEFER_ACCEPT")
	l := lab.Listen(":80", 1, &stack.ListenOptions{Profile: profile(t, "illumos")}) // the port is free
	require.ErrorIs(t, l.Stack().Listen(-1), syscall.EINVAL)
	require.Equal(t, 1, l.Stats().Limit)
}

// A client that finds no room is refused at once under Windows, and waits under
// Linux.
func TestProfileRefuses(t *testing.T) {
	for name, want := range map[string]error{"windows": syscall.ECONNREFUSED, "linux-6": nil} {
		lab := labWith(t, name)
		l := lab.Listen(":80", 1, nil)
		for l.Stats().AcceptQueue < l.Stats().AcceptCapacity {
			lab.Dial("", l).ExpectConnected()
		}
		late := lab.Dial("late", l)
		if want != nil {
			late.ExpectError(syscall.ECONNREFUSED)
		} else {
			late.ExpectConnecting()
		}
	}
}

// FreeBSD answers the SYN although the accept queue is full, and resets the
// client at its ACK: it is connected, and then it is not.
func TestProfileResetsFinalACK(t *testing.T) {
	lab := labWith(t, "freebsd")
	l := lab.Listen(":80", 0, nil)
	lab.Peer("alice", l).Handshake()
	bob := lab.Peer("bob", l)
	bob.SYN()
	bob.Expect("SYN-ACK")
	bob.ACK()
	bob.Expect("RST seq=1")
	l.ExpectQueues(0, 1)
}

// A connection that is reset in the queue comes out of accept as ECONNABORTED on
// BSD, once, and keeps its place until then; a FIN before makes no difference.
func TestProfileAbortsAccept(t *testing.T) {
	for _, fin := range []bool{false, true} {
		lab := labWith(t, "freebsd")
		l := lab.Listen(":80", 1, nil)
		alice, bob := lab.Peer("alice", l), lab.Peer("bob", l)
		alice.Handshake()
		bob.Handshake()
		if fin {
			alice.FIN()
		}
		alice.RST()
		l.ExpectQueues(0, 2)
		l.ExpectAcceptError(syscall.ECONNABORTED)
		l.ExpectQueues(0, 1)
		require.Equal(t, "bob", l.Accept().Client())
		l.ExpectAcceptError(syscall.EAGAIN)

		alice = lab.Peer("again", l)
		alice.Handshake()
		alice.RST()
		_, err := l.Stack().Accept() // there is something: it does not wait
		require.ErrorIs(t, err, syscall.ECONNABORTED)
		var temporary interface{ Temporary() bool }
		require.True(t, errors.As(err, &temporary))
		require.True(t, temporary.Temporary(), "servers try again")
		var op *net.OpError
		require.True(t, errors.As(err, &op))
		require.Equal(t, "accept", op.Op)
		_, err = l.Stack().AcceptEndpoint()
		require.Equal(t, syscall.EAGAIN, err)
	}
}

// Under Linux and macOS it is returned.
func TestProfileKeepsReset(t *testing.T) {
	for _, name := range []string{"linux-6", "macos", "netstack"} {
		lab := labWith(t, name)
		l := lab.Listen(":80", 1, nil)
		alice := lab.Peer("alice", l)
		alice.Handshake()
		alice.RST()
		require.Equal(t, "alice", l.Accept().Client())
	}
}

// lwIP frees the place at once.
func TestProfileReleasesPlace(t *testing.T) {
	lab := labWith(t, "lwip")
	l := lab.Listen(":80", 1, nil)
	alice, bob := lab.Peer("alice", l), lab.Peer("bob", l)
	alice.Handshake()
	bob.SYN()
	bob.ExpectNothing()
	alice.RST()
	bob.SYN()
	bob.Expect("SYN-ACK")
	bob.ACK()
	l.ExpectQueues(0, 2)
	require.Equal(t, "alice", l.Accept().Client())
	require.Equal(t, "bob", l.Accept().Client())
}

// What half-open clients hear when the listener closes.
func TestProfileClose(t *testing.T) {
	for name, want := range map[string]struct {
		atClose, atTimer, atACK string
	}{
		"linux-6": {"", "", "RST seq=1"},
		"freebsd": {"", "SYN-ACK", "RST seq=1"},
		"macos":   {"RST-ACK seq=1 ack=1", "", "RST seq=1"},
		"openbsd": {"", "", "RST seq=1"},
	} {
		t.Run(name, func(t *testing.T) {
			lab := labWith(t, name)
			l := lab.Listen(":80", 5, nil)
			alice := lab.Peer("alice", l)
			alice.SYN()
			alice.Expect("SYN-ACK")
			requests := len(lab.Stack().Requests())
			require.Equal(t, 1, requests)
			l.Close()
			expect := func(want string) {
				if want == "" {
					alice.ExpectNothing()
				} else {
					alice.Expect(want)
				}
			}
			expect(want.atClose)
			lab.Advance(3 * time.Second)
			expect(want.atTimer)
			if want.atTimer != "" {
				expect(want.atTimer) // at 1 s and at 3 s
			}
			alice.ACK()
			expect(want.atACK)
			lab.Advance(5 * time.Minute)
			require.Empty(t, lab.Stack().Requests())
		})
	}
}

// An evicted client learns of it when its ACK comes.
func TestProfileEvicts(t *testing.T) {
	lab := labWith(t, "macos")
	l := lab.Listen(":80", 1, nil)
	alice, bob := lab.Peer("alice", l), lab.Peer("bob", l)
	alice.SYN()
	alice.Expect("SYN-ACK")
	bob.SYN()
	bob.Expect("SYN-ACK")
	alice.ACK()
	alice.Expect("RST seq=1")
	bob.ACK()
	require.Equal(t, "bob", l.Accept().Client())
	l.ExpectCounter("Evictions", 1)
}

// A FreeBSD cookie brings an evicted client back with the window scale and SACK
// that its SYN offered.
func TestProfileCookieAfterEviction(t *testing.T) {
	p := profile(t, "freebsd")
	p.SYNQueue.Buckets, p.SYNQueue.PerBucket = 1, 1
	lab := stacktest.New(t, stacktest.Config{Profile: p})
	l := lab.Listen(":80", 5, nil)
	alice := lab.Peer("alice", l)
	alice.Send(stacktest.Segment{Flags: stacktest.SYN, Options: listenq.Options{
		MSS: 1460, WindowScaling: true, WindowScale: 7, SACKPermitted: true, Timestamps: true, TSVal: 1,
	}})
	alice.Expect("SYN-ACK")
	bob := lab.Peer("bob", l)
	bob.SYN()
	alice.ACK()
	c := l.Accept()
	require.Equal(t, "alice", c.Client())
	alice.Data("hello")
	require.Equal(t, "hello", c.Read())
	l.ExpectCounter("SyncookiesRecv", 1)
}
