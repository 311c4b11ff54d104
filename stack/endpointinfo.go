package stack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// EndpointInfo is a connection at one moment.
type EndpointInfo struct {
	// MaxSegment is the payload of a full segment, in bytes, options taken off;
	// 0 before there is a connection.
	MaxSegment int
	// Outstanding are the segments that were sent and not acknowledged.
	Outstanding int
	// Timestamps and SACK say whether the handshake agreed on them.
	Timestamps, SACK bool
	// RTT, RTTVariance and RTO are the estimate of the round trip and the
	// retransmission timeout that follows from it.
	RTT, RTTVariance, RTO time.Duration
	// SlowStartThreshold and CongestionWindow are in segments.
	SlowStartThreshold, CongestionWindow uint32
}

// Info returns the state of the connection.
func (e *Endpoint) Info() EndpointInfo {
	var t tcpip.TCPInfoOption
	e.ep.GetSockOpt(&t) // it cannot fail
	e.ep.LockUser()
	defer e.ep.UnlockUser()
	s := sentBy(e.ep)
	return EndpointInfo{
		MaxSegment:         s.maxPayload,
		Outstanding:        s.outstanding,
		Timestamps:         e.ep.SendTSOk,
		SACK:               e.ep.SACKPermitted,
		RTT:                t.RTT,
		RTTVariance:        t.RTTVar,
		RTO:                t.RTO,
		SlowStartThreshold: t.SndSsthresh,
		CongestionWindow:   t.SndCwnd,
	}
}

// Unacknowledged returns the bytes that were written and not acknowledged; a FIN
// counts as one, as on Linux (tcp_ioctl).
func (e *Endpoint) Unacknowledged() int {
	held := e.heldBack()
	e.ep.LockUser()
	defer e.ep.UnlockUser()
	n := held + max(sentBy(e.ep).buffered, 0) // netstack takes off one for the FIN that it did not add
	switch e.ep.EndpointState() {
	case tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		n++
	}
	return max(n, 0) // netstack takes an acknowledged FIN off the buffer
}
