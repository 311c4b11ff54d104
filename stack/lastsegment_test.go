package stack

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A segment that another goroutine brings when the last one has been taken is not kept
// back, since nobody would ever send it.
func TestNothingWaitsForALastSegmentThatIsOver(t *testing.T) {
	segment := func() *gstack.PacketBuffer {
		a := tcpip.AddrFrom4([4]byte{192, 0, 2, 1})
		seg := segmentOut{flags: header.TCPFlagAck}
		pkt, _ := seg.packet(a, a, 1, 2)
		pkt.Data().AppendView(buffer.NewViewSize(1))
		return pkt
	}
	l := new(lastSegment)
	first, late := segment(), segment()
	defer first.DecRef()
	defer late.DecRef()
	require.Empty(t, l.next(first, true))
	require.Same(t, first, l.take())
	require.Equal(t, []*gstack.PacketBuffer{late}, l.next(late, true))
	require.Nil(t, l.take())
}
