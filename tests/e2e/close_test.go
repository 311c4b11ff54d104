//go:build linux

package e2e

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
)

// Closing a listener resets who waits in its accept queue, forgets who is half
// open, and leaves alone who was accepted. The port is free at once.
func TestCloseListenerWithFullQueue(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		for _, policy := range []listenq.Overflow{drop, reset, abort} {
			t.Run(policy.String(), func(t *testing.T) {
				lab := newLab(t, labConfig{})
				l := lab.listen(at, 5, nil)
				early := lab.queued(l, at)
				accepted := lab.accept(l)

				f := lab.forger()
				half := segment{src: f.from(at, 5001), dst: at, flags: syn, seq: 1000, window: 65535}
				f.send(half.packet())
				synack := f.answer(half.src)
				lab.depths(l, 1, 0)
				var queued []net.Conn
				for range 6 {
					depth := l.Stats().AcceptQueue
					queued = append(queued, lab.connected(netlabTo(at)))
					lab.depths(l, 1, depth+1)
				}
				l.SetOverflow(policy)
				require.NoError(t, l.Close())

				for _, c := range queued {
					expectError(t, c, syscall.ECONNRESET)
				}
				_, err := l.Accept()
				require.ErrorIs(t, err, net.ErrClosed)
				half.flags, half.seq, half.ack = ack, 1001, synack.seq+1
				f.send(half.packet())
				require.Equal(t, segment{src: at, dst: half.src, flags: rst, seq: half.ack},
					plain(f.answer(half.src)), "the final ACK of a request without a listener")
				talk(t, early, accepted)

				l = lab.listen(at, 0, nil)
				talk(t, lab.connected(netlabTo(at)), lab.accept(l))
				talk(t, early, accepted)
				require.Zero(t, lab.s.Drops())
			})
		}
	})
}

// A half-open client of a closed listener that sends its SYN again to the next
// one starts afresh.
func TestNewListenerDoesNotAdoptHalfOpen(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 5, nil)
	f := lab.forger()
	half := segment{src: f.from(http4, 5001), dst: http4, flags: syn, seq: 1000, window: 65535}
	f.send(half.packet())
	old := f.answer(half.src)
	require.NoError(t, l.Close())
	l = lab.listen(http4, 5, nil)

	late := half
	late.flags, late.seq, late.ack = ack, 1001, old.seq+1
	f.send(late.packet())
	require.Equal(t, rst, f.answer(half.src).flags)
	require.Zero(t, l.Stats().AcceptQueue)

	f.handshake(half)
	lab.depths(l, 0, 1)
}

// Closing and opening listeners on one port while clients come: each client is
// served, refused or reset, and the last listener works.
func TestListenersComeAndGoUnderClients(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	stop := make(chan struct{})
	fates := make(chan map[string]int)
	for range 4 {
		go func() {
			mine := make(map[string]int)
			defer func() { fates <- mine }()
			for {
				select {
				case <-stop:
					return
				default:
					mine[fateOf(ask(lab, http4))]++
				}
			}
		}()
	}
	for range 100 {
		l, err := lab.s.Listen("tcp", http4.String(), 3, &stack.ListenOptions{Overflow: reset})
		if err != nil {
			t.Error(err)
			break
		}
		go serve(l)
		lab.isTrue("a connection", func() bool { return l.Stats().Counters.PassiveOpens > 0 })
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	last := lab.listen(http4, 50, nil)
	go serve(last)
	close(stop)
	all := make(map[string]int)
	for range 4 {
		for fate, n := range <-fates {
			all[fate] += n
		}
	}
	for fate := range all {
		require.Contains(t, []string{"served", "refused", "reset"}, fate, "%v", all)
	}
	require.Positive(t, all["served"])
	require.NoError(t, ask(lab, http4))
	lab.depths(last, 0, 0)
}

// Closing the stack resets every client, accepted or not.
func TestCloseStackResetsClients(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 50, nil)
		var clients []net.Conn
		for i := range 40 {
			clients = append(clients, lab.queued(l, at))
			if i%2 == 0 {
				lab.accept(l)
			}
		}
		require.NoError(t, lab.s.Close())
		for _, c := range clients {
			expectError(t, c, syscall.ECONNRESET)
		}
		_, err := l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = lab.s.Listen("tcp", at.String(), 1, nil)
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, lab.s.Close())
	})
}

// plain is a segment without what a test of its flags and numbers is not about.
func plain(s segment) segment {
	s.window, s.options, s.payload = 0, nil, nil
	return s
}
