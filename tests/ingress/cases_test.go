//go:build linux

package ingress

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A question is some packets, one after the other.
type question struct {
	name    string
	packets [][]byte
}

// A questionnaire numbers the ports of its clients, so that no question meets the
// requests of another.
type questionnaire struct {
	all  []question
	port uint16
}

func (q *questionnaire) ask(name string, packets ...[]byte) {
	q.all = append(q.all, question{name, packets})
}

// next is a client's port that nobody has used.
func (q *questionnaire) next() uint16 {
	q.port++
	return 20000 + q.port
}

// everything asks with each kind of message between two addresses: a SYN that the
// express lane may take, one that it may not, datagrams and echo requests.
func (q *questionnaire) everything(name string, src, dst netip.Addr) {
	q.ask(name+", plain SYN", ip(syn(src, dst, q.next(), tcpPort, 0)))
	q.ask(name+", long SYN", ip(syn(src, dst, q.next(), tcpPort, 200)))
	q.ask(name+", SYN to a closed port", ip(syn(src, dst, q.next(), closedPort, 0)))
	q.ask(name+", datagram", ip(udp(src, dst, q.next(), udpPort, 10)))
	q.ask(name+", datagram to a closed port", ip(udp(src, dst, q.next(), closedPort, 10)))
	q.ask(name+", echo request", ip(echo(src, dst, 10)))
}

// questions returns all there are.
func questions() []question {
	var q questionnaire
	for _, s := range []string{
		"192.0.2.77", "198.51.100.7", "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.1.2.3", "169.254.1.1", "192.0.2.0", "192.0.2.1",
		"192.0.2.255", "192.0.3.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
	} {
		q.everything("from "+s, addr(s), host4)
	}
	for _, s := range []string{
		"2001:db8::77", "2001:db8:1::7", "::", "::1", "::2", "::192.0.2.77", "::ffff:192.0.2.1", "::ffff:192.0.2.77", "::ffff:0:192.0.2.77",
		"64:ff9b::c000:201", "2001:db8::", "2001:db8::1", "2002:c000:201::1", "fc00::1", "fe80::77", "fec0::1", "ff01::1", "ff02::1", "ff0e::1",
	} {
		q.everything("from "+s, addr(s), host6)
	}
	for _, s := range []string{
		"0.0.0.0", "127.0.0.1", "127.1.2.3", "192.0.2.0", "192.0.2.9", "192.0.2.255", "198.51.100.1", "224.0.0.1", "224.0.0.2", "239.1.1.1",
		"240.0.0.1", "255.255.255.255",
	} {
		q.everything("to "+s, peer4, addr(s))
	}
	for _, s := range []string{
		"::", "::1", "::192.0.2.1", "::ffff:192.0.2.1", "2001:db8::", "2001:db8::9", "fe80::9", "ff00::1", "ff01::1", "ff02::1", "ff02::2",
		"ff02::1:ff00:1", "ff02::1:ff00:9", "ff05::1", "ff0e::1",
	} {
		q.everything("to "+s, peer6, addr(s))
	}
	q.fields4()
	q.options4()
	q.fragments4()
	q.fields6()
	q.extensions()
	q.fragments6()
	return q.all
}

