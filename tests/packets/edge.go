//go:build linux

package packets

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// An edge is the right edge of the window that the stack offers: the number, on the
// wire, of the first byte that it would not take. It never moves left (RFC 9293,
// 3.8.6).
type edge struct {
	known bool
	at    uint32
	// scale is the stack's, and scaled says that the peer agreed.
	scale  uint32
	scaled bool
}

// agree notes whether a SYN of the peer has the window scale option.
func (e *edge) agree(options []option) { e.scaled = scaleOf(options).Set }

func scaleOf(options []option) optional[uint32] {
	for _, o := range options {
		if o.kind == header.TCPOptionWS {
			return some(o.values[0])
		}
	}
	return optional[uint32]{}
}

// moved notes the edge that a segment of the stack tells, and complains if it is
// left of the one before. SYNs begin anew, and a RST tells nothing.
func (e *edge) moved(r *received) error {
	flags := r.tcp.Flags()
	if flags.Contains(header.TCPFlagRst) {
		return nil
	}
	window := uint32(r.tcp.WindowSize())
	if flags.Contains(header.TCPFlagSyn) {
		e.known, e.scale = false, scaleOf(wireOptions(r)).or(0)
	} else if e.scaled {
		window <<= e.scale
	}
	if !flags.Contains(header.TCPFlagAck) {
		return nil
	}
	at, before := r.tcp.AckNumber()+window, e.at
	known := e.known
	e.known, e.at = true, at
	if known && int32(at-before) < 0 {
		return fmt.Errorf("the right edge of its window is %d left of the one before", before-at)
	}
	return nil
}
