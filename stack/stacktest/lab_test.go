package stacktest_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// failure plays a script that must fail and returns its message.
func failure(t *testing.T, script func(*stacktest.Lab)) string {
	t.Helper()
	err := stacktest.Play(stacktest.Config{}, script)
	require.Error(t, err)
	return err.Error()
}

func TestMisuseIsExplained(t *testing.T) {
	for name, tc := range map[string]struct {
		script func(*stacktest.Lab)
		want   string
	}{
		"backwards": {func(lab *stacktest.Lab) { lab.Advance(-time.Second) },
			"Advance(-1s): time does not move backwards"},
		"back to": {func(lab *stacktest.Lab) { lab.AdvanceTo(3 * time.Second); lab.AdvanceTo(time.Second) },
			"at 3.000 s: AdvanceTo(1s) at 3s: time does not move backwards"},
		"accept": {func(lab *stacktest.Lab) { lab.Listen(":80", 1, nil).Accept() },
			"Accept would wait for ever: the accept queue is empty"},
		"read": {func(lab *stacktest.Lab) {
			l := lab.Listen(":80", 1, nil)
			lab.Dial("alice", l)
			l.Accept().Read()
		}, "Read would wait for ever: nothing has arrived from alice"},
		"write": {func(lab *stacktest.Lab) {
			l := lab.Listen(":80", 1, nil)
			lab.Peer("alice", l).Handshake()
			l.Accept().Write(strings.Repeat("x", 10<<20))
		}, "Write would wait for ever: the send buffer has taken"},
		"pattern": {func(lab *stacktest.Lab) {
			p := lab.Peer("alice", lab.Listen(":80", 1, nil))
			p.SYN()
			p.Expect("SYN-ACK colour=red")
		}, `"colour=red" in pattern`},
		"flags":  {func(lab *stacktest.Lab) { lab.Peer("alice", lab.Listen(":80", 1, nil)).Expect("SIN") }, `unknown flag "SIN"`},
		"sysctl": {func(lab *stacktest.Lab) { lab.SetSysctl("net.ipv4.tcp_syncookies", "3") }, "use a whole number from 0 to 2"},
		"counter": {func(lab *stacktest.Lab) { lab.Listen(":80", 1, nil).ExpectCounter("Overflows", 1) },
			`the listener has no counter "Overflows"`},
		"listen": {func(lab *stacktest.Lab) { lab.Listen(":80", 1, nil); lab.Listen(":80", 1, nil) }, "address already in use"},
		"name taken": {func(lab *stacktest.Lab) {
			at := netip.MustParseAddrPort("192.0.2.1:80")
			lab.PeerAt("alice", netip.MustParseAddrPort("192.0.2.9:1"), at)
			lab.PeerAt("bob", netip.MustParseAddrPort("192.0.2.9:1"), at)
		}, "it is alice's"},
		"early write": {func(lab *stacktest.Lab) {
			l := lab.Listen(":80", 0, nil)
			lab.Dial("alice", l)
			lab.Dial("bob", l).Write("x")
		}, "bob cannot write: it is still connecting, after 1 SYNs"},
	} {
		t.Run(name, func(t *testing.T) { require.Contains(t, failure(t, tc.script), tc.want) })
	}
}

func TestSecondDriverPanics(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	entered, panicked := make(chan struct{}), make(chan any)
	lab.Stack() // not a call that drives
	l := lab.Listen(":80", 1, nil)
	lab.Peer("alice", l).SYN()
	go func() {
		defer func() { panicked <- recover() }()
		<-entered
		lab.Advance(time.Second)
	}()
	stacktest.WhileDriving(lab, func() {
		close(entered)
		require.Contains(t, <-panicked, "already driving the lab")
	})
}

