package stack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A headerFault is why a packet is refused for its extension headers.
type headerFault struct {
	// report says that the sender is told, by a Parameter Problem.
	report  bool
	code    header.ICMPv6Code
	pointer int // offset in the packet, in bytes
}

// dropped is a fault that nobody is told of.
var dropped = &headerFault{}

// The protocol numbers of extension headers.
const (
	hopByHop           = uint8(header.IPv6HopByHopOptionsExtHdrIdentifier)
	routingHeader      = uint8(header.IPv6RoutingExtHdrIdentifier)
	fragmentHeader     = uint8(header.IPv6FragmentExtHdrIdentifier)
	authentication     = 51
	noNextHeader       = uint8(header.IPv6NoNextHeaderIdentifier)
	destinationOptions = uint8(header.IPv6DestinationOptionsExtHdrIdentifier)
)

// checkExtensions walks the extension headers of a packet and returns what Linux has
// against one of them and netstack has not; nil is nothing. What is not understood is
// left to netstack, which refuses it too.
func checkExtensions(b []byte) *headerFault {
	h := header.IPv6(b)
	next, at := h.NextHeader(), header.IPv6MinimumSize
	if n := int(h.PayloadLength()); n != 0 && at+n <= len(b) {
		b = b[:at+n]
	}
	fragmented := false
	for first := true; ; first = false {
		if next == fragmentHeader {
			whole, fault := checkFragment(b, at, fragmented)
			if !whole {
				return fault
			}
			fragmented = true
			next, at = b[at], at+header.IPv6FragmentHeaderSize
			continue
		}
		if at+8 > len(b) {
			return nil
		}
		end := at + 8*(int(b[at+1])+1)
		if end > len(b) {
			return nil
		}
		switch {
		case next == hopByHop && first, next == destinationOptions:
			if fault := checkOptions(b[:end], at, next == hopByHop); fault != nil {
				return fault
			}
		case next == routingHeader:
			const rplSourceRoute, segmentRouting = 3, 4 // off: rpl_seg_enabled, seg6_enabled
			if kind := b[at+2]; kind == rplSourceRoute || kind == segmentRouting {
				return dropped
			}
		default:
			return nil
		}
		next, at = b[at], end
	}
}

// checkFragment judges the fragment header at an offset (ipv6_frag_rcv); whole means
// that its packet is not fragmented at all, and goes on behind it.
func checkFragment(b []byte, at int, again bool) (whole bool, fault *headerFault) {
	if again || at+header.IPv6FragmentHeaderSize > len(b) || header.IPv6(b).PayloadLength() == 0 {
		return false, &headerFault{report: true, code: header.ICMPv6ErroneousHeader, pointer: at}
	}
	const offset, more = ^uint16(7), 1
	switch field := binary.BigEndian.Uint16(b[at+2:]); {
	case field&(offset|more) == 0:
		return true, nil
	case field&offset == 0 && upperLayerCut(b):
		const incompleteHeaderChain = 3 // RFC 7112, section 5
		return false, &headerFault{report: true, code: incompleteHeaderChain}
	}
	return false, nil
}

// upperLayerCut reports whether a first fragment ends before the header of what it
// carries does (ipv6frag_thdr_truncated).
func upperLayerCut(b []byte) bool {
	next, at, ok := upperLayer(b)
	if !ok {
		return false
	}
	size := 1
	switch next {
	case uint8(header.TCPProtocolNumber):
		size = header.TCPMinimumSize
	case uint8(header.UDPProtocolNumber):
		size = header.UDPMinimumSize
	case uint8(header.ICMPv6ProtocolNumber):
		size = header.ICMPv6MinimumSize
	}
	return at+size > len(b)
}

// upperLayer returns what a packet or its first fragment carries, and where that
// begins, which may be behind the end (ipv6_skip_exthdr).
func upperLayer(b []byte) (protocol uint8, at int, ok bool) {
	next, at := header.IPv6(b).NextHeader(), header.IPv6MinimumSize
	for {
		size := 8
		switch next {
		case fragmentHeader, hopByHop, routingHeader, destinationOptions, authentication:
			if at+2 > len(b) {
				return 0, 0, false
			}
		case noNextHeader:
			return 0, 0, false
		default:
			return next, at, true
		}
		switch next {
		case fragmentHeader:
		case authentication:
			size = 4 * (int(b[at+1]) + 2)
		default:
			size = 8 * (int(b[at+1]) + 1)
		}
		next, at = b[at], at+size
	}
}

// checkOptions judges the options of the last header in b, which begins at an offset
// (ip6_parse_tlv). An option that is not to be skipped ends it: netstack does with
// that what is to be done.
func checkOptions(b []byte, at int, hop bool) *headerFault {
	const (
		pad1, padN, jumbo = 0, 1, 0xc2
		maxPadding        = 7 // more would align nothing
		maxOptions        = 8 // max_dst_opts_number, max_hbh_opts_number
		notSkipped        = 0xc0
	)
	options, padding := 0, 0
	for at += 2; at < len(b); {
		kind := b[at]
		if kind == pad1 {
			if padding++; padding > maxPadding {
				return dropped
			}
			at++
			continue
		}
		if at+2 > len(b) || at+2+int(b[at+1]) > len(b) {
			return nil
		}
		size := 2 + int(b[at+1])
		if kind == padN {
			if padding += size; padding > maxPadding {
				return dropped
			}
			for _, c := range b[at+2 : at+size] { // RFC 4942, section 2.1.9.5
				if c != 0 {
					return dropped
				}
			}
			at += size
			continue
		}
		padding = 0
		if options++; options > maxOptions {
			return dropped
		}
		if hop && kind == jumbo {
			return checkJumbo(b, at)
		}
		if kind&notSkipped != 0 {
			return nil
		}
		at += size
	}
	return nil
}

// checkJumbo judges the option of a packet longer than 65,535 bytes; no link has such
// (ipv6_hop_jumbo).
func checkJumbo(b []byte, at int) *headerFault {
	switch {
	case b[at+1] != 4 || at%4 != 2:
		return dropped
	case binary.BigEndian.Uint32(b[at+2:]) <= header.IPv6MaximumPayloadSize:
		return &headerFault{report: true, code: header.ICMPv6ErroneousHeader, pointer: at + 2}
	case header.IPv6(b).PayloadLength() != 0:
		return &headerFault{report: true, code: header.ICMPv6ErroneousHeader, pointer: at}
	}
	return dropped
}
