package stacktest

import "slices"

// foreignISN stands for a listener's initial sequence number while it has not
// told one.
const foreignISN = 77_000_000

// Numbers translates between relative and absolute sequence numbers of one
// connection, as its client sees them. It is not safe for concurrent use.
type Numbers struct {
	// Own is the client's initial sequence number.
	Own uint32
	// ISN holds the stack's, in the order of its SYN-ACKs, or of its SYNs where it
	// connects.
	ISN []uint32
}

// Base returns the listener's nth initial number, counted from 1, or the newest
// for 0; before the first SYN-ACK it is an arbitrary one.
func (n *Numbers) Base(nth int) uint32 {
	switch {
	case len(n.ISN) == 0:
		return foreignISN
	case nth <= 0 || nth > len(n.ISN):
		return n.ISN[len(n.ISN)-1]
	}
	return n.ISN[nth-1]
}

// Relative makes the absolute numbers of a segment from the listener's side
// relative, and learns from SYNs.
func (n *Numbers) Relative(s Segment) Segment {
	seq := uint32(s.Seq)
	if s.Flags.Has(SYN) && !slices.Contains(n.ISN, seq) {
		n.ISN = append(n.ISN, seq)
	}
	nth := len(n.ISN)
	if i := slices.Index(n.ISN, seq); s.Flags.Has(SYN) && i >= 0 {
		nth = i + 1
	}
	if s.Flags.Has(ACK) {
		s.Ack = int64(int32(uint32(s.Ack) - n.Own))
	}
	if s.Flags.Has(RST|ACK) && seq == 0 {
		return s // it answers a segment without ACK
	}
	s.Seq = int64(int32(seq - n.Base(nth)))
	s.ISN = nth
	return s
}
