package stacktest_test

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// A closed connection whose FIN is acknowledged costs no endpoint, whoever has opened
// it and over whichever version of IP. The recordings fin-wait-2-*.json have the rest.
func TestFinWait2WithoutAProgram(t *testing.T) {
	for version, at := range servers {
		for _, opened := range []string{"accepted", "dialed"} {
			t.Run(version+" "+opened, func(t *testing.T) {
				lab := stacktest.New(t, stacktest.Config{})
				p := lab.PeerAt("alice", netip.AddrPortFrom(at.Addr().Next(), 40000), at)
				base := int64(0)
				var before int
				if opened == "accepted" {
					l := lab.Listen(at.String(), 5, nil)
					before = len(lab.Stack().Netstack().RegisteredEndpoints())
					p.Handshake()
					l.Accept().Close()
				} else {
					e, err := connect(t, lab, at, p.Addr())
					require.Equal(t, syscall.EINPROGRESS, err)
					base = p.Expect("SYN").Seq
					p.Send(stacktest.Segment{Flags: syn | ack, Ack: base + 1, Options: listenq.Options{MSS: 1000}})
					p.Expect("ACK")
					e.Close()
					lab.Advance(0)
				}
				p.Expect("FIN-ACK ack=1")
				p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: base + 2})
				require.Equal(t, 1, lab.Stack().TimeWaits())
				require.Len(t, lab.Stack().Netstack().RegisteredEndpoints(), before)
				lab.ExpectCounter("TW", 1)
				lab.ExpectCounter("EstabResets", 0)

				p.Send(stacktest.Segment{Flags: ack, Seq: 0, Ack: base + 2})
				p.Expect("ACK ack=1")
				p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: base + 2, Payload: []byte("late")})
				p.Expect("RST")
				require.Zero(t, lab.Stack().TimeWaits())
				lab.Advance(2 * time.Minute)
				p.ExpectNothing()
			})
		}
	}
}

// FIN-WAIT-2 lasts for net.ipv4.tcp_fin_timeout, but for 3.5 RTO at least
// (tcp_fin_time), and TIME-WAIT after it for a minute.
func TestFinWait2Lasts(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	lab.SetSysctl("net.ipv4.tcp_fin_timeout", "5")
	l := lab.Listen(":80", 5, nil)
	near, far, slow := lab.Peer("near", l), lab.Peer("far", l), lab.Peer("slow", l)
	far.SYN()
	lab.Advance(time.Second) // RTO: 1 s + 4 * 0.5 s
	far.ACK()
	l.Accept().Close()
	far.ACK()
	near.Handshake()
	l.Accept().Close()
	near.ACK()
	slow.Handshake()
	l.Accept().Close()
	slow.ACK()
	require.Equal(t, 3, lab.Stack().TimeWaits())

	lab.AdvanceTo(3 * time.Second)
	slow.FIN()
	lab.AdvanceTo(6*time.Second - time.Millisecond)
	require.Equal(t, 3, lab.Stack().TimeWaits())
	lab.AdvanceTo(6*time.Second + time.Millisecond)
	require.Equal(t, 2, lab.Stack().TimeWaits())
	lab.AdvanceTo(11*time.Second + 500*time.Millisecond - time.Millisecond)
	require.Equal(t, 2, lab.Stack().TimeWaits())
	lab.AdvanceTo(11*time.Second + 501*time.Millisecond)
	require.Equal(t, 1, lab.Stack().TimeWaits())
	lab.AdvanceTo(63*time.Second - time.Millisecond)
	require.Equal(t, 1, lab.Stack().TimeWaits())
	lab.AdvanceTo(63*time.Second + time.Millisecond)
	require.Zero(t, lab.Stack().TimeWaits())
}

// What was written before close still goes out, however often all that was sent so far
// has been acknowledged.
func TestCloseSendsEverything(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("alice", l)
	p.SYN()
	p.Expect("SYN-ACK")
	p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Window: 100})
	c := l.Accept()
	c.Write(strings.Repeat("x", 250))
	c.Close()
	for sent := int64(1); sent < 251; {
		s := p.Expect("ACK")
		require.Equal(t, sent, s.Seq)
		sent += int64(len(s.Payload))
		require.Zero(t, lab.Stack().TimeWaits())
		p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: sent, Window: 100})
	}
	p.Expect("FIN-ACK seq=251")
	p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 252})
	require.Equal(t, 1, lab.Stack().TimeWaits())
}

// Data for a connection that was shut down in both directions ends it, though it was
// not closed.
func TestDataAfterShutdown(t *testing.T) {
	for version, at := range servers {
		t.Run(version, func(t *testing.T) {
			lab := stacktest.New(t, stacktest.Config{})
			l := lab.Listen(at.String(), 5, nil)
			p := lab.PeerAt("alice", netip.AddrPortFrom(at.Addr().Next(), 40000), at)
			p.Handshake()
			c := l.Accept().Stack()
			require.NoError(t, c.CloseRead())
			require.NoError(t, c.CloseWrite())
			lab.Advance(0)
			p.Expect("FIN-ACK seq=1 ack=1")
			p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, Payload: []byte("late")})
			p.Expect("RST seq=1")
			lab.ExpectCounter("TCPAbortOnData", 1)
			lab.ExpectCounter("OutRsts", 1)
			require.Zero(t, lab.Stack().TimeWaits())
			_, err := c.TryWrite([]byte("x"))
			require.ErrorIs(t, err, syscall.ECONNRESET)
		})
	}
}
