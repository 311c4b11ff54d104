//go:build linux

package netlab_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tests/netlab"
)

// currentNet names the network namespace of the calling thread.
func currentNet(t *testing.T) string {
	name, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	return name
}

func TestDoEntersAndLeaves(t *testing.T) {
	a, b := netlab.New(t), netlab.New(t)
	home := currentNet(t)
	var inA, inB, backInA string
	a.Do(func() {
		inA = currentNet(t)
		b.Do(func() { inB = currentNet(t) })
		backInA = currentNet(t)
	})
	require.Equal(t, home, currentNet(t))
	require.Equal(t, inA, backInA)
	require.NotEqual(t, home, inA)
	require.NotEqual(t, home, inB)
	require.NotEqual(t, inA, inB)
}

func TestDoLeavesWhenPanicking(t *testing.T) {
	n := netlab.New(t)
	home := currentNet(t)
	require.Panics(t, func() { n.Do(func() { panic("on purpose") }) })
	require.Equal(t, home, currentNet(t))
}

func TestNamespacesAreApart(t *testing.T) {
	a, b := netlab.New(t), netlab.New(t)
	l, err := a.Listen("tcp", "127.0.0.1:80")
	require.NoError(t, err)
	defer l.Close()
	_, err = b.Dial(context.Background(), "tcp", "127.0.0.1:80")
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	c, err := a.Dial(context.Background(), "tcp", "127.0.0.1:80")
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

func TestSysctlIsPerNamespace(t *testing.T) {
	a, b := netlab.New(t), netlab.New(t)
	const name = "net.ipv4.tcp_syn_retries"
	before, err := b.Sysctl(name)
	require.NoError(t, err)
	require.NotEqual(t, "3", before)
	require.NoError(t, a.SetSysctl(name, "3"))
	inA, err := a.Sysctl(name)
	require.NoError(t, err)
	require.Equal(t, "3", inA)
	inB, err := b.Sysctl(name)
	require.NoError(t, err)
	require.Equal(t, before, inB)
}

func TestCommandsRunInTheNamespace(t *testing.T) {
	n := netlab.New(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	cmd.Stdout = w
	require.NoError(t, n.Run(cmd))
	require.NoError(t, w.Close())
	out := make([]byte, 64)
	k, err := r.Read(out)
	require.NoError(t, err)
	var want string
	n.Do(func() { want = currentNet(t) })
	require.Equal(t, want+"\n", string(out[:k]))
}

func TestCloseKillsWhatWasStarted(t *testing.T) {
	netlab.RequireNamespace(t)
	n, err := netlab.Open()
	require.NoError(t, err)
	cmd := exec.Command("sleep", "60")
	require.NoError(t, n.Start(cmd))
	require.NoError(t, n.Close())
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, -1, exit.ExitCode(), "ended by a signal")
}

func TestVethCarriesBothFamilies(t *testing.T) {
	for _, tc := range []struct{ name, client, server string }{
		{"ipv4", "192.0.2.1/24", "192.0.2.2/24"},
		{"ipv6", "2001:db8::1/64", "2001:db8::2/64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, server := netlab.New(t), netlab.New(t)
			addr := netip.MustParsePrefix(tc.server)
			netlab.Veth(t, client, server, netip.MustParsePrefix(tc.client), addr)
			address := netip.AddrPortFrom(addr.Addr(), 80).String()
			l, err := server.Listen("tcp", address)
			require.NoError(t, err)
			defer l.Close()
			c, err := client.Dial(context.Background(), "tcp", address)
			require.NoError(t, err)
			defer c.Close()
			accepted, err := l.Accept()
			require.NoError(t, err)
			require.Equal(t, c.LocalAddr().String(), accepted.RemoteAddr().String())
			require.NoError(t, accepted.Close())
		})
	}
}

func TestOwnRangeAndRoute(t *testing.T) {
	client, server := netlab.New(t), netlab.New(t)
	netlab.Veth(t, client, server,
		netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24"))
	pool := netip.MustParsePrefix("198.18.0.0/16")
	require.NoError(t, client.OwnRange(pool))
	require.NoError(t, server.AddRoute(netlab.VethName, pool, netip.MustParseAddr("192.0.2.1")))

	l, err := server.Listen("tcp", "192.0.2.2:80")
	require.NoError(t, err)
	defer l.Close()
	s, err := client.Connect(netlab.ConnectConfig{
		Remote: netip.MustParseAddrPort("192.0.2.2:80"),
		Local:  netip.MustParseAddrPort("198.18.3.4:0"),
	})
	require.NoError(t, err)
	defer s.Close()
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, net.IPv4(198, 18, 3, 4).String(), c.RemoteAddr().(*net.TCPAddr).IP.String())
}
