package stacktest_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

const (
	syn = listenq.SYN
	ack = listenq.ACK
	fin = listenq.FIN
	rst = listenq.RST
)

var servers = map[string]netip.AddrPort{
	"IPv4": netip.MustParseAddrPort("192.0.2.1:80"),
	"IPv6": netip.MustParseAddrPort("[2001:db8::1]:80"),
}

// accepted opens a connection, and closes it from the stack's side first.
func accepted(lab *stacktest.Lab, l *stacktest.Listener, p *stacktest.Peer) {
	p.Handshake()
	l.Accept().Close()
	p.Expect("FIN-ACK seq=1 ack=1")
	p.FIN()
	p.Expect("ACK seq=2 ack=2")
}

// connect begins to connect to a peer, from a port of the stack's.
func connect(t *testing.T, lab *stacktest.Lab, from, to netip.AddrPort) (*stack.Endpoint, error) {
	t.Helper()
	b, err := lab.Stack().Bind(from, stack.BindOptions{})
	require.NoError(t, err)
	e, err := lab.Stack().NewEndpoint(to.Addr().Is6())
	require.NoError(t, err)
	err = e.Connect(b, to)
	b.Release() // the connection keeps it
	lab.Advance(0)
	return e, err
}

// dialed opens a connection from the stack to p, with timestamps or without, and
// closes it from the stack's side first.
func dialed(t *testing.T, lab *stacktest.Lab, from netip.AddrPort, p *stacktest.Peer, options listenq.Options) {
	t.Helper()
	e, err := connect(t, lab, from, p.Addr())
	require.Equal(t, syscall.EINPROGRESS, err)
	iss := p.Expect("SYN").Seq
	p.Send(stacktest.Segment{Flags: syn | ack, Ack: iss + 1, Options: options})
	p.Expect("ACK ack=1")
	e.Close()
	lab.Advance(0)
	p.Expect("FIN-ACK ack=1")
	options.MSS = 0
	p.Send(stacktest.Segment{Flags: fin | ack, Seq: 1, Ack: iss + 2, Options: options})
	p.Expect("ACK ack=2")
}

// What a connection in TIME-WAIT answers does not depend on who has opened it, nor
// on the version of IP. The recordings time-wait-*.json have the rest.
func TestTimeWaitAnswers(t *testing.T) {
	for version, at := range servers {
		for _, opened := range []string{"accepted", "dialed"} {
			t.Run(version+" "+opened, func(t *testing.T) {
				lab := stacktest.New(t, stacktest.Config{})
				client := netip.AddrPortFrom(at.Addr().Next(), 40000)
				p := lab.PeerAt("alice", client, at)
				base := int64(0)
				if opened == "accepted" {
					accepted(lab, lab.Listen(at.String(), 5, nil), p)
				} else {
					dialed(t, lab, at, p, listenq.Options{MSS: 1000})
					base = p.Received()[0].Seq
				}
				require.Equal(t, 1, lab.Stack().TimeWaits())
				lab.ExpectCounter("TW", 1)

				send := func(f listenq.Flags, seq int64) {
					p.Send(stacktest.Segment{Flags: f, Seq: seq, Ack: base + 2})
				}
				send(fin|ack, 1)
				p.Expect("ACK ack=2")
				send(ack, 2)
				p.ExpectNothing()
				send(ack, 1)
				p.Expect("ACK ack=2")
				send(ack, 1)
				p.ExpectNothing()
				lab.ExpectCounter("TCPACKSkippedTimeWait", 1)
				lab.Advance(time.Second)
				send(syn, 0)
				p.Expect("ACK ack=2")
				if opened == "dialed" { // nobody listens
					send(syn, 1000)
					p.Expect("ACK ack=2")
				}
				send(rst, 3)
				require.Equal(t, 1, lab.Stack().TimeWaits())
				send(rst, 2)
				p.ExpectNothing()
				require.Zero(t, lab.Stack().TimeWaits())
				send(fin|ack, 1)
				p.Expect(fmt.Sprintf("RST seq=%d", base+2))
			})
		}
	}
}