func TestUnmetExpectationsShowTheLadder(t *testing.T) {
	message := failure(t, func(lab *stacktest.Lab) {
		l := lab.Listen(":80", 1, nil)
		alice := lab.Peer("alice", l)
		alice.SYN()
		alice.Expect("RST")
	})
	require.Contains(t, message, "alice should have received RST, and received SYN-ACK seq=0 ack=1")
	require.Contains(t, message, "|<--- SYN-ACK -----------|       1      0/2")
	require.Contains(t, message, "0.000 s  alice < SYN-ACK seq=0 ack=1")

	for want, script := range map[string]func(*stacktest.Lab, *stacktest.Listener, *stacktest.Peer){
		"its mss is 1460":                    func(_ *stacktest.Lab, _ *stacktest.Listener, p *stacktest.Peer) { p.Expect("SYN-ACK mss=9") },
		"it has no ts":                       func(_ *stacktest.Lab, _ *stacktest.Listener, p *stacktest.Peer) { p.Expect("SYN-ACK ts") },
		"received nothing beyond 1 segments": func(_ *stacktest.Lab, _ *stacktest.Listener, p *stacktest.Peer) { p.Expect("SYN-ACK"); p.Expect("ACK") },
		"should have received nothing, and":  func(_ *stacktest.Lab, _ *stacktest.Listener, p *stacktest.Peer) { p.ExpectNothing() },
		"the accept queue 1 of 2, and they":  func(_ *stacktest.Lab, l *stacktest.Listener, _ *stacktest.Peer) { l.ExpectQueues(0, 1) },
		"is 0, and should be 7":              func(_ *stacktest.Lab, l *stacktest.Listener, _ *stacktest.Peer) { l.ExpectCounter("ListenDrops", 7) },
		"resource temporarily unavailable":   func(_ *stacktest.Lab, l *stacktest.Listener, _ *stacktest.Peer) { l.ExpectAcceptError(syscall.EINVAL) },
		"returned the connection of 192.0.2": func(_ *stacktest.Lab, l *stacktest.Listener, p *stacktest.Peer) {
			p.ACK()
			l.ExpectAcceptError(syscall.EAGAIN)
		},
		"c should have failed with connection": func(lab *stacktest.Lab, l *stacktest.Listener, p *stacktest.Peer) {
			lab.Dial("c", l).ExpectError(syscall.ECONNREFUSED)
		},
		"c should still be connecting, and is": func(lab *stacktest.Lab, l *stacktest.Listener, p *stacktest.Peer) {
			lab.Dial("c", l).ExpectConnecting()
		},
	} {
		require.Contains(t, failure(t, func(lab *stacktest.Lab) {
			l := lab.Listen(":80", 1, nil)
			p := lab.Peer("p", l)
			p.SYN()
			script(lab, l, p)
		}), want)
	}
}

func TestPeerDataAndTeardown(t *testing.T) {
	for _, cfg := range []stacktest.Config{{}, {Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")}}} {
		lab := stacktest.New(t, cfg)
		l := lab.Listen(":80", 1, nil)
		p := lab.Peer("alice", l)
		p.Handshake()
		c := l.Accept()
		require.Equal(t, "alice", c.Client())
		c.ExpectReadError(syscall.EAGAIN)
		p.Data("hello")
		p.Expect("ACK seq=1 ack=6 len=0")
		require.Equal(t, "hello", c.Read())
		c.Write("world!")
		require.Equal(t, "world!", string(p.Expect("PSH-ACK seq=1 ack=6 len=6").Payload))
		p.ACK()
		p.FIN()
		lab.Advance(50 * time.Millisecond)
		p.Expect("ACK seq=7 ack=7")
		c.ExpectReadError(io.EOF)
		c.Close()
		p.Expect("FIN-ACK seq=7 ack=7")
		p.ACK()
		p.ExpectNothing()
		require.Zero(t, lab.Stack().Connections())
	}
}

func TestPeerReset(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen("192.0.2.1:80", 1, nil)
	p := lab.Peer("alice", l)
	p.Handshake()
	p.RST()
	c := l.Accept()
	c.ExpectReadError(syscall.ECONNRESET)
	lab.ExpectCounter("EstabResets", 1)
	l.ExpectAcceptError(syscall.EAGAIN)

	closed := lab.PeerAt("lost", netip.MustParseAddrPort("192.0.2.9:9"), netip.MustParseAddrPort("192.0.2.1:81"))
	closed.SYN()
	closed.Expect("RST-ACK seq=0 ack=1")
	closed.Send(stacktest.Segment{Flags: stacktest.ACK, Seq: 1, Ack: 5})
	closed.Expect("RST seq=5")
	lab.ExpectCounter("OutRsts", 2)
}

func TestClientGivesUpLikeLinux(t *testing.T) {
	sysctls := listenq.DefaultSysctls()
	lab := stacktest.New(t, stacktest.Config{Sysctls: &sysctls})
	l := lab.Listen(":80", 0, nil)
	lab.Peer("alice", l).Handshake()
	c := lab.Dial("bob", l)
	lab.Advance(130 * time.Second)
	c.ExpectConnecting()
	lab.Advance(time.Second)
	c.ExpectError(syscall.ETIMEDOUT)
	lab.Golden("client-gives-up.txt", lab.Trace())

	quick := lab.DialWith("carol", l, stacktest.ClientConfig{SYNRetries: 1})
	lab.Advance(7 * time.Second)
	quick.ExpectError(syscall.ETIMEDOUT)
}

// A final ACK that is forgotten leaves a client that believes to be connected;
// what it writes then completes the handshake as soon as there is room.
func TestClientDataCompletesHandshake(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 1, nil)
	slow := lab.DialWith("slow", l, stacktest.ClientConfig{Delay: 10 * time.Millisecond})
	lab.Advance(10 * time.Millisecond) // its SYN is there
	lab.Dial("alice", l)
	lab.Dial("bob", l)
	lab.Advance(50 * time.Millisecond)
	slow.ExpectConnected()
	l.ExpectQueues(1, 2)
	slow.Write("hello")
	lab.Advance(100 * time.Millisecond)
	l.ExpectQueues(1, 2)
	l.Accept()
	lab.Advance(200 * time.Millisecond)
	l.ExpectQueues(0, 2)
	l.Accept()
	c := l.Accept()
	require.Equal(t, "slow", c.Client())
	require.Equal(t, "hello", c.Read())
	c.Write("bye")
	c.Close()
	lab.Advance(50 * time.Millisecond)
	require.Equal(t, "bye", slow.Read())
	require.True(t, slow.EOF())
	slow.Close()
	lab.Advance(time.Second)
	require.NoError(t, slow.Err())
	lab.Golden("data-completes-handshake.txt", lab.Ladder())
}

