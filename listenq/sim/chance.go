package sim

import "math/rand/v2"

// Streams of chance. Each of them is independent of what the others are used
// for.
const (
	arrivalStream uint64 = iota + 1
	silentStream
	sequenceStream
	lossStream
	jitterStream
)

// silent chooses the given share of n clients.
func silent(n int, share float64, seed uint64) []bool {
	chosen := make([]bool, n)
	order := rand.New(rand.NewPCG(seed, silentStream)).Perm(n)
	for _, i := range order[:int(share*float64(n)+0.5)] {
		chosen[i] = true
	}
	return chosen
}

// draw is a number that depends on its arguments only (the finalizer of
// SplitMix64, applied to each).
func draw(seed, stream, who, n uint64) uint64 {
	h := seed
	for _, x := range [...]uint64{stream, who, n} {
		h += x + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// fraction turns what draw returns into a number from 0 to 1, 1 excluded.
func fraction(h uint64) float64 { return float64(h>>11) / (1 << 53) }
