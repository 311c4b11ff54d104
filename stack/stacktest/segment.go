package stacktest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
)

// The control bits of a Segment.
const (
	FIN = listenq.FIN
	SYN = listenq.SYN
	RST = listenq.RST
	PSH = listenq.PSH
	ACK = listenq.ACK
	URG = listenq.URG
)

// A Segment is one TCP segment as a Peer sends or sees it.
type Segment struct {
	Flags listenq.Flags
	// Seq is relative to the sender's initial sequence number: its SYN has 0,
	// its first byte 1. If the stack sends a segment and has not told an initial
	// number, or answers one without ACK by RST-ACK, it is absolute.
	Seq int64
	// Ack is relative to the receiver's initial sequence number, and counts only
	// with the ACK flag.
	Ack int64
	// ISN says which initial sequence number of the stack Ack, or Seq in a
	// segment of the stack, is relative to, if it has used several on the
	// connection: 1, 2, ...; 0 is the newest when sending.
	ISN     int
	Payload []byte
	// Window is the window field, not scaled. In a segment to send, 0 stands for
	// 65535; send a closed window with ZeroWindow.
	Window     uint16
	ZeroWindow bool
	Options    listenq.Options
}

// String prints what is not obvious:
//
//	SYN seq=0 win=65535 mss=1460
//	PSH-ACK seq=1 ack=1 len=10 win=502
func (s Segment) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v seq=%d", s.Flags, s.Seq)
	if s.Flags.Has(ACK) {
		fmt.Fprintf(&b, " ack=%d", s.Ack)
	}
	if s.ISN > 1 {
		fmt.Fprintf(&b, " isn=%d", s.ISN)
	}
	if len(s.Payload) > 0 {
		fmt.Fprintf(&b, " len=%d", len(s.Payload))
	}
	if !s.Flags.Has(RST) {
		fmt.Fprintf(&b, " win=%d", s.Window)
	}
	o := s.Options
	if o.MSS != 0 {
		fmt.Fprintf(&b, " mss=%d", o.MSS)
	}
	if o.SACKPermitted {
		b.WriteString(" sack")
	}
	if o.Timestamps {
		b.WriteString(" ts")
	}
	if o.WindowScaling {
		fmt.Fprintf(&b, " ws=%d", o.WindowScale)
	}
	return b.String()
}

// ParsePacket takes an IP packet apart. The numbers of the segment are absolute;
// false means that it is no TCP packet. The payload is the packet's own memory.
func ParsePacket(b []byte) (from, to netip.AddrPort, s Segment, ok bool) {
	from, to, t, ok := dissect(b)
	if !ok {
		return from, to, s, false
	}
	return from, to, absolute(t), true
}

// absolute turns a header into a Segment whose numbers are not relative yet.
func absolute(t header.TCP) Segment {
	s := Segment{
		Flags:   listenq.Flags(t.Flags()),
		Seq:     int64(t.SequenceNumber()),
		Ack:     int64(t.AckNumber()),
		Window:  t.WindowSize(),
		Payload: t[t.DataOffset():],
	}
	options := t[header.TCPMinimumSize:t.DataOffset()]
	if s.Flags.Has(SYN) {
		o := header.ParseSynOptions(options, s.Flags.Has(ACK))
		s.Options = listenq.Options{
			MSS:           o.MSS,
			WindowScaling: o.WS >= 0,
			WindowScale:   uint8(max(o.WS, 0)),
			SACKPermitted: o.SACKPermitted,
			Timestamps:    o.TS,
			TSVal:         o.TSVal,
			TSEcr:         o.TSEcr,
		}
	} else {
		o := header.ParseTCPOptions(options)
		s.Options = listenq.Options{Timestamps: o.TS, TSVal: o.TSVal, TSEcr: o.TSEcr}
	}
	return s
}

// A pattern is what an expectation says about a segment. What it does not name
// may be anything.
type pattern struct {
	flags    listenq.Flags
	withPush bool
	numbers  map[string]int64
	options  []string
}

// parsePattern reads "SYN-ACK seq=0 ack=1 mss=1460 sack".
func parsePattern(text string) (pattern, error) {
	p := pattern{numbers: make(map[string]int64)}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return p, fmt.Errorf("an empty pattern: begin with the flags, as in %q", "SYN-ACK seq=0 ack=1")
	}
	flags, err := parseFlags(fields[0])
	if err != nil {
		return p, err
	}
	p.flags, p.withPush = flags, flags.Has(PSH)
	for _, field := range fields[1:] {
		name, value, numeric := strings.Cut(field, "=")
		switch name {
		case "seq", "ack", "len", "win", "mss", "ws", "isn":
			if name == "ws" && !numeric {
				p.options = append(p.options, name)
				continue
			}
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return p, fmt.Errorf("%q in pattern %q: need %s=NUMBER", field, text, name)
			}
			p.numbers[name] = n
		case "sack", "ts":
			if numeric {
				return p, fmt.Errorf("%q in pattern %q: %s has no value", field, text, name)
			}
			p.options = append(p.options, name)
		default:
			return p, fmt.Errorf("%q in pattern %q: use seq, ack, len, win, mss, ws and isn with a number, or sack, ts and ws without", field, text)
		}
	}
	return p, nil
}

