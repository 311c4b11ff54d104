package memnet

import (
	"container/heap"
	"time"
)

// rank orders events of the same moment: what a listener's timer does comes
// before the segments that arrive then, as listenq asks.
type rank uint8

const (
	listenerTimer rank = iota
	everythingElse
)

// An event is something that happens at a time: a timer, or a segment that
// arrives.
type event struct {
	at    time.Duration
	seq   uint64 // of scheduling, breaks ties
	rank  rank
	place int // in the heap, plus one; 0 if it is not there
	fire  func(now time.Duration)
}

func (e *event) scheduled() bool { return e.place > 0 }

// agenda holds what is to come, a heap ordered by time, rank and sequence.
type agenda struct {
	events []*event
	seq    uint64
}

func (a *agenda) Len() int { return len(a.events) }

func (a *agenda) Less(i, j int) bool {
	x, y := a.events[i], a.events[j]
	switch {
	case x.at != y.at:
		return x.at < y.at
	case x.rank != y.rank:
		return x.rank < y.rank
	}
	return x.seq < y.seq
}

func (a *agenda) Swap(i, j int) {
	a.events[i], a.events[j] = a.events[j], a.events[i]
	a.events[i].place, a.events[j].place = i+1, j+1
}

func (a *agenda) Push(x any) {
	e := x.(*event)
	a.events = append(a.events, e)
	e.place = len(a.events)
}

func (a *agenda) Pop() any {
	last := len(a.events) - 1
	e := a.events[last]
	a.events[last] = nil
	a.events = a.events[:last]
	e.place = 0
	return e
}

// set schedules an event, or moves it.
func (a *agenda) set(e *event, at time.Duration) {
	if e.scheduled() && e.at == at {
		return
	}
	a.seq++
	e.at, e.seq = at, a.seq
	if e.scheduled() {
		heap.Fix(a, e.place-1)
	} else {
		heap.Push(a, e)
	}
}

func (a *agenda) cancel(e *event) {
	if e.scheduled() {
		heap.Remove(a, e.place-1)
	}
}

// next returns the earliest event and leaves it there.
func (a *agenda) next() (*event, bool) {
	if len(a.events) == 0 {
		return nil, false
	}
	return a.events[0], true
}