func TestTimeWaitLastsAMinute(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 5, nil)
	first, second := lab.Peer("first", l), lab.Peer("second", l)
	accepted(lab, l, first)
	lab.Advance(time.Second)
	accepted(lab, l, second)
	lab.AdvanceTo(30 * time.Second)
	first.ACK()
	second.Send(stacktest.Segment{Flags: syn})
	second.Expect("ACK ack=2")

	lab.AdvanceTo(61*time.Second - time.Millisecond)
	require.Equal(t, 2, lab.Stack().TimeWaits())
	lab.AdvanceTo(61 * time.Second)
	require.Equal(t, 1, lab.Stack().TimeWaits())
	second.FIN()
	second.Expect("RST seq=2")
	lab.AdvanceTo(90*time.Second - time.Millisecond)
	require.Equal(t, 1, lab.Stack().TimeWaits())
	lab.AdvanceTo(90 * time.Second)
	require.Zero(t, lab.Stack().TimeWaits())
	first.ExpectNothing()
	lab.ExpectCounter("TW", 2)
}

// The last timestamp counts against a RST for a minute (TCP_PAWS_MSL).
func TestTimeWaitAndOldTimestamps(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	at := servers["IPv4"]
	p := lab.PeerAt("alice", netip.MustParseAddrPort("192.0.2.9:40000"), at)
	dialed(t, lab, at, p, listenq.Options{MSS: 1000, Timestamps: true, TSVal: 100})
	reset := stacktest.Segment{Flags: rst, Seq: 2, Options: listenq.Options{Timestamps: true, TSVal: 99}}
	lab.AdvanceTo(30 * time.Second)
	p.Send(stacktest.Segment{Flags: ack, Seq: 2, Ack: 1}) // another minute, without a timestamp
	lab.AdvanceTo(time.Minute - time.Millisecond)
	p.Send(reset)
	lab.ExpectCounter("PAWSTimewait", 1)
	require.Equal(t, 1, lab.Stack().TimeWaits())
	lab.AdvanceTo(time.Minute + time.Millisecond)
	p.Send(reset)
	require.Zero(t, lab.Stack().TimeWaits())
}

// connect(2) leaves ports alone to which a socket is bound, whatever its address.
func TestConnectLeavesBoundPortsAlone(t *testing.T) {
	for version, at := range servers {
		t.Run(version, func(t *testing.T) {
			lab := stacktest.New(t, stacktest.Config{})
			const port = 50000
			require.Nil(t, lab.Stack().Netstack().SetPortRange(port, port))
			b, err := lab.Stack().Bind(netip.AddrPortFrom(at.Addr(), port), stack.BindOptions{ReuseAddress: true})
			require.NoError(t, err)
			peer := netip.AddrPortFrom(at.Addr().Next(), 40000)
			_, err = connectAny(t, lab, peer)
			require.Equal(t, syscall.EADDRNOTAVAIL, err)
			b.Release()
			_, err = connectAny(t, lab, peer)
			require.Equal(t, syscall.EINPROGRESS, err)
		})
	}
}

func TestTimeWaitIsBounded(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	lab.SetSysctl("net.ipv4.tcp_max_tw_buckets", "2")
	l := lab.Listen(":80", 5, nil)
	before := len(lab.Stack().Netstack().RegisteredEndpoints())
	for i := range 5 {
		accepted(lab, l, lab.Peer(fmt.Sprint("client", i), l))
	}
	require.Equal(t, 2, lab.Stack().TimeWaits())
	lab.ExpectCounter("TW", 2)
	lab.ExpectCounter("TCPTimeWaitOverflow", 3)
	require.Len(t, lab.Stack().Netstack().RegisteredEndpoints(), before)
}

// A port is in use until TIME-WAIT is over. With timestamps a socket that was bound
// to it may connect to the same peer before (tcp_twsk_unique).
func TestTimeWaitKeepsItsPort(t *testing.T) {
	for version, at := range servers {
		for name, options := range map[string]listenq.Options{
			"timestamps":    {MSS: 1000, Timestamps: true, TSVal: 5},
			"no timestamps": {MSS: 1000},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				lab := stacktest.New(t, stacktest.Config{})
				p := lab.PeerAt("alice", netip.AddrPortFrom(at.Addr().Next(), 40000), at)
				dialed(t, lab, at, p, options)

				_, err := lab.Stack().Bind(at, stack.BindOptions{})
				require.Equal(t, syscall.EADDRINUSE, err)
				lab.AdvanceTo(time.Minute - time.Second)
				_, err = lab.Stack().Bind(at, stack.BindOptions{})
				require.Equal(t, syscall.EADDRINUSE, err)
				lab.AdvanceTo(time.Minute + time.Second)
				b, err := lab.Stack().Bind(at, stack.BindOptions{})
				require.NoError(t, err)
				b.Release()
			})
		}
	}
}

