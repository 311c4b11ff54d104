//go:build linux

package packets

import (
	"math"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// packet reads what follows < or >.
func (p *parser) packet(in bool) any {
	head := p.ipFields()
	if p.acceptWord("icmp") {
		if !in {
			p.fail("ICMP goes to the stack only")
		}
		return p.icmp(head)
	}
	return p.segment(head, in)
}

// ipFields reads [ttl 42, tos 0x10], which may be absent.
func (p *parser) ipFields() (head Packet) {
	if !p.accept("[") {
		return head
	}
	for {
		switch {
		case p.acceptWord("ttl"):
			head.TTL = some(uint8(p.number(math.MaxUint8)))
		case p.acceptWord("tos"):
			head.TOS = some(uint8(p.number(math.MaxUint8)))
		default:
			p.wants("ttl or tos")
		}
		if !p.accept(",") {
			break
		}
	}
	p.expect("]")
	return head
}

// flagLetters are the flags of segments.
var flagLetters = map[byte]header.TCPFlags{
	'F': header.TCPFlagFin, 'S': header.TCPFlagSyn, 'R': header.TCPFlagRst, 'P': header.TCPFlagPsh,
	'.': header.TCPFlagAck, 'U': header.TCPFlagUrg, 'E': 1 << 6, 'W': 1 << 7,
}

// segment reads FLAGS SEQ:END(LENGTH) [ack N] [win N] [<options>].
func (p *parser) segment(head Packet, in bool) *Segment {
	s := &Segment{Packet: head, In: in}
	p.space()
	letters := p.while(func(b byte) bool { return flagLetters[b] != 0 })
	for _, l := range []byte(letters) {
		s.Flags |= flagLetters[l]
	}
	if letters == "" && !p.accept("-") {
		p.wants("flags: letters out of S F R P . U E W, or -")
	}
	s.Seq, s.Len = p.numbers()
	if s.Flags.Contains(header.TCPFlagAck) {
		if !p.acceptWord("ack") {
			p.wants("ack, which the dot among the flags asks for")
		}
		s.Ack = uint32(p.number(math.MaxUint32))
	}
	if p.acceptWord("win") {
		s.Window = some(uint16(p.number(math.MaxUint16)))
	}
	if p.accept("<") {
		p.options(s)
	}
	if in {
		p.fits(s.Len)
	}
	return s
}

// fits checks that a payload fits into a packet.
func (p *parser) fits(length int) {
	const most = math.MaxUint16 - header.IPv6MinimumSize - header.TCPHeaderMaximumSize
	if length > most {
		p.fail("%d bytes are more than the %d that fit into any packet", length, most)
	}
}

// numbers reads SEQ:END(LENGTH), the end being one beyond the last byte.
func (p *parser) numbers() (seq uint32, length int) {
	seq = uint32(p.number(math.MaxUint32))
	p.expect(":")
	end := uint32(p.number(math.MaxUint32))
	p.expect("(")
	const most = 1 << 30 // none of the windows is larger
	length = int(p.number(most))
	p.expect(")")
	if end-seq != uint32(length) {
		p.fail("from %d to %d there are %d bytes, not %d", seq, end, end-seq, length)
	}
	return seq, length
}

// options reads the options of a segment up to the closing bracket.
func (p *parser) options(s *Segment) {
	if p.accept("...") {
		s.AnyOptions = true
		if s.In {
			p.fail("what is sent needs options of its own")
		}
		p.expect(">")
		return
	}
	for {
		s.Options = append(s.Options, p.option())
		if !p.accept(",") {
			break
		}
	}
	p.expect(">")
	if len(encodeOptions(s.Options)) > header.TCPOptionsMaximumSize {
		p.fail("these options are more than %d bytes", header.TCPOptionsMaximumSize)
	}
}

func (p *parser) option() option {
	switch name := p.word(); name {
	case "nop":
		return option{kind: header.TCPOptionNOP}
	case "eol":
		return option{kind: header.TCPOptionEOL}
	case "mss":
		return option{kind: header.TCPOptionMSS, values: []uint32{uint32(p.number(math.MaxUint16))}}
	case "wscale":
		return option{kind: header.TCPOptionWS, values: []uint32{uint32(p.number(math.MaxUint8))}}
	case "sackOK":
		return option{kind: header.TCPOptionSACKPermitted}
	case "TS":
		p.expect("val")
		val := uint32(p.number(math.MaxUint32))
		p.expect("ecr")
		return option{kind: header.TCPOptionTS, values: []uint32{val, uint32(p.number(math.MaxUint32))}}
	case "sack":
		o := option{kind: header.TCPOptionSACK}
		for p.space(); p.rest != "" && digit(p.rest[0]); p.space() {
			from := uint32(p.number(math.MaxUint32))
			p.expect(":")
			o.values = append(o.values, from, uint32(p.number(math.MaxUint32)))
		}
		if len(o.values) == 0 {
			p.wants("blocks, as in sack 1:2 3:4")
		}
		return o
	default:
		p.rest = name + p.rest
		p.wants("an option: mss, wscale, sackOK, sack, TS, nop or eol")
		return option{}
	}
}

// icmp reads TYPE [CODE] [mtu N] [SEQ:END(LENGTH)], the last in brackets of its
// own.
func (p *parser) icmp(head Packet) *ICMP {
	m := &ICMP{Packet: head, Type: p.word()}
	if p.space(); !p.acceptWord("mtu") {
		m.Code = p.word()
		if p.space(); m.Code == "" && p.rest != "" && digit(p.rest[0]) {
			m.Code = p.while(digit)
		}
		if p.acceptWord("mtu") {
			m.MTU = uint32(p.number(math.MaxUint32))
		}
	} else {
		m.MTU = uint32(p.number(math.MaxUint32))
	}
	p.expect("[")
	m.Seq, m.Len = p.numbers()
	p.expect("]")
	p.fits(m.Len)
	_, v4 := m.number(4)
	_, v6 := m.number(6)
	words := strings.TrimSpace(m.Type + " " + m.Code)
	switch {
	case !v4 && !v6:
		p.fail("there is no ICMP error %q: types are %s, codes of unreachable %s", words, sortedNames(icmpTypes), sortedNames(icmpCodes))
	case !v6:
		p.only(4, words)
	case !v4:
		p.only(6, words)
	case digit((m.Code + " ")[0]):
		p.fail("the code %s is not the same in both versions of IP: use a name", m.Code)
	}
	if m.MTU > math.MaxUint16 && !v6 {
		p.fail("%d is more than an ICMP error of IPv4 can say", m.MTU)
	}
	return m
}
