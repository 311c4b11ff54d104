package stack

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProvenForgetsTheOldest(t *testing.T) {
	address := func(i int) netip.Addr {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i))
		return netip.AddrFrom4(b)
	}
	var p proven
	require.False(t, p.has(address(0)))
	for i := range provenLimit {
		p.add(address(i))
		p.add(address(i))
	}
	require.True(t, p.has(address(0)))
	p.add(address(provenLimit))
	p.add(address(provenLimit + 1))
	require.False(t, p.has(address(0)))
	require.False(t, p.has(address(1)))
	require.True(t, p.has(address(2)))
	require.True(t, p.has(address(provenLimit)))
	require.Len(t, p.known, provenLimit)
	require.Len(t, p.order, provenLimit)
}
