//go:build linux

package e2e

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
)

// A listener without an address takes clients of all addresses: of both IP
// versions if its network is "tcp", of one otherwise.
func TestWildcardBinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		network, address string
		takes4, takes6   bool
	}{
		{"tcp", ":80", true, true},
		{"tcp", "[::]:80", true, true},
		{"tcp", "0.0.0.0:80", true, false},
		{"tcp4", ":80", true, false},
		{"tcp6", ":80", false, true},
	} {
		t.Run(tc.network+" "+tc.address, func(t *testing.T) {
			t.Parallel()
			lab := newLab(t, labConfig{})
			l, err := lab.s.Listen(tc.network, tc.address, 5, nil)
			require.NoError(t, err)
			for _, to := range []struct {
				addr  netip.Addr
				takes bool
			}{
				{stack4.Addr(), tc.takes4}, {other4.Addr(), tc.takes4},
				{stack6.Addr(), tc.takes6}, {other6.Addr(), tc.takes6},
			} {
				at := netip.AddrPortFrom(to.addr, 80)
				c := lab.connect(netlab.ConnectConfig{Remote: at})
				if !to.takes {
					require.Equal(t, syscall.ECONNREFUSED, c.Wait(patience), "%v", at)
					continue
				}
				conn := lab.conn(c)
				accepted := lab.accept(l)
				require.Equal(t, at.String(), accepted.LocalAddr().String())
				require.Equal(t, conn.LocalAddr().String(), accepted.RemoteAddr().String())
				talk(t, conn, accepted)
			}
		})
	}
}

// Several listeners share a port with SO_REUSEPORT; the one bound to the client's
// destination wins over the one bound to all.
func TestSpecificBindWins(t *testing.T) {
	t.Parallel()
	addresses := []string{":80", http4.String(), http6.String(), netip.AddrPortFrom(other6.Addr(), 80).String()}
	for name, order := range map[string][]int{"wildcard first": {0, 1, 2, 3}, "wildcard last": {3, 2, 1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := newLab(t, labConfig{})
			listeners := make(map[string]*stack.Listener)
			for _, i := range order {
				l, err := lab.s.Listen("tcp", addresses[i], 5, &stack.ListenOptions{ReusePort: true})
				require.NoError(t, err, addresses[i])
				listeners[addresses[i]] = l
			}
			for _, tc := range []struct {
				to   netip.Addr
				wins string
			}{
				{stack4.Addr(), addresses[1]},
				{other4.Addr(), ":80"},
				{stack6.Addr(), addresses[2]},
				{other6.Addr(), addresses[3]},
			} {
				conn := lab.connected(netlab.ConnectConfig{Remote: netip.AddrPortFrom(tc.to, 80)})
				talk(t, conn, lab.accept(listeners[tc.wins]))
			}
			require.Len(t, lab.s.Listeners(), len(addresses))

			// Without the specific listener its clients go to the other.
			require.NoError(t, listeners[addresses[1]].Close())
			conn := lab.connected(netlab.ConnectConfig{Remote: http4})
			talk(t, conn, lab.accept(listeners[":80"]))
		})
	}
}

// Ports are each listener's own: a full queue on one does not touch the other.
func TestListenersAreIndependent(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	full := lab.listen(http4, 0, nil)
	lab.fills(full, http4)
	for port := uint16(81); port < 91; port++ {
		at := netip.AddrPortFrom(stack4.Addr(), port)
		l := lab.listen(at, 0, nil)
		talk(t, lab.connected(netlab.ConnectConfig{Remote: at}), lab.accept(l))
	}
	require.Len(t, lab.s.Listeners(), 11)
	c := lab.connect(netlab.ConnectConfig{Remote: http4})
	require.Equal(t, syscall.ECONNREFUSED, c.Wait(patience))
	require.EqualValues(t, 11, lab.s.Counters().PassiveOpens)
}

// Port 0 picks a free port, as with the kernel.
func TestPortZero(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l, err := lab.s.Listen("tcp", ":0", 5, nil)
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	require.NotZero(t, port)
	conn := lab.connected(netlab.ConnectConfig{Remote: netip.AddrPortFrom(stack6.Addr(), port)})
	talk(t, conn, lab.accept(l))
}

// Nobody listens: the kernel client is refused at once.
func TestClosedPort(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		c := lab.connect(netlab.ConnectConfig{Remote: at})
		require.Equal(t, syscall.ECONNREFUSED, c.Wait(patience))
		require.Zero(t, retransmits(t, c))
	})
}

// The stack answers the kernel's echo requests, also those of many fragments.
func TestPing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                     string
		family, protocol         int
		to                       unix.Sockaddr
		request, reply, ipHeader int
	}{
		{"IPv4", unix.AF_INET, unix.IPPROTO_ICMP, &unix.SockaddrInet4{Addr: stack4.Addr().As4()}, 8, 0, 20},
		{"IPv6", unix.AF_INET6, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: stack6.Addr().As16()}, 128, 129, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lab := newLab(t, labConfig{})
			fd := -1
			lab.ns.Do(func() {
				var err error
				fd, err = unix.Socket(tc.family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, tc.protocol)
				require.NoError(t, err)
			})
			defer unix.Close(fd)
			patient := unix.NsecToTimeval(int64(patience))
			require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patient))
			for sequence, size := range []int{0, 56, 1400, 5000} {
				if size > 1400 && raceEnabled {
					t.Skip(staleHeader)
				}
				request := make([]byte, 8+size)
				request[0] = byte(tc.request)
				request[7] = byte(sequence)
				for i := 8; i < len(request); i++ {
					request[i] = byte(i)
				}
				if tc.family == unix.AF_INET {
					s := ^sum(request)
					request[2], request[3] = byte(s>>8), byte(s)
				} // for IPv6 the kernel does it
				require.NoError(t, unix.Sendto(fd, request, 0, tc.to))
				for {
					buf := make([]byte, 1<<16)
					n, _, err := unix.Recvfrom(fd, buf, 0)
					require.NoError(t, err, "%d bytes", size)
					reply := buf[tc.ipHeader:n]
					if len(reply) >= 8 && reply[0] == byte(tc.reply) && reply[7] == byte(sequence) {
						require.Equal(t, request[8:], reply[8:])
						break
					}
				}
			}
		})
	}
}

func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
