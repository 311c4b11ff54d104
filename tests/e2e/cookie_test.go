//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
)

// halfOpen leaves requests in the SYN queue of a listener until it is full.
func (l *lab) halfOpen(ln *stack.Listener, at netip.AddrPort) *forger {
	l.t.Helper()
	f := l.forger()
	for i := range ln.Stats().Limit + 1 {
		s := segment{src: f.from(at, uint16(7000+i)), dst: at, flags: syn, seq: 1, window: 65535}
		f.send(s.packet())
		require.Equal(l.t, syn|ack, f.answer(s.src).flags)
	}
	return f
}

// A SYN queue full of silence does not keep a kernel client out: it gets a
// cookie, and with its timestamps even keeps window scaling and SACK.
func TestCookieLetsClientPastFullSYNQueue(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 3, nil)
		lab.halfOpen(l, at)
		c := lab.connect(netlab.ConnectConfig{Remote: at})
		require.NoError(t, c.Wait(patience))
		info, err := c.Info()
		require.NoError(t, err)
		const timestamps, sack, windowScale = 1, 2, 4 // TCPI_OPT_*
		require.EqualValues(t, timestamps|sack|windowScale, info.Options&7)
		require.Zero(t, retransmits(t, c))
		talk(t, lab.conn(c), lab.accept(l))
		counters := l.Stats().Counters
		require.EqualValues(t, 1, counters.SyncookiesSent)
		require.EqualValues(t, 1, counters.SyncookiesRecv)
		require.EqualValues(t, 1, counters.PassiveOpens)
		require.Equal(t, 4, l.Stats().SYNQueue)
	})
}

// Without cookies a full SYN queue drops, or resets where the policy says so.
func TestFullSYNQueueWithoutCookies(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{sysctls: map[string]string{"net.ipv4.tcp_syncookies": "0"}})
	l := lab.listen(http4, 3, nil)
	f := lab.halfOpen(l, http4)
	c := lab.connect(netlab.ConnectConfig{Remote: http4})
	lab.isTrue("SYN dropped", func() bool { return l.Stats().Counters.TCPReqQFullDrop >= 1 })
	require.Zero(t, l.Stats().Counters.ListenOverflows, "it is not the accept queue that is full")

	l.SetOverflow(reset)
	refused := lab.connect(netlab.ConnectConfig{Remote: http4})
	require.Equal(t, syscall.ECONNREFUSED, refused.Wait(patience))
	l.SetOverflow(drop)

	// One of the silent ones goes, and the client's next SYN finds room.
	gone := segment{src: f.from(http4, 7000), dst: http4, flags: rst, seq: 2}
	f.send(gone.packet())
	if err := c.Wait(patience); err != syscall.ECONNREFUSED { // its SYN may have met the other policy
		talk(t, lab.conn(c), lab.accept(l))
	}
	talk(t, lab.connected(netlab.ConnectConfig{Remote: http4}), lab.accept(l))
}

// The settings are found under their kernel names.
func TestSysctlNames(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	for _, name := range []string{"net.core.somaxconn", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_synack_retries"} {
		value, err := lab.s.Sysctl(name)
		require.NoError(t, err)
		kernel, err := lab.ns.Sysctl(name)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(kernel), value, "the default of %s", name)
	}
	require.Error(t, lab.s.SetSysctl("net.core.somaxconn", "many"))
	require.Error(t, lab.s.SetSysctl("net.core.nonsense", fmt.Sprint(1)))
}
