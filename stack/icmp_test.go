package stack_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

var (
	icmpServer4 = netip.MustParseAddrPort("192.0.2.1:80")
	icmpServer6 = netip.MustParseAddrPort("[2001:db8::1]:80")
	icmpClient4 = netip.MustParseAddrPort("198.51.100.7:1234")
	icmpClient6 = netip.MustParseAddrPort("[2001:db8:1::7]:1234")
)

// icmpStack has an address of each IP version.
func icmpStack(t testing.TB) (*recorder, *stack.Stack) {
	clock := stack.NewVirtualClock()
	r := &recorder{wire: newWire(), clock: clock}
	s, err := stack.New(stack.Config{
		Link:      r,
		Addresses: []netip.Prefix{netip.PrefixFrom(icmpServer4.Addr(), 24), netip.PrefixFrom(icmpServer6.Addr(), 64)},
		Clock:     clock,
		Random:    zeros{},
	})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return r, s
}

func TestICMPErrorsAreRead(t *testing.T) {
	_, s := icmpStack(t)
	for _, e := range []stacktest.ICMPError{
		{Type: 3, Code: 1},
		{Type: 3, Code: 4, MTU: 1400},
		{Type: 4},
		{Type: 5, Code: 1},
		{Type: 11, From: netip.MustParseAddr("203.0.113.5")},
		{Type: 12, Code: 2},
	} {
		got, whose := stack.ReadICMP(s, e.Packet(icmpServer4, icmpClient4, 4_000_000_000))
		require.Equal(t, "ours", whose, e)
		require.Equal(t, stack.ICMPError{
			Flow: listenq.NewFlow(icmpServer4, icmpClient4), Seq: 4_000_000_000, MTU: e.MTU, Type: e.Type, Code: e.Code,
		}, got)
	}
	for _, e := range []stacktest.ICMPError{{Type: 1, Code: 4}, {Type: 2, MTU: 1 << 20}, {Type: 3}, {Type: 4, Code: 1}, {Type: 100}} {
		got, whose := stack.ReadICMP(s, e.Packet(icmpServer6, icmpClient6, 5))
		require.Equal(t, "ours", whose, e)
		require.Equal(t, stack.ICMPError{
			Flow: listenq.NewFlow(icmpServer6, icmpClient6), Seq: 5, MTU: e.MTU, Type: e.Type, Code: e.Code,
		}, got)
	}
}

// Offsets of the quoted packet.
const (
	quote4 = header.IPv4MinimumSize + header.ICMPv4MinimumSize
	quote6 = header.IPv6MinimumSize + header.ICMPv6MinimumSize
)

func seal4(b []byte) {
	h := header.IPv4(b)
	h.SetTotalLength(uint16(len(b)))
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
	if len(h.Payload()) >= header.ICMPv4MinimumSize {
		m := header.ICMPv4(h.Payload())
		m.SetChecksum(0)
		m.SetChecksum(^checksum.Checksum(m, 0))
	}
}

func seal6(b []byte) {
	h := header.IPv6(b)
	h.SetPayloadLength(uint16(len(b) - header.IPv6MinimumSize))
	if m := header.ICMPv6(h.Payload()); h.NextHeader() == uint8(header.ICMPv6ProtocolNumber) && len(m) >= header.ICMPv6MinimumSize {
		m.SetChecksum(0)
		sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, h.SourceAddress(), h.DestinationAddress(), uint16(len(m)))
		m.SetChecksum(^checksum.Checksum(m, sum))
	}
}

