package listenq

// A Conn is a connection that waits in the accept queue: the number that its
// Promote outcome gave it, and its flow.
type Conn struct {
	ID   ConnID
	Flow Flow
	// Aborted says that accept(2) reports ECONNABORTED in place of this
	// connection: its peer has reset it, and the platform's accept says so.
	Aborted bool

	released bool // it has given up its place
}

// An acceptQueue is a ring of connections, first in, first out.
type acceptQueue struct {
	ring  []Conn
	first int
	count int
	// released is how many do not count any more.
	released int
}

func (q *acceptQueue) len() int { return q.count }

func (q *acceptQueue) push(c Conn) {
	if q.count == len(q.ring) {
		grown := make([]Conn, max(8, 2*len(q.ring)))
		n := copy(grown, q.ring[q.first:])
		copy(grown[n:], q.ring[:q.first])
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.count)%len(q.ring)] = c
	q.count++
}

func (q *acceptQueue) front() (Conn, bool) {
	if q.count == 0 {
		return Conn{}, false
	}
	return q.ring[q.first], true
}

// find returns the connection with a number, or nil. Numbers in the queue follow
// each other without a gap.
func (q *acceptQueue) find(id ConnID) *Conn {
	if q.count == 0 || id < q.ring[q.first].ID || id >= q.ring[q.first].ID+ConnID(q.count) {
		return nil
	}
	return &q.ring[(q.first+int(id-q.ring[q.first].ID))%len(q.ring)]
}

func (q *acceptQueue) pop() (Conn, bool) {
	c, ok := q.front()
	if ok {
		if c.released {
			q.released--
		}
		q.first = (q.first + 1) % len(q.ring)
		q.count--
	}
	return c, ok
}
