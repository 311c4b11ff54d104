//go:build linux

package e2e

import (
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
)

var (
	drop          = listenq.Overflow{}
	reset         = listenq.Overflow{ResetSYN: true}
	abort         = listenq.Overflow{ResetFinalACK: true}
	resetAndAbort = listenq.Overflow{ResetSYN: true, ResetFinalACK: true}
)

func retransmits(t *testing.T, c *netlab.Socket) int {
	t.Helper()
	n, err := c.Retransmits()
	require.NoError(t, err)
	return n
}

// A SYN that is dropped is sent again by the client's kernel, and succeeds once
// there is room: connect(2) only takes longer.
func TestDroppedSYNSucceedsOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 0, nil)
		first := lab.connected(netlab.ConnectConfig{Remote: at})
		lab.depths(l, 0, 1)

		second := lab.connect(netlab.ConnectConfig{Remote: at})
		lab.isTrue("SYN dropped", func() bool { return l.Stats().Counters.ListenOverflows >= 1 })
		require.ErrorIs(t, second.Wait(0), os.ErrDeadlineExceeded)
		s := l.Stats()
		require.Equal(t, 1, s.AcceptQueue, "Recv-Q")
		require.Equal(t, 0, s.Limit, "Send-Q")
		require.Zero(t, s.SYNQueue)
		require.Equal(t, s.Counters.ListenOverflows, s.Counters.ListenDrops)
		require.Zero(t, s.Counters.OutRsts)

		talk(t, first, lab.accept(l))
		require.NoError(t, second.Wait(patience))
		require.Positive(t, retransmits(t, second))
		talk(t, lab.conn(second), lab.accept(l))
		require.EqualValues(t, 2, l.Stats().Counters.PassiveOpens)
	})
}

// With TCP_SYNCNT spent and no room, connect(2) says ETIMEDOUT.
func TestDroppedSYNTimesOut(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 0, nil)
	lab.connected(netlab.ConnectConfig{Remote: http4})
	lab.depths(l, 0, 1)
	c := lab.connect(netlab.ConnectConfig{Remote: http4, SYNRetries: 1})
	require.Equal(t, syscall.ETIMEDOUT, c.Wait(patience))
	require.GreaterOrEqual(t, l.Stats().Counters.ListenOverflows, uint64(2), "a SYN is not dropped for good")
}

// A RST that answers the SYN is ECONNREFUSED at once, without a retransmission.
func TestResetSYNRefuses(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		for _, policy := range []listenq.Overflow{reset, resetAndAbort} {
			t.Run(policy.String(), func(t *testing.T) {
				lab := newLab(t, labConfig{})
				l := lab.listen(at, 0, &stack.ListenOptions{Overflow: policy})
				first := lab.connected(netlab.ConnectConfig{Remote: at})
				lab.depths(l, 0, 1)

				second := lab.connect(netlab.ConnectConfig{Remote: at})
				require.Equal(t, syscall.ECONNREFUSED, second.Wait(patience))
				require.Zero(t, retransmits(t, second))
				want := listenq.Counters{ListenOverflows: 1, ListenDrops: 1, OutRsts: 1, PassiveOpens: 1}
				require.Equal(t, want, l.Stats().Counters)

				talk(t, first, lab.accept(l))
				third := lab.connected(netlab.ConnectConfig{Remote: at})
				talk(t, third, lab.accept(l))
			})
		}
	})
}

// lateACK lets a client connect whose final ACK arrives only after others have
// filled the accept queue. For the late client connect(2) has succeeded. The
// backlog must be at least 1: with 0 and a request waiting, the others would get
// cookies.
func (l *lab) lateACK(ln *stack.Listener, at netip.AddrPort) (late *netlab.Socket) {
	l.t.Helper()
	const port = 4001
	l.sluice.hold(func(h header.TCP) bool {
		return h.SourcePort() == port && h.Flags()&header.TCPFlagSyn == 0
	})
	late = l.connect(netlab.ConnectConfig{Remote: at, Local: l.port(at, port)})
	require.NoError(l.t, late.Wait(patience))
	l.depths(ln, 1, ln.Stats().AcceptQueue)
	for n := ln.Stats().AcceptQueue; n <= ln.Stats().Limit; n++ {
		l.connected(netlab.ConnectConfig{Remote: at})
		l.depths(ln, 1, n+1)
	}
	before := ln.Stats().Counters.ListenOverflows
	l.sluice.open()
	l.isTrue("final ACK found the queue full", func() bool { return ln.Stats().Counters.ListenOverflows > before })
	return late
}

// A RST that answers the final ACK comes after connect(2) has succeeded: the
// client's next call says ECONNRESET.
func TestAbortedFinalACKResets(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		for _, policy := range []listenq.Overflow{abort, resetAndAbort} {
			t.Run(policy.String(), func(t *testing.T) {
				lab := newLab(t, labConfig{})
				l := lab.listen(at, 1, &stack.ListenOptions{Overflow: policy})
				late := lab.lateACK(l, at)
				lab.depths(l, 0, 2)
				want := listenq.Counters{ListenOverflows: 1, ListenDrops: 1, EmbryonicRsts: 1, OutRsts: 1, PassiveOpens: 2}
				require.Equal(t, want, l.Stats().Counters)
				expectError(t, lab.take(late), syscall.ECONNRESET)
			})
		}
	})
}

// The sysctl asks the same of all listeners, those that listen already too.
func TestAbortOnOverflowSysctl(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 1, nil)
	require.NoError(t, lab.s.SetSysctl("net.ipv4.tcp_abort_on_overflow", "1"))
	late := lab.lateACK(l, http4)
	expectError(t, lab.take(late), syscall.ECONNRESET)
}

