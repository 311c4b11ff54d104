package listenq

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSysctlGetSet(t *testing.T) {
	for _, c := range []struct {
		name, initial string
		good, bad     []string
	}{
		{"net.core.somaxconn", "4096", []string{"0", "2147483647"}, []string{"-1", "2147483648"}},
		{"net.ipv4.tcp_abort_on_overflow", "0", []string{"1", "0"}, []string{"2", "-1", "on"}},
		{"net.ipv4.tcp_invalid_ratelimit", "500", []string{"0", "2147483647"}, []string{"-1", "500ms"}},
		{"net.ipv4.tcp_max_syn_backlog", "2048", []string{"0", "128"}, []string{"-1", ""}},
		{"net.ipv4.tcp_sack", "1", []string{"0", "1"}, []string{"2"}},
		{"net.ipv4.tcp_synack_retries", "5", []string{"0", "255"}, []string{"256", "-1"}},
		{"net.ipv4.tcp_syncookies", "1", []string{"0", "2"}, []string{"3", "-1"}},
		{"net.ipv4.tcp_timestamps", "1", []string{"0", "1"}, []string{"2"}},
		{"net.ipv4.tcp_window_scaling", "1", []string{"0", "1"}, []string{"2"}},
	} {
		s := DefaultSysctls()
		got, err := s.Get(c.name)
		require.NoError(t, err)
		require.Equal(t, c.initial, got, c.name)
		for _, v := range c.good {
			require.NoError(t, s.Set(c.name, " "+v+"\n"))
			got, _ = s.Get(c.name)
			require.Equal(t, v, got, c.name)
		}
		before := s
		for _, v := range c.bad {
			require.ErrorContains(t, s.Set(c.name, v), "use a whole number from 0 to")
			require.Equal(t, before, s, "an error changes nothing")
		}
	}
}

func TestSysctlNames(t *testing.T) {
	names := SysctlNames()
	require.Len(t, names, 9)
	require.True(t, slices.IsSorted(names))
	s := DefaultSysctls()
	require.NoError(t, s.Set("net/ipv4/tcp_syncookies", "2"))
	require.Equal(t, 2, s.Syncookies)
	v, err := s.Get("net/ipv4/tcp_syncookies")
	require.NoError(t, err)
	require.Equal(t, "2", v)

	_, err = s.Get("net.ipv4.tcp_fastopen")
	require.ErrorContains(t, err, `unknown sysctl "net.ipv4.tcp_fastopen": use one of net.core.somaxconn, `)
	require.Error(t, s.Set("tcp_syncookies", "1"))
	require.EqualError(t, s.Set("net.ipv4.tcp_syncookies", "3"), `sysctl net.ipv4.tcp_syncookies = "3": use a whole number from 0 to 2`)
}

// Settings out of range that were written into the struct are taken for the
// nearest in range.
func TestSysctlsOutOfRange(t *testing.T) {
	for retries, want := range map[int]int{-1: 0, 0: 0, 255: 255, 256: 255, 1 << 40: 255} {
		l := listenWith(8, func(_ *Config, s *Sysctls) { s.SYNACKRetries = retries })
		client4(1).syn(0, l)
		sent := 0
		for at, ok := l.NextTimeout(); ok; at, ok = l.NextTimeout() {
			l.Advance(at, func(o Outcome) {
				if o.Verdict == SendSYNACK {
					sent++
				}
			})
		}
		require.Equal(t, want, sent, retries)
	}
}

// somaxconn counts when listen is called; all others at once.
func TestSetSysctls(t *testing.T) {
	l := listenWith(100, nil)
	s := DefaultSysctls()
	s.Somaxconn = 10
	s.InvalidRatelimit = time.Hour
	l.SetSysctls(s)
	require.Equal(t, 100, l.Limit())
	require.NoError(t, l.Listen(100))
	require.Equal(t, 10, l.Limit())
	require.Equal(t, 100, l.Backlog())
}