// connectAny connects from a port that the stack chooses.
func connectAny(t *testing.T, lab *stacktest.Lab, to netip.AddrPort) (*stack.Endpoint, error) {
	t.Helper()
	e, err := lab.Stack().NewEndpoint(to.Addr().Is6())
	require.NoError(t, err)
	err = e.Connect(nil, to)
	lab.Advance(0)
	return e, err
}

// connect(2) does not choose the port of a connection in TIME-WAIT with the same
// peer, unless net.ipv4.tcp_tw_reuse lets it.
func TestTimeWaitAndChosenPorts(t *testing.T) {
	for version, at := range servers {
		for name, tc := range map[string]struct {
			options listenq.Options
			reuse   string
			after   time.Duration
			want    error
			ends    uint64
		}{
			"as it comes":          {listenq.Options{MSS: 1000, Timestamps: true}, "2", 2 * time.Second, syscall.EADDRNOTAVAIL, 0},
			"reuse":                {listenq.Options{MSS: 1000, Timestamps: true}, "1", 2 * time.Second, syscall.EINPROGRESS, 1},
			"reuse, too early":     {listenq.Options{MSS: 1000, Timestamps: true}, "1", time.Second / 2, syscall.EADDRNOTAVAIL, 0},
			"reuse, no timestamps": {listenq.Options{MSS: 1000}, "1", 2 * time.Second, syscall.EADDRNOTAVAIL, 0},
			"over":                 {listenq.Options{MSS: 1000}, "0", 61 * time.Second, syscall.EINPROGRESS, 0},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				lab := stacktest.New(t, stacktest.Config{})
				const port = 50000
				require.Nil(t, lab.Stack().Netstack().SetPortRange(port, port))
				lab.SetSysctl("net.ipv4.tcp_tw_reuse", tc.reuse)
				from := netip.AddrPortFrom(at.Addr(), port)
				p := lab.PeerAt("alice", netip.AddrPortFrom(at.Addr().Next(), 40000), from)
				dialed(t, lab, from, p, tc.options)
				lab.Advance(tc.after)

				_, err := connectAny(t, lab, netip.AddrPortFrom(at.Addr().Next(), 40001)) // another flow
				require.Equal(t, syscall.EINPROGRESS, err)
				e, err := connectAny(t, lab, p.Addr())
				require.Equal(t, tc.want, err)
				lab.ExpectCounter("TWRecycled", tc.ends)
				if err != syscall.EINPROGRESS {
					return
				}
				p.Expect("SYN")
				require.Equal(t, from, e.Local())
				require.Zero(t, lab.Stack().TimeWaits())
				_, err = connectAny(t, lab, p.Addr())
				require.Equal(t, syscall.EADDRNOTAVAIL, err, "the flow exists")
			})
		}
	}
}

// A connection in TIME-WAIT costs less than 500 bytes, its place in the tables
// included.
func TestTimeWaitIsSmall(t *testing.T) {
	const n, most = 1000, 500
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	lives := func(buckets int) int64 {
		before := heap()
		lab := stacktest.New(t, stacktest.Config{})
		lab.SetSysctl("net.ipv4.tcp_max_tw_buckets", fmt.Sprint(buckets))
		l := lab.Listen(":80", 5, nil)
		for i := range n {
			client := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(1024+i))
			accepted(lab, l, lab.PeerAt(fmt.Sprint("client", i), client, servers["IPv4"]))
		}
		require.Equal(t, buckets, lab.Stack().TimeWaits())
		defer runtime.KeepAlive(lab)
		return heap() - before
	}
	lives(0) // what is allocated once
	none := lives(0)
	each := (lives(n) - none) / n
	t.Logf("%d bytes", each)
	require.Less(t, each, int64(most))
}
