package memnet

// A buffer holds bytes in the order they were sent. It grows as it needs to; its
// owner bounds it.
type buffer struct {
	ring  []byte // its length is a power of two, or 0
	first int
	count int
}

// A new buffer has smallestBuffer bytes; an empty one keeps keptBuffer at most.
const (
	smallestBuffer = 512
	keptBuffer     = 64 << 10
)

func (b *buffer) len() int { return b.count }

// write appends bytes.
func (b *buffer) write(p []byte) {
	if need := b.count + len(p); need > len(b.ring) {
		size := max(smallestBuffer, len(b.ring))
		for size < need {
			size *= 2
		}
		grown := make([]byte, size)
		b.peek(grown)
		b.ring, b.first = grown, 0
	}
	if len(p) == 0 {
		return
	}
	n := copy(b.ring[(b.first+b.count)&(len(b.ring)-1):], p)
	copy(b.ring, p[n:])
	b.count += len(p)
}

// peek copies the first bytes and leaves them there.
func (b *buffer) peek(p []byte) int {
	want := min(len(p), b.count)
	n := copy(p[:want], b.ring[b.first:])
	copy(p[n:want], b.ring)
	return want
}

// read takes bytes out.
func (b *buffer) read(p []byte) int {
	n := b.peek(p)
	b.skip(n)
	return n
}

// skip forgets the first n bytes; an empty buffer gives back what is large.
func (b *buffer) skip(n int) {
	b.count -= n
	if b.count > 0 {
		b.first = (b.first + n) & (len(b.ring) - 1)
		return
	}
	b.first = 0
	if len(b.ring) > keptBuffer {
		b.ring = nil
	}
}
