package stack_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack/stacktest"
)

// A FIN that overtakes data is not lost, whichever of the data comes last.
func TestAFINMayOvertakeData(t *testing.T) {
	eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
		p, c := established(lab)
		p.Send(stacktest.Segment{Flags: psh | ack, Seq: 6, Ack: 1, Payload: []byte("later")})
		p.Expect("ACK seq=1 ack=1")
		p.Send(stacktest.Segment{Flags: fin | ack, Seq: 11, Ack: 1})
		p.Expect("ACK seq=1 ack=1")
		p.Send(stacktest.Segment{Flags: psh | ack, Seq: 1, Ack: 1, Payload: []byte("first")})
		p.Expect("ACK seq=1 ack=11")
		p.Expect("ACK seq=1 ack=12")
		require.Equal(t, "firstlater", c.Read())
		c.ExpectReadError(io.EOF)
		c.Close()
		p.Expect("FIN-ACK seq=1 ack=12")
		p.Send(stacktest.Segment{Flags: ack, Seq: 12, Ack: 2})
		p.ExpectNothing()
	})
}

// One that comes early and then again in its turn counts once.
func TestAFINThatComesTwice(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := stamped(lab)
	p.Send(at(p, 500002, stacktest.Segment{Flags: fin | ack, Seq: 6, Ack: 1}))
	p.Expect("ACK seq=1 ack=1")
	p.Send(at(p, 500003, stacktest.Segment{Flags: fin | psh | ack, Seq: 1, Ack: 1, Payload: []byte("first")}))
	p.Expect("ACK seq=1 ack=7")
	require.Equal(t, "first", c.Read())
	c.ExpectReadError(io.EOF)
	p.ExpectNothing()
}

// The window that is believed afterwards is the one that the peer has told last, not
// the one that came with the FIN.
func TestAFINThatOvertakesKeepsTheWindow(t *testing.T) {
	eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
		p, c := established(lab)
		p.Send(stacktest.Segment{Flags: fin | ack, Seq: 6, Ack: 1, ZeroWindow: true})
		p.Expect("ACK seq=1 ack=1")
		p.Send(stacktest.Segment{Flags: ack, Seq: 7, Ack: 1})
		p.Send(stacktest.Segment{Flags: psh | ack, Seq: 1, Ack: 1, Payload: []byte("first")})
		p.Expect("ACK seq=1 ack=6")
		p.Expect("ACK seq=1 ack=7")
		c.Write("answer")
		p.Expect("ACK-PSH seq=1 ack=7 len=6")
	})
}
