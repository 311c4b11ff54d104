package listenq

import (
	"encoding/binary"
	"math/bits"
)

// sipKey is a key of SipHash-2-4.
type sipKey [2]uint64

func newSipKey(b []byte) sipKey {
	return sipKey{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

// sum returns SipHash-2-4 of the given 64-bit words, taken as a little-endian
// byte string of 8*len(words) bytes (Aumasson and Bernstein, "SipHash: a fast
// short-input PRF", 2012). Linux hashes sequence numbers and cookies with the
// same function.
func (k sipKey) sum(words ...uint64) uint64 {
	v0 := k[0] ^ 0x736f6d6570736575
	v1 := k[1] ^ 0x646f72616e646f6d
	v2 := k[0] ^ 0x6c7967656e657261
	v3 := k[1] ^ 0x7465646279746573
	for _, m := range words {
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	last := uint64(len(words)*8) << 56
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}

// addresses returns the flow's addresses as four words.
func (f *Flow) addresses() (w [4]uint64) {
	w[0] = binary.LittleEndian.Uint64(f.local[:8])
	w[1] = binary.LittleEndian.Uint64(f.local[8:])
	w[2] = binary.LittleEndian.Uint64(f.remote[:8])
	w[3] = binary.LittleEndian.Uint64(f.remote[8:])
	return w
}

// ports returns the flow's ports in the low half of a word.
func (f *Flow) ports() uint64 { return uint64(f.localPort)<<16 | uint64(f.remotePort) }
