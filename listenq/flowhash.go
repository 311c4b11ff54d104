package listenq

import "time"

// A flowHash is the keyed hash of a flow. Half of it finds the request, the
// other half makes the initial sequence number, so that a client who collects
// sequence numbers learns nothing about the buckets.
type flowHash uint64

func (l *Listener) flowHash(f *Flow) flowHash {
	a := f.addresses()
	return flowHash(l.issKey.sum(a[0], a[1], a[2], a[3], f.ports()))
}

func (h flowHash) bucket() uint32 { return uint32(h >> 32) }

// initialSequence is the ISS of RFC 6528: the hash plus a clock that ticks every
// 64 ns (Linux secure_tcp_seq).
func (h flowHash) initialSequence(now time.Duration) uint32 {
	return uint32(h) + uint32(now>>6)
}