// What is not an error about a segment of the stack's is netstack's, and what
// cannot be believed is nobody's.
func TestICMPErrorsAreRefused(t *testing.T) {
	_, s := icmpStack(t)
	for name, c := range map[string]struct {
		whose string
		wrong func(b []byte) []byte
	}{
		"as it should be":         {"ours", func(b []byte) []byte { seal4(b); return b }},
		"IP checksum":             {"refused", func(b []byte) []byte { b[10]++; return b }},
		"ICMP checksum":           {"refused", func(b []byte) []byte { b[quote4-1]++; return b }},
		"padding behind it":       {"ours", func(b []byte) []byte { return append(b, 0, 0, 0) }},
		"IP options":              {"ours", func(b []byte) []byte { return withOptions(b) }},
		"broadcast":               {"refused", func(b []byte) []byte { b[19] = 255; seal4(b); return b }},
		"first fragment":          {"refused", func(b []byte) []byte { b[6] |= 0x20; seal4(b); return b }},
		"other fragment":          {"other", func(b []byte) []byte { b[7] = 1; seal4(b); return b }},
		"first 8 bytes":           {"refused", func(b []byte) []byte { b = b[:quote4]; b[6] |= 0x20; seal4(b); return b }},
		"an echo request":         {"other", func(b []byte) []byte { b[20] = 8; seal4(b); return b }},
		"a long fragment of one":  {"other", func(b []byte) []byte { b[20] = 8; b[6] |= 0x20; seal4(b); return b }},
		"reassembly":              {"other", func(b []byte) []byte { b[20], b[21] = 11, 1; seal4(b); return b }},
		"last code":               {"ours", func(b []byte) []byte { b[21] = 15; seal4(b); return b }},
		"code of nothing":         {"other", func(b []byte) []byte { b[21] = 16; seal4(b); return b }},
		"about UDP":               {"other", func(b []byte) []byte { b[quote4+9] = 17; seal4(b); return b }},
		"about somebody else":     {"refused", func(b []byte) []byte { b[quote4+15]++; seal4(b); return b }},
		"about a fragment":        {"refused", func(b []byte) []byte { b[quote4+7] = 1; seal4(b); return b }},
		"quotes IPv6":             {"refused", func(b []byte) []byte { b[quote4] = 0x65; seal4(b); return b }},
		"quoted header too long":  {"refused", func(b []byte) []byte { b[quote4] = 0x46; seal4(b); return b }},
		"quoted header too short": {"refused", func(b []byte) []byte { b[quote4] = 0x44; seal4(b); return b }},
		"quotes 7 bytes":          {"refused", func(b []byte) []byte { b = b[:len(b)-1]; seal4(b); return b }},
		"quotes no header":        {"other", func(b []byte) []byte { b = b[:quote4+19]; seal4(b); return b }},
		"quotes nothing":          {"other", func(b []byte) []byte { b = b[:quote4]; seal4(b); return b }},
		"cut off":                 {"other", func(b []byte) []byte { return b[:len(b)-1] }},
		"header length 16":        {"other", func(b []byte) []byte { b[0] = 0x44; return b }},
		"no ICMP header":          {"other", func(b []byte) []byte { b = b[:quote4-1]; seal4(b); return b }},
	} {
		t.Run("IPv4 "+name, func(t *testing.T) {
			_, whose := stack.ReadICMP(s, c.wrong(stacktest.ICMPError{Type: 3, Code: 1}.Packet(icmpServer4, icmpClient4, 5)))
			require.Equal(t, c.whose, whose)
		})
	}
	for name, c := range map[string]struct {
		whose string
		wrong func(b []byte) []byte
	}{
		"as it should be":             {"ours", func(b []byte) []byte { seal6(b); return b }},
		"checksum":                    {"refused", func(b []byte) []byte { b[quote6-1]++; return b }},
		"all nodes":                   {"refused", func(b []byte) []byte { b[24] = 0xff; seal6(b); return b }},
		"destination options":         {"ours", func(b []byte) []byte { return insert6(b, 60, []byte{0, 0, 1, 4, 0, 0, 0, 0}) }},
		"long hop-by-hop options":     {"ours", func(b []byte) []byte { return insert6(b, 0, append([]byte{0, 1, 1, 12}, make([]byte, 12)...)) }},
		"whole fragment":              {"ours", func(b []byte) []byte { return insert6(b, 44, make([]byte, 8)) }},
		"first fragment":              {"refused", func(b []byte) []byte { return insert6(b, 44, []byte{0, 0, 0, 1, 0, 0, 0, 9}) }},
		"other fragment":              {"other", func(b []byte) []byte { return insert6(b, 44, []byte{0, 0, 0, 9, 0, 0, 0, 9}) }},
		"fragment without the header": {"refused", func(b []byte) []byte { b = insert6(b, 44, []byte{0, 0, 0, 1, 0, 0, 0, 9})[:48]; seal6(b); return b }},
		"fragment cut in its options": {"refused", func(b []byte) []byte {
			b = insert6(b, 60, []byte{0, 0, 1, 4, 0, 0, 0, 0})
			b = insert6(b, 44, []byte{0, 0, 0, 1, 0, 0, 0, 9})[:52]
			seal6(b)
			return b
		}},
		"extension cut off":    {"other", func(b []byte) []byte { b[6] = 60; b = b[:header.IPv6MinimumSize+4]; seal6(b); return b }},
		"an echo request":      {"other", func(b []byte) []byte { b[40] = 128; seal6(b); return b }},
		"about UDP":            {"other", func(b []byte) []byte { b[quote6+6] = 17; seal6(b); return b }},
		"about somebody else":  {"refused", func(b []byte) []byte { b[quote6+23]++; seal6(b); return b }},
		"quotes IPv4":          {"refused", func(b []byte) []byte { b[quote6] = 0x45; seal6(b); return b }},
		"about first fragment": {"ours", func(b []byte) []byte { return quoteFragment(b, 1) }},
		"about a fragment":     {"refused", func(b []byte) []byte { return quoteFragment(b, 9) }},
		"quotes 7 bytes":       {"refused", func(b []byte) []byte { b = b[:len(b)-1]; seal6(b); return b }},
		"quotes no header":     {"other", func(b []byte) []byte { b = b[:quote6+39]; seal6(b); return b }},
		"cut off":              {"other", func(b []byte) []byte { return b[:len(b)-1] }},
		"no ICMP header":       {"other", func(b []byte) []byte { b = b[:quote6-1]; seal6(b); return b }},
	} {
		t.Run("IPv6 "+name, func(t *testing.T) {
			_, whose := stack.ReadICMP(s, c.wrong(stacktest.ICMPError{Type: 1, Code: 4}.Packet(icmpServer6, icmpClient6, 5)))
			require.Equal(t, c.whose, whose)
		})
	}
}

