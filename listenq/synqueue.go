package listenq

import "time"

// A request is a half-open connection: a SYN that was answered.
type request struct {
	flow     Flow
	irs, iss uint32
	// tsRecent is the client's latest timestamp; tsFirst and tsLast bound the
	// timestamps that our SYN-ACKs carried.
	tsRecent, tsFirst, tsLast uint32
	mss                       uint16
	windowScale               uint8
	timeouts                  uint8 // how often the SYN-ACK timer has fired
	windowScaling             bool
	sackPermitted             bool
	timestamps                bool
	acked                     bool // an ACK came but could not complete the request
	answered                  bool // lastAnswer is valid
	deadline                  time.Duration
	lastAnswer                time.Duration
	// prev and next link the requests that wait for the same timeout; next also
	// links free slots.
	prev, next slot
}

func (r *request) options() Options {
	return Options{
		MSS:           r.mss,
		WindowScale:   r.windowScale,
		WindowScaling: r.windowScaling,
		SACKPermitted: r.sackPermitted,
		Timestamps:    r.timestamps,
		TSVal:         r.tsRecent,
	}
}

// A slot is the index of a request in a synQueue, or none.
type slot int32

const none slot = -1

// chunkSize is how many requests are allocated at once: few enough to cost an
// idle listener little, many enough that a flood allocates rarely.
const chunkSize = 128

// A synQueue holds the requests of a listener: by flow, and by deadline.
//
// All requests with the same number of timeouts wait equally long, so those
// that wait for the same timeout form a list that is sorted by deadline if new
// ones are put at its end. There are few lists, hence finding the next deadline
// and arming a timer cost the same whether ten requests exist or a million.
type synQueue struct {
	byFlow map[Flow]slot
	chunks []*[chunkSize]request
	free   slot
	waits  [rtoLevels]struct{ head, tail slot }
	young  int // requests whose timer has not fired yet
}

func newSYNQueue() synQueue {
	q := synQueue{}
	q.reset()
	return q
}

func (q *synQueue) reset() {
	*q = synQueue{byFlow: make(map[Flow]slot), free: none}
	for i := range q.waits {
		q.waits[i].head, q.waits[i].tail = none, none
	}
}

func (q *synQueue) len() int { return len(q.byFlow) }

func (q *synQueue) at(s slot) *request { return &q.chunks[s/chunkSize][s%chunkSize] }

// find returns the request of a flow and its slot, or nil.
func (q *synQueue) find(f Flow) (*request, slot) {
	if s, ok := q.byFlow[f]; ok {
		return q.at(s), s
	}
	return nil, none
}

// add makes a request for the flow, not armed yet.
func (q *synQueue) add(f Flow) (*request, slot) {
	if q.free == none {
		q.chunks = append(q.chunks, new([chunkSize]request))
		for s := slot(len(q.chunks)*chunkSize) - 1; s >= slot((len(q.chunks)-1)*chunkSize); s-- {
			q.at(s).next = q.free
			q.free = s
		}
	}
	s := q.free
	r := q.at(s)
	q.free = r.next
	*r = request{flow: f, prev: none, next: none}
	q.byFlow[f] = s
	q.young++
	return r, s
}

// remove forgets an armed request. When the last one goes, so does the memory
// that a flood needed.
func (q *synQueue) remove(s slot) {
	r := q.at(s)
	q.disarm(s)
	if r.timeouts == 0 {
		q.young--
	}
	delete(q.byFlow, r.flow)
	if len(q.byFlow) == 0 && len(q.chunks) > 8 {
		q.reset()
		return
	}
	r.next = q.free
	q.free = s
}

// arm puts a request behind those that wait for the same timeout.
func (q *synQueue) arm(s slot, deadline time.Duration) {
	r := q.at(s)
	w := &q.waits[rtoLevel(r.timeouts)]
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

// disarm takes a request out of its list.
func (q *synQueue) disarm(s slot) {
	r := q.at(s)
	w := &q.waits[rtoLevel(r.timeouts)]
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
