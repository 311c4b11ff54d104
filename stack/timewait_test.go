package stack_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// A segment that was queued to the endpoint when a connection came to TIME-WAIT is
// lost, as on the network, and not answered by a RST.
func TestTimeWaitIsNotRefused(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("alice", l)
	at := netip.MustParseAddrPort("192.0.2.1:80")
	p.Handshake()
	l.Accept().Close()
	p.Expect("FIN-ACK")
	p.FIN()
	p.Expect("ACK")
	stack.RefuseSegment(lab.Stack(), at, p.Addr())
	lab.Advance(0)
	p.ExpectNothing()
	p.Send(stacktest.Segment{Flags: listenq.RST, Seq: 2})
	stack.RefuseSegment(lab.Stack(), at, p.Addr())
	lab.Advance(time.Millisecond)
	p.Expect("RST")
}
