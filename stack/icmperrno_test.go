package stack_test

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// What the network says of a SYN ends connect with the kernel's errno, and is not an
// error of a connection that is open.
func TestICMPErrorsOfAConnect(t *testing.T) {
	for kind, want := range map[[2]uint8]syscall.Errno{
		{3, 0}: syscall.ENETUNREACH, {3, 1}: syscall.EHOSTUNREACH, {3, 2}: syscall.ENOPROTOOPT, {3, 3}: syscall.ECONNREFUSED,
		{3, 5}: syscall.EOPNOTSUPP, {3, 7}: syscall.EHOSTDOWN, {3, 8}: syscall.ENONET, {3, 13}: syscall.EHOSTUNREACH,
		{11, 0}: syscall.EHOSTUNREACH, {12, 0}: syscall.EPROTO,
		{3, 4}: 0, {4, 0}: 0, {3, 16}: 0,
	} {
		clock := stack.NewVirtualClock()
		r := &ipRecorder{wire: newWire()}
		s, err := stack.New(stack.Config{Link: r, Addresses: []netip.Prefix{serverPrefix4}, Clock: clock, Random: zeros{}})
		require.NoError(t, err)
		e, err := s.NewEndpoint(false)
		require.NoError(t, err)
		require.ErrorIs(t, e.Connect(nil, bareClient), syscall.EINPROGRESS)
		clock.Settle()
		r.deliver(stacktest.ICMPError{Type: kind[0], Code: kind[1], MTU: 1400}.Packet(e.Local(), bareClient, r.iss))
		clock.Settle()
		ep, _ := e.Netstack()
		if terr := ep.LastError(); want == 0 {
			require.Nil(t, terr, kind)
		} else {
			require.NotNil(t, terr, kind)
			require.Equal(t, want, e.Errno(terr), kind)
		}
		require.NoError(t, s.Close())
	}
}

// A soft error is what a connection ends with that its peer does not answer, also where
// it is a net.Conn (tcp_write_err).
func TestASoftErrorTakesThePlaceOfATimeout(t *testing.T) {
	for name, e := range map[string]*stacktest.ICMPError{"none": nil, "host unreachable": {Type: 3, Code: 1, Seq: 1}} {
		lab := stacktest.New(t, stacktest.Config{})
		lab.SetSysctl("net.ipv4.tcp_retries2", "1")
		p, c := established(lab)
		c.Write("x")
		want := syscall.ETIMEDOUT
		if e != nil {
			p.SendICMP(*e)
			want = syscall.EHOSTUNREACH
		}
		lab.Advance(10 * time.Second)
		_, err := c.TryRead(make([]byte, 1))
		require.ErrorIs(t, err, want, name)
	}
}
