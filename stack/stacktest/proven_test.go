package stacktest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// Without cookies the last quarter of tcp_max_syn_backlog is for clients whose
// address ended a connection in order before.
func TestLastQuarterIsForKnownAddresses(t *testing.T) {
	for name, tc := range map[string]struct {
		end   func(*stacktest.Lab, *stacktest.Peer, *stacktest.Conn)
		known bool
	}{
		"closed by the client": {func(lab *stacktest.Lab, p *stacktest.Peer, c *stacktest.Conn) {
			p.FIN()
			lab.Advance(100 * time.Millisecond)
			c.Close()
			p.ACK()
		}, true},
		"closed by the server": {func(lab *stacktest.Lab, p *stacktest.Peer, c *stacktest.Conn) {
			c.Close()
			p.ACK()
			p.FIN()
		}, true},
		"closed by the server, FIN acknowledged": {func(lab *stacktest.Lab, p *stacktest.Peer, c *stacktest.Conn) {
			c.Close()
			p.ACK()
		}, true},
		"half closed": {func(lab *stacktest.Lab, p *stacktest.Peer, c *stacktest.Conn) {
			p.FIN()
			lab.Advance(100 * time.Millisecond)
			require.NoError(t, c.Stack().CloseWrite())
			lab.Advance(0)
			p.ACK()
		}, true},
		"reset":            {func(_ *stacktest.Lab, p *stacktest.Peer, _ *stacktest.Conn) { p.RST() }, false},
		"reset after FIN":  {func(_ *stacktest.Lab, p *stacktest.Peer, _ *stacktest.Conn) { p.FIN(); p.RST() }, false},
		"not closed":       {func(*stacktest.Lab, *stacktest.Peer, *stacktest.Conn) {}, false},
		"FIN not answered": {func(_ *stacktest.Lab, _ *stacktest.Peer, c *stacktest.Conn) { c.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			sysctls := listenq.DefaultSysctls()
			sysctls.Syncookies, sysctls.MaxSYNBacklog = 0, 8
			lab := stacktest.New(t, stacktest.Config{Sysctls: &sysctls})
			l := lab.Listen(":80", 100, nil)
			p := lab.Peer("known", l)
			p.Handshake()
			tc.end(lab, p, l.Accept())
			for i := range 7 { // 8 - 8/4, and the one that begins the last quarter
				lab.Peer(fmt.Sprint("filler", i), l).SYN()
			}
			l.ExpectQueues(7, 0)
			lab.Peer("stranger", l).SYN()
			l.ExpectQueues(7, 0)
			back := lab.PeerAt("back", netip.AddrPortFrom(p.Addr().Addr(), 50000), netip.MustParseAddrPort("192.0.2.1:80"))
			back.SYN()
			if tc.known {
				l.ExpectQueues(8, 0)
			} else {
				l.ExpectQueues(7, 0)
			}
		})
	}
}