// withOptions gives an IPv4 packet four bytes of options.
func withOptions(b []byte) []byte {
	b = slices.Insert(b, header.IPv4MinimumSize, 1, 1, 1, 0)
	b[0]++
	header.IPv4(b).SetTotalLength(uint16(len(b)))
	header.IPv4(b).SetChecksum(0)
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	return b
}

// insert6 puts an extension header behind the fixed one.
func insert6(b []byte, protocol uint8, extension []byte) []byte {
	extension[0] = b[6]
	b = slices.Insert(b, header.IPv6MinimumSize, extension...)
	b[6] = protocol
	header.IPv6(b).SetPayloadLength(uint16(len(b) - header.IPv6MinimumSize))
	return b
}

// quoteFragment makes the quoted packet a fragment.
func quoteFragment(b []byte, offsetAndMore byte) []byte {
	quote := insert6(slices.Clone(b[quote6:]), 44, []byte{0, 0, 0, offsetAndMore, 0, 0, 0, 1})
	b = append(b[:quote6], quote...)
	seal6(b)
	return b
}

// An error about a segment of no connection reaches nobody: netstack would tell
// its listening endpoint.
func TestICMPErrorWithoutConnection(t *testing.T) {
	r, s := icmpStack(t)
	_, err := s.Listen("tcp", ":80", 5, nil)
	require.NoError(t, err)
	delivered := s.Netstack().Stats().ICMP.V4.PacketsReceived.DstUnreachable
	r.deliver(stacktest.ICMPError{Type: 3, Code: 3}.Packet(icmpServer4, icmpClient4, 5))
	require.Zero(t, delivered.Value())
	require.Zero(t, s.Drops().ICMP)
	r.deliver(func() []byte {
		b := stacktest.ICMPError{Type: 3, Code: 3}.Packet(icmpServer4, icmpClient4, 5)
		b[10]++
		return b
	}())
	require.Zero(t, delivered.Value())
	require.EqualValues(t, 1, s.Drops().ICMP)
}

// Whatever comes, what the stack says it has read stands there.
func FuzzICMPError(f *testing.F) {
	f.Add(stacktest.ICMPError{Type: 3, Code: 4, MTU: 1400}.Packet(icmpServer4, icmpClient4, 5))
	f.Add(stacktest.ICMPError{Type: 1, Code: 4}.Packet(icmpServer6, icmpClient6, 5))
	f.Add(insert6(stacktest.ICMPError{Type: 2, MTU: 1300}.Packet(icmpServer6, icmpClient6, 5), 60, []byte{0, 0, 1, 4, 0, 0, 0, 0}))
	f.Add(insert6(stacktest.ICMPError{Type: 4}.Packet(icmpServer6, icmpClient6, 5), 44, make([]byte, 8)))
	_, s := icmpStack(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		e, whose := stack.ReadICMP(s, b)
		if whose != "ours" {
			return
		}
		local, remote := e.Flow.Local(), e.Flow.Remote()
		require.Contains(t, []netip.Addr{icmpServer4.Addr(), icmpServer6.Addr()}, local.Addr())
		to := remote.Addr().AsSlice()
		if local.Addr().Is6() {
			mapped := remote.Addr().As16()
			to = mapped[:]
		}
		quoted := slices.Concat(local.Addr().AsSlice(), to)
		ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, local.Port()), remote.Port())
		require.Contains(t, string(b), string(quoted))
		require.Contains(t, string(b), string(binary.BigEndian.AppendUint32(ports, e.Seq)))
	})
}
