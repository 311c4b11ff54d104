package stack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

var everyOption = listenq.Options{MSS: 1460, WindowScaling: true, WindowScale: 7, SACKPermitted: true, Timestamps: true, TSVal: 1}

// exchange opens a connection and sends data both ways.
func exchange(lab *stacktest.Lab, l *stacktest.Listener, name string) {
	p := lab.Peer(name, l)
	p.Send(stacktest.Segment{Flags: stacktest.SYN, Options: everyOption})
	p.Expect("SYN-ACK")
	echo := listenq.Options{Timestamps: true, TSVal: 2, TSEcr: p.Timestamp()}
	p.Send(stacktest.Segment{Flags: stacktest.ACK, Seq: 1, Ack: 1, Payload: []byte("hello"), Options: echo})
	p.Expect("ACK ack=6")
	c := l.Accept()
	if got := c.Read(); got != "hello" {
		panic(got)
	}
	c.Write("world")
	var got strings.Builder
	for _, r := range p.Received() {
		got.Write(r.Payload)
	}
	if got.String() != "world" {
		panic(got.String())
	}
}

// What is changed through Netstack after New does no harm: a connection keeps what
// its client was told, and a listener that comes later offers what holds by then.
func TestNetstackIsChangedAfterNew(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 16, nil)
	half := lab.Peer("half", l)
	half.Send(stacktest.Segment{Flags: stacktest.SYN, Options: everyOption})
	told := half.Expect("SYN-ACK sack ws")
	g := lab.Stack().Netstack()
	for i, change := range []tcpip.SettableTransportProtocolOption{
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 65536, Max: 64 << 20},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 8192, Max: 16384},
		new(tcpip.TCPSACKEnabled),
	} {
		require.Nil(t, g.SetTransportProtocolOption(tcp.ProtocolNumber, change))
		exchange(lab, l, fmt.Sprint("client ", i))
	}
	half.Send(stacktest.Segment{Flags: stacktest.ACK, Seq: 1, Ack: 1, Options: listenq.Options{Timestamps: true, TSVal: 2, TSEcr: told.Options.TSVal}})
	l.Accept().Write("hello")
	half.Expect("ACK seq=1 len=5")
	require.Zero(t, lab.Stack().Drops().GraftFailures)

	later := lab.Peer("later", lab.Listen(":81", 16, nil))
	later.Send(stacktest.Segment{Flags: stacktest.SYN, Options: everyOption})
	got := later.Expect("SYN-ACK ws=0").Options
	require.False(t, got.SACKPermitted)
}

// The options of a socket that listens reach its SYN-ACKs, changed before listen or
// after it, and bound what its connections send.
func TestOfferOfAListener(t *testing.T) {
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		for _, before := range []bool{true, false} {
			lab := stacktest.New(t, stacktest.Config{})
			offer := stack.Offer{MaxSegment: 500, ReceiveBuffer: 10000}
			opts := &stack.ListenOptions{}
			if before {
				opts.Offer = offer
			}
			l := lab.Listen(address, 16, opts)
			if !before {
				require.NoError(t, l.Stack().SetOffer(offer))
			}
			p := lab.Peer("alice", l)
			p.Send(stacktest.Segment{Flags: stacktest.SYN, Options: listenq.Options{MSS: 1400}})
			p.Expect("SYN-ACK mss=500 win=5000")
			p.ACK()
			l.Accept().Write(strings.Repeat("x", 1200))
			p.Expect("ACK len=500")
			p.Expect("ACK len=500")
			p.Expect("ACK len=200")
			require.Error(t, l.Stack().SetOffer(stack.Offer{MaxSegment: 87}))
		}
	}
}

// The least MTU of a device carries connections, if slowly: with timestamps and SACK
// netstack has room for a byte a segment.
func TestNarrowLinks(t *testing.T) {
	for _, mtu := range []uint32{68, 80, 127, 128, 576, 65520} {
		lab := stacktest.New(t, stacktest.Config{MTU: mtu})
		exchange(lab, lab.Listen("192.0.2.1:80", 16, nil), fmt.Sprint(mtu))
		require.Zero(t, lab.Stack().Drops().GraftFailures)
	}
}
