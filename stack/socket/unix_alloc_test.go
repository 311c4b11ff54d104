//go:build linux && !race

package socket

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is sent and received in pieces of the usual sizes allocates nothing.
func TestUnixNoAllocations(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	for _, typ := range []int{stream, dgram, seqpacket} {
		w, r := b.pair(typ)
		for _, size := range []int{1, 3000, 60_000} {
			buf := make([]byte, size)
			require.Zero(t, testing.AllocsPerRun(100, func() {
				for sent := 0; sent < size; {
					n, err := p.Write(w, buf)
					require.NoError(t, err)
					sent += n
				}
				for got := 0; got < size; {
					n, err := p.Read(r, buf[got:])
					require.NoError(t, err)
					got += n
				}
			}))
		}
	}
}
