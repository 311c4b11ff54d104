package stack_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack/stacktest"
)

// An ACK of our FIN that overtakes the peer's own FIN, or the data before that, counts
// all the same: the connection does not wait for ever for what it has.
func TestAnAckOfTheFINMayOvertake(t *testing.T) {
	for name, late := range map[string][]stacktest.Segment{
		"a FIN":          {{Flags: fin | ack, Seq: 1, Ack: 1}},
		"data and a FIN": {{Flags: ack, Seq: 1, Ack: 1, Payload: []byte("x")}, {Flags: fin | ack, Seq: 2, Ack: 1}},
		"nothing":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
				p, c := established(lab)
				if len(late) == 2 {
					require.NoError(t, c.Stack().CloseWrite())
				} else {
					c.Close()
				}
				p.Expect("FIN-ACK seq=1 ack=1")
				p.Send(stacktest.Segment{Flags: ack, Seq: int64(1 + len(late)), Ack: 2})
				for _, s := range late {
					p.Send(s)
				}
				if len(late) == 2 {
					require.Equal(t, "x", c.Read())
					c.Close()
				}
				lab.Advance(2 * time.Minute)
				require.Zero(t, lab.Stack().Connections())
			})
		})
	}
}
