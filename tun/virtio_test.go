package tun

import (
	"testing"

	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

func TestVirtioRoundTrip(t *testing.T) {
	h := virtioHeader{flags: 1, gsoType: 4, hdrLen: 0x0203, gsoSize: 0x0405, csumStart: 0x0607, csumOffset: 0x0809}
	var b [virtioHeaderLen]byte
	h.encode(&b)
	if got := decodeVirtio(b[:]); got != h {
		t.Errorf("got %+v, want %+v", got, h)
	}
}

func TestVirtioFor(t *testing.T) {
	gso := gstack.GSO{Type: gstack.GSOTCPv4, NeedsCsum: true, CsumOffset: 16, MSS: 1448, L3HdrLen: 20}
	with := func(change func(*gstack.GSO)) gstack.GSO {
		g := gso
		change(&g)
		return g
	}
	partial := virtioHeader{flags: virtioNeedsCsum, hdrLen: 52, csumStart: 20, csumOffset: 16}
	split := partial
	split.gsoType, split.gsoSize = virtioGSOTCPv4, 1448
	split6 := split
	split6.gsoType, split6.hdrLen, split6.csumStart = virtioGSOTCPv6, 72, 40
	for _, tt := range []struct {
		name            string
		gso             gstack.GSO
		net, hdrs, data int
		want            virtioHeader
		ok              bool
	}{
		{"complete packet", gstack.GSO{}, 0, 0, 60, virtioHeader{}, true},
		{"one segment", gso, 20, 52, 1448, partial, true},
		{"no payload", gso, 20, 52, 0, partial, true},
		{"two segments", gso, 20, 52, 1449, split, true},
		{"64 KiB does not wrap to 0", gso, 20, 52, 65536, split, true},
		{"IPv6", with(func(g *gstack.GSO) { g.Type = gstack.GSOTCPv6 }), 40, 72, 9000, split6, true},
		{"the packet's own network header counts", with(func(g *gstack.GSO) { g.L3HdrLen = 99 }), 20, 52, 10, partial, true},
		{"checksum is complete", with(func(g *gstack.GSO) { g.NeedsCsum = false }), 20, 52, 10, virtioHeader{hdrLen: 52}, true},
		{"segmentation needs a partial checksum", with(func(g *gstack.GSO) { g.NeedsCsum = false }), 20, 52, 3000, virtioHeader{}, false},
		{"no segment size", with(func(g *gstack.GSO) { g.MSS = 0 }), 20, 52, 1, virtioHeader{}, false},
		{"no network header", gso, 0, 32, 3000, virtioHeader{}, false},
		{"no transport header", gso, 20, 20, 3000, virtioHeader{}, false},
		{"gVisor's software segmentation", with(func(g *gstack.GSO) { g.Type = gstack.GSOGvisor }), 20, 52, 3000, virtioHeader{}, false},
	} {
		got, ok := virtioFor(tt.gso, tt.net, tt.hdrs, tt.data)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}
