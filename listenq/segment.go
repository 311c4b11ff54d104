package listenq

import "strings"

// Flags are the control bits of a TCP segment, in the order of RFC 9293,
// section 3.1.
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has reports whether all bits of mask are set.
func (f Flags) Has(mask Flags) bool { return f&mask == mask }

// String lists the set bits as tcpdump users know them, ACK last:
// "SYN", "SYN-ACK", "FIN-ACK", "RST", "none".
func (f Flags) String() string {
	names := [...]struct {
		bit  Flags
		name string
	}{{FIN, "FIN"}, {SYN, "SYN"}, {RST, "RST"}, {PSH, "PSH"}, {URG, "URG"}, {ECE, "ECE"}, {CWR, "CWR"}, {ACK, "ACK"}}
	var set []string
	for _, n := range names {
		if f.Has(n.bit) {
			set = append(set, n.name)
		}
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, "-")
}

// Options are the TCP options that matter before a connection is established.
type Options struct {
	// MSS is the maximum segment size in bytes; 0 means that the option is
	// absent, which stands for 536 (RFC 9293, section 3.7.1).
	MSS uint16
	// WindowScale is a shift count, 0 to 14, if WindowScaling is set (RFC 7323).
	WindowScale   uint8
	WindowScaling bool
	// SACKPermitted is the option of RFC 2018.
	SACKPermitted bool
	// Timestamps says that TSVal and TSEcr were present (RFC 7323).
	Timestamps   bool
	TSVal, TSEcr uint32
}

// A Segment is one TCP segment from a client, already checked: its length
// fields agree and its checksum is right.
type Segment struct {
	Flow
	Flags    Flags
	Seq, Ack uint32
	// Window is the window field as it stands in the header, not scaled.
	Window uint16
	// Len is the number of payload bytes, 0 to 65535.
	Len     int
	Options Options
	// TimeWait marks a SYN for a flow whose previous connection is in TIME-WAIT
	// and may be replaced by it (RFC 9293, section 3.10.7.4).
	TimeWait bool
	// ISS is the initial sequence number that a connection takes whose SYN has
	// TimeWait set, beyond the old connection's (tcp_tw_isn); 0 leaves it to the
	// listener.
	ISS uint32
	// Proven says that a round trip time is known for the client's address from
	// an earlier, closed connection (Linux tcp_peer_is_proven).
	Proven bool
}

// End is the sequence number behind the segment; SYN and FIN count as one.
func (s *Segment) End() uint32 {
	end := s.Seq + uint32(s.Len)
	if s.Flags.Has(SYN) {
		end++
	}
	if s.Flags.Has(FIN) {
		end++
	}
	return end
}

// before reports whether sequence number a is earlier than b.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// InWindow is Linux tcp_in_window: whether a segment from seq to end touches the
// window from start to stop.
func InWindow(seq, end, start, stop uint32) bool {
	if seq == start {
		return true
	}
	if before(start, end) && before(seq, stop) {
		return true
	}
	return seq == stop && seq == end
}