// A final ACK that is dropped is forgotten, not the request: the client believes
// to be connected, and is, as soon as there is room. What it wrote arrives.
func TestDroppedFinalACKConnectsOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		for _, policy := range []listenq.Overflow{drop, reset} {
			t.Run(policy.String(), func(t *testing.T) {
				lab := newLab(t, labConfig{})
				l := lab.listen(at, 1, &stack.ListenOptions{Overflow: policy})
				late := lab.lateACK(l, at)
				lab.depths(l, 1, 2)
				require.Zero(t, l.Stats().Counters.OutRsts)
				conn := lab.conn(late)
				_, err := conn.Write([]byte("early words"))
				require.NoError(t, err)

				lab.accept(l)
				lab.accept(l)
				accepted := lab.accept(l)
				require.Equal(t, conn.LocalAddr().String(), accepted.RemoteAddr().String())
				expect(t, accepted, "early words")
				talk(t, accepted, conn)
				lab.depths(l, 0, 0)
			})
		}
	})
}

// The policy is the listener's own and holds from the next segment on.
func TestPolicyChangesWhileListening(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 1, nil)
	for n := range 2 {
		lab.connected(netlab.ConnectConfig{Remote: http4})
		lab.depths(l, 0, n+1)
	}

	patient := lab.connect(netlab.ConnectConfig{Remote: http4})
	lab.isTrue("SYN dropped", func() bool { return l.Stats().Counters.ListenOverflows >= 1 })
	l.SetOverflow(reset)
	require.Equal(t, reset, l.Stats().Overflow)
	c := lab.connect(netlab.ConnectConfig{Remote: http4})
	require.Equal(t, syscall.ECONNREFUSED, c.Wait(patience))
	require.Zero(t, retransmits(t, c))
	require.Equal(t, syscall.ECONNREFUSED, patient.Wait(patience), "the dropped SYN comes again and meets the new policy")
	require.Positive(t, retransmits(t, patient))

	l.SetOverflow(abort)
	c = lab.connect(netlab.ConnectConfig{Remote: http4, SYNRetries: 1})
	require.Equal(t, syscall.ETIMEDOUT, c.Wait(patience), "abort does not touch the SYN")

	lab.accept(l)
	late := lab.lateACK(l, http4)
	expectError(t, lab.take(late), syscall.ECONNRESET)
}

// fills connects clients until the accept queue is full, and says how many that
// took.
func (l *lab) fills(ln *stack.Listener, at netip.AddrPort) int {
	l.t.Helper()
	ln.SetOverflow(reset)
	for n := 0; ; n++ {
		c := l.connect(netlab.ConnectConfig{Remote: at})
		err := c.Wait(patience)
		if err == syscall.ECONNREFUSED {
			require.Equal(l.t, n, ln.Stats().AcceptQueue)
			return n
		}
		require.NoError(l.t, err)
		l.depths(ln, 0, n+1)
	}
}

// What the number handed to listen becomes: backlog+1 connections wait, at most
// somaxconn+1, and a negative backlog asks for the most.
func TestBacklogBecomesLimit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                     string
		backlog, somaxconn, want int
	}{
		{"zero holds one", 0, 5, 1},
		{"one more than the backlog", 2, 5, 3},
		{"truncated to somaxconn", 100, 5, 6},
		{"negative is the most", -1, 5, 6},
		{"the most negative too", -1 << 31, 5, 6},
		{"somaxconn 0", 100, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lab := newLab(t, labConfig{})
			somaxconn := string(rune('0' + tc.somaxconn))
			require.NoError(t, lab.s.SetSysctl("net.core.somaxconn", somaxconn))
			l := lab.listen(http4, tc.backlog, nil)
			require.Equal(t, tc.want-1, l.Stats().Limit)
			require.Equal(t, tc.backlog, l.Stats().Backlog)
			require.Equal(t, tc.want, lab.fills(l, http4))
		})
	}
}

// somaxconn counts when listen is called, and not before the next time.
func TestSomaxconnCountsAtListen(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 3, nil)
	require.NoError(t, lab.s.SetSysctl("net.core.somaxconn", "1"))
	require.Equal(t, 3, l.Stats().Limit)
	require.Equal(t, 4, lab.fills(l, http4))
	require.NoError(t, l.Listen(3))
	require.Equal(t, 1, l.Stats().Limit)
}

// Listen on a listening socket changes the limit and keeps what is queued.
func TestListenAgain(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 2, nil)
	require.Equal(t, 3, lab.fills(l, http4))

	require.NoError(t, l.Listen(0))
	require.Equal(t, 3, l.Stats().AcceptQueue, "nothing is thrown out")
	for queued := 3; queued > 0; queued-- {
		c := lab.connect(netlab.ConnectConfig{Remote: http4})
		require.Equal(t, syscall.ECONNREFUSED, c.Wait(patience), "%d queued", queued)
		lab.accept(l)
	}
	lab.connected(netlab.ConnectConfig{Remote: http4})
	lab.depths(l, 0, 1)

	require.NoError(t, l.Listen(1))
	lab.connected(netlab.ConnectConfig{Remote: http4})
	lab.depths(l, 0, 2)
	c := lab.connect(netlab.ConnectConfig{Remote: http4})
	require.Equal(t, syscall.ECONNREFUSED, c.Wait(patience))
}

// Connections are accepted in the order in which their handshakes ended.
func TestAcceptOrder(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 50, nil)
	var want []string
	for i := range 50 {
		c := lab.connected(netlab.ConnectConfig{Remote: http4})
		want = append(want, c.LocalAddr().String())
		lab.depths(l, 0, i+1)
	}
	for _, w := range want {
		require.Equal(t, w, lab.accept(l).RemoteAddr().String())
	}
}
