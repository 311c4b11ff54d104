package listenq

import (
	"math"
	"math/bits"
	"time"
)

// A request is a half-open connection: a SYN that was answered.
type request struct {
	hash     uint32 // of the flow
	chain    slot   // the next request in the same bucket
	flow     Flow
	irs, iss uint32
	// tsRecent is the client's latest timestamp; tsFirst and tsLast bound the
	// timestamps that our SYN-ACKs carried.
	tsRecent, tsFirst, tsLast uint32
	mss                       uint16
	windowScale               uint8 // tsScaleAbsent for none
	timeouts                  uint8 // how often the SYN-ACK timer has fired
	repeats                   uint8 // how often the SYN-ACK was sent again, at most 255
	sackPermitted             bool
	timestamps                bool
	seen                      seen
	// prev and next link the requests that wait for the same timeout; next also
	// links free slots.
	prev, next slot
	deadline   time.Duration
	lastAnswer time.Duration // last answer that tcp_invalid_ratelimit counts, or never
}

// seen is what has come for a request and left it as it was.
type seen uint8

const (
	seenACK  seen = 1 << iota // an ACK that could not complete it
	seenICMP                  // an ICMP error that could not end it
)

func (s seen) has(what seen) bool { return s&what != 0 }

// never is a time so long ago that nothing measured from it is recent.
const never time.Duration = math.MinInt64 / 2

func (r *request) options() Options {
	o := Options{MSS: r.mss, Timestamps: r.timestamps, TSVal: r.tsRecent}
	o.keep(r.sackPermitted, uint32(r.windowScale))
	return o
}

// A slot is the index of a request in a synQueue, or none.
type slot uint32

const none slot = math.MaxUint32

// chunkSize is how many requests are allocated at once: few enough to cost an
// idle listener little, many enough that a flood allocates rarely.
const chunkSize = 128

// idleChunks is how many chunks an empty queue may keep for the next burst.
const idleChunks = 8

// A synQueue holds the requests of a listener: by flow, and by deadline.
//
// By flow it is a table of short chains that gains two buckets with every
// request that is more than there ever were (linear hashing, Litwin 1980), so
// that no SYN waits for a large table to be built anew.
//
// All requests with the same number of timeouts wait equally long, so those
// that wait for the same timeout form a list that is sorted by deadline if new
// ones are put at its end. There are few lists, hence finding the next deadline
// and arming a timer cost the same whether ten requests exist or a million.
type synQueue struct {
	buckets []slot
	chunks  []*[chunkSize]request
	free    slot
	count   int
	young   int // requests whose timer has not fired yet
	waits   [waitLevels]struct{ head, tail slot }
	ages    *ageOrder // nil where nothing is evicted
}

func newSYNQueue() synQueue {
	q := synQueue{buckets: []slot{none}, free: none}
	for i := range q.waits {
		q.waits[i].head, q.waits[i].tail = none, none
	}
	return q
}

func (q *synQueue) len() int { return q.count }

func (q *synQueue) at(s slot) *request { return &q.chunks[s/chunkSize][s%chunkSize] }

// find returns the request of a flow and its slot, or nil.
func (q *synQueue) find(f *Flow, hash uint32) (*request, slot) {
	for s := *q.bucket(hash); s != none; {
		r := q.at(s)
		if r.hash == hash && r.flow == *f {
			return r, s
		}
		s = r.chain
	}
	return nil, none
}

// bucket returns the head of the chain for a hash: as many of its low bits count
// as number the buckets, and one less where that bucket does not exist yet.
func (q *synQueue) bucket(hash uint32) *slot {
	n := uint32(len(q.buckets))
	mask := uint32(1)<<bits.Len32(n-1) - 1
	i := hash & mask
	if i >= n {
		i &= mask >> 1
	}
	return &q.buckets[i]
}

// addBucket splits the chain whose hashes agree with the new bucket's number in
// all but the highest bit.
func (q *synQueue) addBucket() {
	n := uint32(len(q.buckets))
	q.buckets = append(q.buckets, none)
	added := &q.buckets[n]
	link := &q.buckets[n&^(1<<(bits.Len32(n)-1))]
	for *link != none {
		s := *link
		r := q.at(s)
		if q.bucket(r.hash) != added {
			link = &r.chain
			continue
		}
		*link = r.chain
		r.chain = *added
		*added = s
	}
}

// add makes a request for the flow, not armed yet.
func (q *synQueue) add(f *Flow, hash uint32) (*request, slot) {
	if q.free == none {
		q.addChunk()
	}
	for len(q.buckets) <= 2*q.count {
		q.addBucket()
	}
	s := q.free
	r := q.at(s)
	q.free = r.next
	head := q.bucket(hash)
	*r = request{hash: hash, chain: *head, flow: *f, prev: none, next: none, lastAnswer: never}
	*head = s
	q.count++
	q.young++
	if q.ages != nil {
		q.ages.add(s, hash)
	}
	return r, s
}

func (q *synQueue) addChunk() {
	first := slot(len(q.chunks) * chunkSize)
	q.chunks = append(q.chunks, new([chunkSize]request))
	for i := range slot(chunkSize) {
		q.at(first + i).next = first + i + 1
	}
	q.at(first + chunkSize - 1).next = q.free
	q.free = first
}

// remove forgets an armed request. When the last one goes, so does the memory
// that a flood needed.
func (q *synQueue) remove(s slot) {
	r := q.at(s)
	q.disarm(s)
	link := q.bucket(r.hash)
	for *link != s {
		link = &q.at(*link).chain
	}
	*link = r.chain
	if r.timeouts == 0 {
		q.young--
	}
	q.count--
	if q.ages != nil {
		q.ages.remove(s, r.hash)
	}
	if q.count == 0 && len(q.chunks) > idleChunks {
		ages := q.ages
		*q = newSYNQueue()
		if q.ages = ages; ages != nil {
			ages.links = nil
		}
		return
	}
	r.next = q.free
	q.free = s
}

// arm puts a request behind those that wait for the same timeout.
func (q *synQueue) arm(s slot, deadline time.Duration) {
	r := q.at(s)
	w := &q.waits[waitLevel(r.timeouts)]
	r.prev, r.next = w.tail, none
	if w.tail == none {
		w.head = s
	} else {
		tail := q.at(w.tail)
		tail.next = s
		// A caller that advances late could hand in an earlier deadline than
		// the last one; the list must stay sorted.
		deadline = max(deadline, tail.deadline)
	}
	w.tail = s
	r.deadline = deadline
}

// rejuvenate makes a request as if its timer had never fired; it is not armed.
func (q *synQueue) rejuvenate(r *request) {
	if r.timeouts > 0 {
		r.timeouts = 0
		q.young++
	}
}

// disarm takes a request out of its list.
func (q *synQueue) disarm(s slot) {
	r := q.at(s)
	w := &q.waits[waitLevel(r.timeouts)]
	if r.prev == none {
		w.head = r.next
	} else {
		q.at(r.prev).next = r.next
	}
	if r.next == none {
		w.tail = r.prev
	} else {
		q.at(r.next).prev = r.prev
	}
	r.prev, r.next = none, none
}

// next returns the slot at the head of the list with the earliest deadline. Of
// lists with equal deadlines the one armed last comes first.
func (q *synQueue) next() (slot, bool) {
	first := none
	for i := range q.waits {
		head := q.waits[i].head
		if head != none && (first == none || q.at(head).deadline < q.at(first).deadline) {
			first = head
		}
	}
	return first, first != none
}
