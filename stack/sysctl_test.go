package stack_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

func TestSysctlsOfTheStack(t *testing.T) {
	link, _ := tun.Pipe(tun.PipeConfig{})
	s, err := stack.New(stack.Config{Link: link, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}})
	require.NoError(t, err)
	defer s.Close()

	v, err := s.Sysctl("net/ipv4/tcp_fin_timeout")
	require.NoError(t, err)
	require.Equal(t, "60", v)
	require.NoError(t, s.SetSysctl("net.ipv4.tcp_fin_timeout", "5"))
	v, err = s.Sysctl("net.ipv4.tcp_fin_timeout")
	require.NoError(t, err)
	require.Equal(t, "5", v)

	require.EqualError(t, s.SetSysctl("net.ipv4.tcp_fin_timeout", "-1"),
		`sysctl net.ipv4.tcp_fin_timeout = "-1": use a whole number from 0 to 2147482`)
	require.ErrorContains(t, s.SetSysctl("net.ipv4.tcp_nothing", "1"), "net.ipv4.tcp_fin_timeout")
	require.NoError(t, stack.CheckSysctl("net.core.somaxconn", "1"))
	require.Error(t, stack.CheckSysctl("net.core.somaxconn", "-1"))
	require.Subset(t, stack.SysctlNames(), []string{"net.core.somaxconn", "net.ipv4.tcp_fin_timeout"})
}
