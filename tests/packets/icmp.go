//go:build linux

package packets

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A byVersion is what a word means in IPv4 and IPv6; none is absent.
type byVersion struct{ v4, v6 int }

const none = -1

func (b byVersion) of(version int) int {
	if version == 4 {
		return b.v4
	}
	return b.v6
}

// icmpTypes are the types of errors (RFC 792, RFC 4443).
var icmpTypes = map[string]byVersion{
	"unreachable":       {3, 1},
	"packet_too_big":    {none, 2},
	"source_quench":     {4, none},
	"time_exceeded":     {11, 3},
	"parameter_problem": {12, 4},
}

// icmpCodes are the codes of unreachable.
var icmpCodes = map[string]byVersion{
	"net_unreachable":          {0, none},
	"host_unreachable":         {1, none},
	"protocol_unreachable":     {2, none},
	"port_unreachable":         {3, 4},
	"frag_needed":              {4, none},
	"source_route_failed":      {5, none},
	"communication_prohibited": {13, none},
	"no_route":                 {none, 0},
	"admin_prohibited":         {none, 1},
	"not_neighbour":            {none, 2},
	"address_unreachable":      {none, 3},
	"ingress_policy":           {none, 5},
	"reject_route":             {none, 6},
}

func sortedNames(m map[string]byVersion) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}

// An icmpNumber is a type and a code on the wire.
type icmpNumber struct{ typ, code uint8 }

// number returns the numbers of an error in a version of IP; false means that
// there is no such error. A code that is a number is taken as it is.
func (m *ICMP) number(version int) (n icmpNumber, ok bool) {
	typ, ok := icmpTypes[m.Type]
	if !ok || typ.of(version) == none {
		return n, false
	}
	n.typ = uint8(typ.of(version))
	if m.Code == "" {
		return n, true
	}
	if code, err := strconv.ParseUint(m.Code, 10, 8); err == nil {
		n.code = uint8(code)
		return n, true
	}
	code, ok := icmpCodes[m.Code]
	if !ok || m.Type != "unreachable" || code.of(version) == none {
		return n, false
	}
	n.code = uint8(code.of(version))
	return n, true
}

// packet returns the packet from the peer, or a router that has its address. seq
// is the number to quote, as it was on the wire.
func (m *ICMP) packet(f flow, seq uint32) []byte {
	const rest = 8 // of an ICMP header (RFC 792, RFC 4443)
	n, _ := m.number(f.version())
	b := append([]byte{n.typ, n.code}, make([]byte, rest-2)...)
	if f.version() == 4 {
		b[6], b[7] = byte(m.MTU>>8), byte(m.MTU)
	} else {
		b[4], b[5], b[6], b[7] = byte(m.MTU>>24), byte(m.MTU>>16), byte(m.MTU>>8), byte(m.MTU)
	}
	segment := header.TCP(make([]byte, header.TCPMinimumSize))
	segment.Encode(&header.TCPFields{
		SrcPort: f.stack.Port(), DstPort: f.peer.Port(), SeqNum: seq, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagAck,
	})
	back := flow{peer: f.stack, stack: f.peer}
	b = append(b, back.ipHeader(Packet{}, header.TCPProtocolNumber, len(segment)+m.Len)...)
	b = append(b, segment...)
	protocol, sum := header.ICMPv4ProtocolNumber, uint16(0)
	if f.version() == 6 {
		protocol = header.ICMPv6ProtocolNumber
		sum = header.PseudoHeaderChecksum(protocol, address(f.peer.Addr()), address(f.stack.Addr()), uint16(len(b)))
	}
	sum = ^checksum.Checksum(b, sum)
	b[2], b[3] = byte(sum>>8), byte(sum)
	return append(f.ipHeader(m.Packet, protocol, len(b)), b...)
}