func TestClientResetAfterConnect(t *testing.T) {
	sysctls := listenq.DefaultSysctls()
	sysctls.AbortOnOverflow = true
	lab := stacktest.New(t, stacktest.Config{Sysctls: &sysctls})
	l := lab.Listen(":80", 1, nil)
	slow := lab.DialWith("slow", l, stacktest.ClientConfig{Delay: time.Millisecond})
	lab.Advance(time.Millisecond)
	lab.Dial("alice", l)
	lab.Dial("bob", l)
	lab.Advance(10 * time.Millisecond)
	slow.ExpectError(syscall.ECONNRESET)
	require.True(t, slow.Connected())
	require.ErrorIs(t, slow.Err(), syscall.ECONNRESET)
}

func TestShutdownAndListenAgain(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 3, nil)
	alice, bob, carol := lab.Peer("alice", l), lab.Peer("bob", l), lab.Peer("carol", l)
	alice.Handshake()
	bob.SYN()
	bob.Expect("SYN-ACK")
	l.Shutdown()
	alice.Expect("RST-ACK seq=1 ack=1")
	l.ExpectAcceptError(syscall.EINVAL)
	carol.SYN()
	carol.Expect("RST-ACK")
	l.Listen(0)
	l.ExpectAcceptError(syscall.EAGAIN)
	bob.ACK()
	require.Equal(t, "bob", l.Accept().Client())
	lab.Golden("shutdown.txt", lab.Ladder())
	l.Close()
	require.ErrorIs(t, l.Stack().Shutdown(), net.ErrClosed)
}

func TestPlayReturnsFailures(t *testing.T) {
	require.NoError(t, stacktest.Play(stacktest.Config{}, func(*stacktest.Lab) {}))
	require.PanicsWithValue(t, "mine", func() {
		_ = stacktest.Play(stacktest.Config{}, func(*stacktest.Lab) { panic("mine") })
	})
}

func TestOverflowPolicy(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{MTU: 1280})
	l := lab.Listen(":80", 0, &stack.ListenOptions{Overflow: listenq.Overflow{ResetSYN: true}})
	lab.Peer("alice", l).Handshake()
	bob := lab.Peer("bob", l)
	bob.SYN()
	bob.Expect("RST-ACK seq=0 ack=1")
	l.SetOverflow(listenq.Overflow{})
	bob.SYN()
	bob.ExpectNothing()
	require.Len(t, lab.Decisions(), 4)
	require.Equal(t, listenq.AcceptQueueFull, lab.Decisions()[3].Outcome.Reason)
	require.Equal(t, 1, l.Stats().AcceptQueue)
}
