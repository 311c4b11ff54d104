package sim

import "time"

// An event is something that happens at a time. Events of one time happen in the
// order in which they were made.
type event struct {
	at      time.Duration
	number  uint64
	client  int32
	segment slot // of segmentArrives*
	kind    eventKind
}

type eventKind uint8

const (
	clientStarts eventKind = iota
	clientTimer
	clientImpatient
	serverTimer     // a reply is repeated
	listenerTimer   // listenq's one timer
	applicationTurn // accept
	arrivesAtServer // a segment
	arrivesAtClient // a segment
)

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && e.number < f.number
}

// An eventQueue is a heap with four children to a node: half as deep as a binary
// one, and the children share a cache line or two.
type eventQueue struct {
	heap   []event
	number uint64
}

func (q *eventQueue) push(e event) {
	e.number = q.number
	q.number++
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(&q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = e
}

// pop takes the earliest event out of a queue that is not empty.
func (q *eventQueue) pop() event {
	first := q.heap[0]
	n := len(q.heap) - 1
	last := q.heap[n]
	q.heap = q.heap[:n]
	if n == 0 {
		return first
	}
	i := 0
	for {
		child := 4*i + 1
		if child >= n {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, n); c++ {
			if q.heap[c].before(&q.heap[least]) {
				least = c
			}
		}
		if !q.heap[least].before(&last) {
			break
		}
		q.heap[i] = q.heap[least]
		i = least
	}
	q.heap[i] = last
	return first
}
