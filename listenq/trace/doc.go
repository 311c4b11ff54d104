// Package trace renders what a listen queue decided, as one line per decision
// and as a packet ladder.
//
//	p := trace.Printer{Capacity: l.AcceptCapacity()}
//	out := l.Segment(now, &seg)
//	events = append(events, trace.Event{At: now, Segment: &seg, Outcome: out})
//	fmt.Println(p.Line(events[0]))
//	fmt.Print(p.Ladder(events))
//
// A ladder shows one client or several, time running down:
//
//	         client                 listener  synq  acceptq
//	0.000 s    |---- SYN -------------->|       1      0/3   new request
//	           |<--- SYN-ACK -----------|       1      0/3
//	0.200 s    |---- ACK -------------->|       0      1/3   promoted: final ACK
//
// An arrow that ends in x is a segment that was ignored. The depths are those
// after the decision. Nothing here keeps state, so everything is safe for
// concurrent use.
package trace