// parseFlags reads flags in any order, joined by hyphens.
func parseFlags(text string) (listenq.Flags, error) {
	names := map[string]listenq.Flags{"FIN": FIN, "SYN": SYN, "RST": RST, "PSH": PSH, "ACK": ACK, "URG": URG, "none": 0}
	var flags listenq.Flags
	for name := range strings.SplitSeq(text, "-") {
		f, ok := names[name]
		if !ok {
			return 0, fmt.Errorf("unknown flag %q in %q: join FIN, SYN, RST, PSH, ACK and URG by hyphens", name, text)
		}
		flags |= f
	}
	return flags, nil
}

// mismatch says what about a segment is not as it should be; "" if nothing.
func (p pattern) mismatch(s Segment) string {
	got := s.Flags
	if !p.withPush {
		got &^= PSH
	}
	if got != p.flags {
		return fmt.Sprintf("its flags are %v", s.Flags)
	}
	has := map[string]int64{
		"seq": s.Seq, "ack": s.Ack, "len": int64(len(s.Payload)), "win": int64(s.Window),
		"mss": int64(s.Options.MSS), "ws": -1, "isn": int64(max(s.ISN, 1)),
	}
	if s.Options.WindowScaling {
		has["ws"] = int64(s.Options.WindowScale)
	}
	for _, name := range []string{"seq", "ack", "len", "win", "mss", "ws", "isn"} {
		if want, named := p.numbers[name]; named && has[name] != want {
			return fmt.Sprintf("its %s is %d", name, has[name])
		}
	}
	present := map[string]bool{"sack": s.Options.SACKPermitted, "ts": s.Options.Timestamps, "ws": s.Options.WindowScaling}
	for _, name := range p.options {
		if !present[name] {
			return fmt.Sprintf("it has no %s", name)
		}
	}
	return ""
}

// Packet returns the IP packet of the segment, with absolute numbers in place of
// its own.
func (s Segment) Packet(from, to netip.AddrPort, seq, ack uint32) []byte {
	var buf [40]byte
	options := encodeOptions(buf[:], s.Flags, s.Options)
	size := header.TCPMinimumSize + len(options)
	ip := header.IPv4MinimumSize
	if from.Addr().Is6() {
		ip = header.IPv6MinimumSize
	}
	b := make([]byte, ip+size+len(s.Payload))
	src, dst := tcpip.AddrFromSlice(from.Addr().AsSlice()), tcpip.AddrFromSlice(to.Addr().AsSlice())
	if from.Addr().Is6() {
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength:     uint16(len(b) - ip),
			TransportProtocol: header.TCPProtocolNumber,
			HopLimit:          64,
			SrcAddr:           src,
			DstAddr:           dst,
		})
	} else {
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)),
			Flags:       header.IPv4FlagDontFragment,
			TTL:         64,
			Protocol:    uint8(header.TCPProtocolNumber),
			SrcAddr:     src,
			DstAddr:     dst,
		})
		h.SetChecksum(^h.CalculateChecksum())
	}
	t := header.TCP(b[ip:])
	t.Encode(&header.TCPFields{
		SrcPort:    from.Port(),
		DstPort:    to.Port(),
		SeqNum:     seq,
		AckNum:     ack,
		DataOffset: uint8(size),
		Flags:      header.TCPFlags(s.Flags),
		WindowSize: s.Window,
	})
	copy(t[header.TCPMinimumSize:], options)
	copy(t[size:], s.Payload)
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, uint16(len(t)))
	t.SetChecksum(^checksum.Checksum(t, sum))
	return b
}

func encodeOptions(b []byte, flags listenq.Flags, o listenq.Options) []byte {
	n := 0
	if flags.Has(SYN) {
		if o.MSS != 0 {
			n += header.EncodeMSSOption(uint32(o.MSS), b)
		}
		if o.SACKPermitted {
			n += header.EncodeSACKPermittedOption(b[n:])
		}
	}
	if o.Timestamps {
		n += header.EncodeTSOption(o.TSVal, o.TSEcr, b[n:])
	}
	if flags.Has(SYN) && o.WindowScaling {
		n += header.EncodeWSOption(int(o.WindowScale), b[n:])
	}
	for n%4 != 0 {
		n += header.EncodeNOP(b[n:])
	}
	return b[:n]
}