// fields4 asks about the fields of the IPv4 header.
func (q *questionnaire) fields4() {
	for name, edit := range map[string]func(header.IPv4) []byte{
		"TTL 0":                func(h header.IPv4) []byte { h.SetTTL(0); return sum4(h) },
		"TTL 1":                func(h header.IPv4) []byte { h.SetTTL(1); return sum4(h) },
		"wrong checksum":       func(h header.IPv4) []byte { h.SetChecksum(h.Checksum() ^ 0x5555); return h },
		"reserved flag":        func(h header.IPv4) []byte { h.SetFlagsFragmentOffset(4, 0); return sum4(h) },
		"do not fragment":      func(h header.IPv4) []byte { h.SetFlagsFragmentOffset(2, 0); return sum4(h) },
		"header of 16 bytes":   func(h header.IPv4) []byte { h[0] = 0x44; return sum4(h) },
		"length too long":      func(h header.IPv4) []byte { h.SetTotalLength(uint16(len(h) + 1)); return sum4(h) },
		"length of the header": func(h header.IPv4) []byte { h.SetTotalLength(20); return sum4(h) },
		"length 19":            func(h header.IPv4) []byte { h.SetTotalLength(19); return sum4(h) },
		"trailing bytes":       func(h header.IPv4) []byte { return append(h, 1, 2, 3) },
		"version 5":            func(h header.IPv4) []byte { h[0] = 0x55; return sum4(h) },
		"TOS 255":              func(h header.IPv4) []byte { h.SetTOS(255, 0); return sum4(h) },
	} {
		q.ask("IPv4 "+name+", plain SYN", edit(ip4(syn(peer4, host4, q.next(), tcpPort, 0))))
		q.ask("IPv4 "+name+", long SYN", edit(ip4(syn(peer4, host4, q.next(), tcpPort, 200))))
		q.ask("IPv4 "+name+", datagram", edit(ip4(udp(peer4, host4, q.next(), udpPort, 20))))
	}
	for name, edit := range map[string]func(message) message{
		"TCP wrong checksum":       func(m message) message { m.bytes[16] ^= 0x55; return m },
		"TCP no checksum":          func(m message) message { m.bytes[16], m.bytes[17] = 0, 0; return m },
		"TCP data offset 16":       func(m message) message { m.bytes[12] = 4 << 4; return m.sum(16) },
		"TCP data offset too long": func(m message) message { m.bytes[12] = 15 << 4; return m.sum(16) },
		"TCP reserved bits":        func(m message) message { m.bytes[12] |= 0x0e; return m.sum(16) },
		"TCP ECN":                  func(m message) message { m.bytes[13] |= 0xc0; return m.sum(16) },
		"TCP source port 0":        func(m message) message { m.bytes[0], m.bytes[1] = 0, 0; return m.sum(16) },
	} {
		q.ask(name+", IPv4", ip4(edit(syn(peer4, host4, q.next(), tcpPort, 0))))
		q.ask(name+", IPv6", ip6(edit(syn(peer6, host6, q.next(), tcpPort, 0))))
	}
	for name, edit := range map[string]func(message) message{
		"UDP wrong checksum":  func(m message) message { m.bytes[6] ^= 0x55; return m },
		"UDP no checksum":     func(m message) message { m.bytes[6], m.bytes[7] = 0, 0; return m },
		"UDP length 0":        func(m message) message { m.bytes[4], m.bytes[5] = 0, 0; return m.sum(6) },
		"UDP length 7":        func(m message) message { m.bytes[4], m.bytes[5] = 0, 7; return m.sum(6) },
		"UDP length 8":        func(m message) message { m.bytes[4], m.bytes[5] = 0, 8; return m.piece(0, 8).sum(6) },
		"UDP length too long": func(m message) message { m.bytes[5]++; return m.sum(6) },
		"UDP source port 0":   func(m message) message { m.bytes[0], m.bytes[1] = 0, 0; return m.sum(6) },
		"UDP 7 bytes":         func(m message) message { return m.piece(0, 7) },
	} {
		q.ask(name+", IPv4", ip4(edit(udp(peer4, host4, q.next(), udpPort, 20))))
		q.ask(name+", IPv6", ip6(edit(udp(peer6, host6, q.next(), udpPort, 20))))
	}
	q.ask("protocol 200, IPv4", ip4(message{peer4, host4, 200, make([]byte, 20)}))
	q.ask("protocol 200, IPv6", ip6(message{peer6, host6, 200, make([]byte, 20)}))
	q.ask("no next header", ip6(message{peer6, host6, unix.IPPROTO_NONE, make([]byte, 20)}))
	for _, kind := range []uint8{13, 15, 17} { // timestamp, information, address mask requests
		m := echo(peer4, host4, 12)
		m.bytes[0], m.bytes[2], m.bytes[3] = kind, 0, 0
		binary.BigEndian.PutUint16(m.bytes[2:], ^checksum.Checksum(m.bytes, 0))
		q.ask(fmt.Sprintf("ICMP type %d", kind), ip4(m))
	}
	broken := echo(peer4, host4, 20)
	broken.bytes[9] ^= 1
	q.ask("echo request with a wrong checksum, IPv4", ip4(broken))
	broken = echo(peer6, host6, 20)
	broken.bytes[9] ^= 1
	q.ask("echo request with a wrong checksum, IPv6", ip6(broken))
}

