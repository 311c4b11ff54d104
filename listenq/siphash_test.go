package listenq

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors are those of appendix A and the reference program of the SipHash
// paper: key 00..0f, messages 00.. of 0 and 8 bytes.
func TestSipHashVectors(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	k := newSipKey(key[:])
	require.Equal(t, uint64(0x726fdb47dd0e0e31), k.sum())
	require.Equal(t, uint64(0x93f5f5799a932462), k.sum(0x0706050403020100))
}