// options4 asks about IPv4 options.
func (q *questionnaire) options4() {
	router := addr("192.0.2.9").AsSlice()
	route := func(kind, pointer byte, hops int) []byte {
		return append([]byte{kind, byte(3 + 4*hops), pointer}, slices.Repeat(router, hops)...)
	}
	for name, o := range map[string][]byte{
		"no operation":                 {1, 1, 1, 1},
		"end of list":                  {0, 1, 2, 3},
		"loose source route":           route(131, 4, 1),
		"strict source route":          route(137, 4, 1),
		"loose source route used up":   route(131, 8, 1),
		"strict source route used up":  route(137, 8, 1),
		"source route behind an end":   append([]byte{0}, route(131, 4, 1)...),
		"source route after NOPs":      append([]byte{1, 1, 1}, route(137, 4, 2)...),
		"source route of length 2":     {131, 2, 4, 0},
		"source route with pointer 3":  route(131, 3, 1),
		"source route too long":        {131, 40, 4, 1, 2, 3, 4, 0},
		"two source routes":            append(route(131, 4, 1), route(131, 4, 1)...),
		"record route":                 route(7, 4, 2),
		"record route, full":           route(7, 12, 2),
		"record route with pointer 2":  route(7, 2, 2),
		"router alert":                 {148, 4, 0, 0},
		"timestamp":                    {68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"unknown":                      {222, 4, 1, 2},
		"unknown of length 0":          {222, 0, 1, 2},
		"unknown of length 1":          {222, 1, 1, 2},
		"unknown too long":             {222, 5, 1, 2},
		"only a kind":                  {1, 1, 1, 131},
		"a source route inside others": {222, 8, 131, 7, 4, 192, 0, 2},
	} {
		q.ask("option "+name+", SYN", ip4(syn(peer4, host4, q.next(), tcpPort, 0), o...))
		q.ask("option "+name+", datagram", ip4(udp(peer4, host4, q.next(), udpPort, 10), o...))
		q.ask("option "+name+", echo request", ip4(echo(peer4, host4, 10), o...))
		q.ask("option "+name+", fragments", fragments4(ip4(udp(peer4, host4, q.next(), udpPort, 40), o...), 16)...)
	}
}

// fragments4 asks about IPv4 fragments.
func (q *questionnaire) fragments4() {
	id := uint16(100)
	cut := func(m message, cuts ...int) [][]byte {
		id++
		h := ip4(m)
		h.SetID(id)
		return fragments4(h, cuts...)
	}
	for _, cuts := range [][]int{{8}, {16}, {24}, {8, 16}, {40}, {8, 16, 24, 32, 40}} {
		q.ask(fmt.Sprintf("fragments4 SYN %v", cuts), cut(syn(peer4, host4, q.next(), tcpPort, 100), cuts...)...)
		q.ask(fmt.Sprintf("fragments4 UDP %v", cuts), cut(udp(peer4, host4, q.next(), udpPort, 100), cuts...)...)
		q.ask(fmt.Sprintf("fragments4 echo %v", cuts), cut(echo(peer4, host4, 100), cuts...)...)
	}
	backwards := cut(udp(peer4, host4, q.next(), udpPort, 100), 8, 40)
	slices.Reverse(backwards)
	q.ask("fragments4 backwards", backwards...)
	f := cut(udp(peer4, host4, q.next(), udpPort, 100), 48)
	q.ask("fragments4 twice the first", f[0], f[0], f[1])
	f = cut(udp(peer4, host4, q.next(), udpPort, 100), 48)
	other := cut(udp(peer4, host4, q.next(), udpPort, 100), 40)
	header.IPv4(other[1]).SetID(id - 1)
	q.ask("fragments4 that overlap", f[0], sum4(other[1]))
	f = cut(udp(peer4, host4, q.next(), udpPort, 100), 48)
	q.ask("fragments4 the last one missing", f[0])
	f = cut(udp(peer4, host4, q.next(), udpPort, 100), 48)
	h := header.IPv4(f[0])
	h.SetTotalLength(h.TotalLength() - 4)
	q.ask("fragments4 of a length that is not a multiple of 8", sum4(h[:len(h)-4]), f[1])
	f = cut(udp(peer4, host4, q.next(), udpPort, 100), 48)
	h = header.IPv4(f[1])
	h.SetFlagsFragmentOffset(0, 65528)
	q.ask("fragments4 beyond the largest packet", f[0], sum4(h))
	f = cut(udp(peer4, host4, q.next(), udpPort, 100), 48)
	h = header.IPv4(f[1])
	h.SetTotalLength(20)
	q.ask("fragments4 without payload", f[0], sum4(h[:20]), f[1])
	for name, dst := range map[string]string{"broadcast": "192.0.2.255", "multicast": "224.0.0.1"} {
		q.ask("fragments4 echo to "+name, cut(echo(peer4, addr(dst), 100), 40)...)
	}
}

// fields6 asks about the fields of the IPv6 header.
func (q *questionnaire) fields6() {
	for name, edit := range map[string]func(header.IPv6) []byte{
		"hop limit 0":     func(h header.IPv6) []byte { h.SetHopLimit(0); return h },
		"hop limit 1":     func(h header.IPv6) []byte { h.SetHopLimit(1); return h },
		"length too long": func(h header.IPv6) []byte { h.SetPayloadLength(h.PayloadLength() + 1); return h },
		"length 0":        func(h header.IPv6) []byte { h.SetPayloadLength(0); return h },
		"trailing bytes":  func(h header.IPv6) []byte { return append(h, 1, 2, 3) },
		"version 5":       func(h header.IPv6) []byte { h[0] = 0x50; return h },
		"traffic class":   func(h header.IPv6) []byte { h.SetTOS(255, 0xfffff); return h },
	} {
		q.ask("IPv6 "+name+", plain SYN", edit(ip6(syn(peer6, host6, q.next(), tcpPort, 0))))
		q.ask("IPv6 "+name+", long SYN", edit(ip6(syn(peer6, host6, q.next(), tcpPort, 200))))
		q.ask("IPv6 "+name+", datagram", edit(ip6(udp(peer6, host6, q.next(), udpPort, 20))))
	}
}

// extensions asks about IPv6 extension headers.
func (q *questionnaire) extensions() {
	const hop, dst = unix.IPPROTO_HOPOPTS, unix.IPPROTO_DSTOPTS
	padN := func(n int, fill byte) []byte {
		return append([]byte{1, byte(n)}, slices.Repeat([]byte{fill}, n)...)
	}
	ra := []byte{5, 2, 0, 0}
	unknown := func(kind byte, n int) []byte { return slices.Repeat([]byte{kind, 0}, n) }
	bodies := map[string][]byte{
		"Pad1 4, PadN 2":       slices.Concat(make([]byte, 4), padN(0, 0)),
		"PadN 6":               padN(4, 0),
		"Pad1 6":               make([]byte, 6),
		"Pad1 14":              make([]byte, 14),
		"PadN 8 and 6":         slices.Concat(padN(6, 0), padN(4, 0)),
		"PadN with data":       padN(4, 9),
		"Pad1 1360":            make([]byte, 1358),
		"PadN 100":             slices.Concat(slices.Repeat(padN(0, 0), 103)),
		"8 unknown to skip":    slices.Concat(unknown(30, 8), make([]byte, 6)),
		"9 unknown to skip":    slices.Concat(unknown(30, 9), make([]byte, 4)),
		"unknown to drop":      slices.Concat(unknown(0x5e, 1), make([]byte, 4)),
		"unknown to report":    slices.Concat(unknown(0x9e, 1), make([]byte, 4)),
		"unknown to report 3":  slices.Concat(unknown(0xde, 1), make([]byte, 4)),
		"option too long":      {30, 5, 0, 0, 0, 0},
		"half an option":       {0, 0, 0, 0, 0, 30},
		"router alert":         slices.Concat(ra, padN(0, 0)),
		"router alert twice":   slices.Concat(ra, ra, padN(4, 0)),
		"router alert, length": {5, 1, 0, 1, 1, 0},
		"jumbo":                {0xc2, 4, 0, 1, 0, 0},
		"jumbo, not aligned":   slices.Concat([]byte{0xc2, 3, 0, 1, 0}, []byte{0}),
		"pads apart":           slices.Concat(make([]byte, 4), unknown(30, 1), make([]byte, 7), make([]byte, 1)),
		"home address":         slices.Concat([]byte{1, 2, 0, 0}, []byte{0xc9, 16}, host6.AsSlice()),
	}
	for name, b := range bodies {
		for len(b)%8 != 6 {
			b = append(b, 0)
		}
		for kind, which := range map[uint8]string{hop: "hop-by-hop", dst: "destination"} {
			q.ask(which+" options "+name+", SYN", ip6(syn(peer6, host6, q.next(), tcpPort, 0), options(kind, b...)))
			q.ask(which+" options "+name+", datagram", ip6(udp(peer6, host6, q.next(), udpPort, 10), options(kind, b...)))
		}
	}
	jumbo := ip6(syn(peer6, host6, q.next(), tcpPort, 0), options(hop, 0xc2, 4, 0, 0, 0, 32))
	jumbo.SetPayloadLength(0)
	q.ask("jumbo of 32 bytes", jumbo)
	jumbo = ip6(syn(peer6, host6, q.next(), tcpPort, 0), options(hop, 0xc2, 4, 0, 1, 0, 0))
	jumbo.SetPayloadLength(0)
	q.ask("jumbo of 65536 bytes", jumbo)
	pad := options(hop, padN(4, 0)...)
	padDst := options(dst, padN(4, 0)...)
	for _, kind := range []uint8{0, 1, 2, 3, 4, 5, 200} {
		for _, left := range []uint8{0, 1, 2} {
			q.ask(fmt.Sprintf("routing type %d, %d left", kind, left), ip6(syn(peer6, host6, q.next(), tcpPort, 0), routing(kind, left, 2)))
		}
	}
	for name, chain := range map[string][]extension{
		"hop, destination, routing, destination": {pad, padDst, routing(0, 0, 2), padDst},
		"hop-by-hop twice":                       {pad, pad},
		"hop-by-hop after destination":           {padDst, pad},
		"destination 20 times":                   slices.Repeat([]extension{padDst}, 20),
		"routing twice":                          {routing(0, 0, 2), routing(0, 0, 2)},
		"routing 4 behind others":                {pad, padDst, routing(4, 0, 2)},
		"destination too long":                   {{dst, []byte{0, 200, 1, 4, 0, 0, 0, 0}}},
		"routing too long":                       {{unix.IPPROTO_ROUTING, []byte{0, 200, 0, 0, 0, 0, 0, 0}}},
		"hop-by-hop too long":                    {{hop, []byte{0, 200, 1, 4, 0, 0, 0, 0}}},
		"atomic fragment":                        {fragment(1, 0, false)},
		"atomic fragment twice":                  {fragment(1, 0, false), fragment(2, 0, false)},
		"options behind an atomic fragment":      {fragment(3, 0, false), options(dst, make([]byte, 14)...)},
		"authentication":                         {{unix.IPPROTO_AH, []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}},
	} {
		q.ask("chain "+name, ip6(syn(peer6, host6, q.next(), tcpPort, 0), chain...))
	}
	q.ask("chain cut", ip6(message{peer6, host6, dst, []byte{6, 0, 1}}))
	for _, to := range []string{"ff02::1", "2001:db8::9"} {
		q.ask("unknown option to "+to, ip6(echo(peer6, addr(to), 0), options(dst, 0x9e, 0, 0, 0, 0, 0)))
		q.ask("unknown option 3 to "+to, ip6(echo(peer6, addr(to), 0), options(dst, 0xde, 0, 0, 0, 0, 0)))
		q.ask("routing type 200 to "+to, ip6(echo(peer6, addr(to), 0), routing(200, 1, 2)))
		q.ask("jumbo to "+to, ip6(echo(peer6, addr(to), 0), options(hop, 0xc2, 4, 0, 0, 0, 32)))
	}
}

// fragments6 asks about IPv6 fragments.
func (q *questionnaire) fragments6() {
	id := uint32(100)
	pieces := func(m message, cuts []int, before ...extension) (all [][]byte) {
		id++
		from := 0
		for _, to := range append(slices.Clone(cuts), len(m.bytes)) {
			all = append(all, ip6(m.piece(from, to), append(slices.Clone(before), fragment(id, from, to < len(m.bytes)))...))
			from = to
		}
		return all
	}
	dst := options(unix.IPPROTO_DSTOPTS, 1, 4, 0, 0, 0, 0)
	for _, cuts := range [][]int{{8}, {16}, {24}, {8, 16}, {32}, {40}, {8, 16, 24, 32, 40}} {
		q.ask(fmt.Sprintf("fragments6 SYN %v", cuts), pieces(syn(peer6, host6, q.next(), tcpPort, 100), cuts)...)
		q.ask(fmt.Sprintf("fragments6 SYN %v behind options", cuts), pieces(syn(peer6, host6, q.next(), tcpPort, 100), cuts, dst)...)
		q.ask(fmt.Sprintf("fragments6 UDP %v", cuts), pieces(udp(peer6, host6, q.next(), udpPort, 100), cuts)...)
		q.ask(fmt.Sprintf("fragments6 echo %v", cuts), pieces(echo(peer6, host6, 100), cuts)...)
		// Options in the fragmented part.
		m := syn(peer6, host6, q.next(), tcpPort, 100)
		inner := slices.Concat([]byte{unix.IPPROTO_TCP, 0, 1, 4, 0, 0, 0, 0}, m.bytes)
		q.ask(fmt.Sprintf("fragments6 options and SYN %v", cuts), pieces(message{m.src, m.dst, unix.IPPROTO_DSTOPTS, inner}, cuts)...)
		padded := slices.Concat([]byte{unix.IPPROTO_TCP, 1}, make([]byte, 14), m.bytes)
		q.ask(fmt.Sprintf("fragments6 too many pads and SYN %v", cuts), pieces(message{m.src, m.dst, unix.IPPROTO_DSTOPTS, padded}, cuts)...)
	}
	first := pieces(syn(peer6, host6, q.next(), tcpPort, 100), []int{8})[:1]
	q.ask("fragments6 short first alone", first...)
	q.ask("fragments6 short first to multicast", pieces(syn(peer6, addr("ff02::1"), q.next(), tcpPort, 100), []int{8})[:1]...)
	q.ask("fragments6 short first from nowhere", pieces(syn(addr("::"), host6, q.next(), tcpPort, 100), []int{8})[:1]...)
	q.ask("fragments6 short first to another", pieces(syn(peer6, addr("2001:db8::9"), q.next(), tcpPort, 100), []int{8})[:1]...)
	q.ask("fragments6 short first of an unknown protocol", pieces(message{peer6, host6, 200, make([]byte, 64)}, []int{8})[:1]...)
	f := pieces(udp(peer6, host6, q.next(), udpPort, 100), []int{8, 40})
	slices.Reverse(f)
	q.ask("fragments6 backwards", f...)
	f = pieces(udp(peer6, host6, q.next(), udpPort, 100), []int{48})
	q.ask("fragments6 twice the first", f[0], f[0], f[1])
	m := udp(peer6, host6, q.next(), udpPort, 100)
	f = pieces(m, []int{48})
	q.ask("fragments6 that overlap", f[0], ip6(m.piece(40, 108), fragment(id, 40, false)))
	m = udp(peer6, host6, q.next(), udpPort, 100)
	f = pieces(m, []int{48})
	q.ask("fragments6 of a length that is not a multiple of 8", ip6(m.piece(0, 44), fragment(id, 0, true)), f[1])
	m = udp(peer6, host6, q.next(), udpPort, 100)
	f = pieces(m, []int{48})
	q.ask("fragments6 beyond the largest packet", f[0], ip6(m.piece(48, 108), fragment(id, 65528, false)))
	m = udp(peer6, host6, q.next(), udpPort, 100)
	f = pieces(m, []int{48})
	q.ask("fragments6 without payload", f[0], ip6(m.piece(0, 0), fragment(id, 48, true)), f[1])
	q.ask("fragments6 header cut", ip6(message{peer6, host6, unix.IPPROTO_FRAGMENT, []byte{6, 0, 0, 1}}))
}
