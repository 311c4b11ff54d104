package sim

import "github.com/ulisten/ulisten/listenq"

// A remoteEnd is the server's end of a connection.
type remoteEnd struct {
	state     connState
	requested bool // the request has arrived
	answered  bool // the client has the reply
	aborted   bool // the client has reset it
	repeats   int  // of the reply
	conn      listenq.ConnID
	iss, irs  uint32
}

type connState uint8

const (
	none     connState = iota // listenq's business
	queued                    // in the accept queue
	accepted                  // the application's
)

// atServer is a segment that arrives at the server: one for a connection, or one
// for the listener.
func (r *run) atServer(who int32, seg *listenq.Segment) {
	conn := &r.peers[who].remote
	if conn.state != none && !conn.aborted {
		r.forConnection(who, seg)
		return
	}
	r.advance() // timers of this moment come first
	out := r.listener.Segment(r.now, seg)
	r.rearm()
	r.obey(who, seg.Flags, &out)
	if out.Verdict != listenq.Promote {
		return
	}
	*conn = remoteEnd{
		state: queued, conn: out.Conn,
		iss: out.Handshake.ISS, irs: out.Handshake.IRS,
	}
	r.results[who].Queued = r.now
	if seg.Len > 0 {
		r.forConnection(who, seg)
	}
	if r.idle {
		r.idle = false
		r.events.push(event{at: r.now, kind: applicationTurn})
	}
}

// obey carries out a decision of the listener about a segment, or about a timer,
// which has no flags.
func (r *run) obey(who int32, flags listenq.Flags, out *listenq.Outcome) {
	r.decisions.add(flags, out)
	r.gauge.record(r.now, out.SYNQueue, out.AcceptQueue)
	reply := listenq.Segment{Seq: out.Seq, Window: window}
	switch out.Verdict {
	case listenq.SendSYNACK, listenq.SendCookie:
		reply.Flags, reply.Ack = listenq.SYN|listenq.ACK, out.Ack
		reply.Options = out.Handshake.Peer
	case listenq.SendACK:
		reply.Flags, reply.Ack = listenq.ACK, out.Ack
	case listenq.SendRST:
		reply.Flags = listenq.RST
		if out.RSTACK {
			reply.Flags, reply.Ack = listenq.RST|listenq.ACK, out.Ack
		}
	default:
		return
	}
	r.toClient(who, &reply)
}

// advance fires the listener's timers that are due.
func (r *run) advance() {
	if at, ok := r.listener.NextTimeout(); ok && at <= r.now {
		r.listener.Advance(r.now, r.carryOut)
	}
}

// rearm sees to it that the listener's next timer fires. An event that comes too
// early does no harm.
func (r *run) rearm() {
	at, ok := r.listener.NextTimeout()
	if ok && (r.armed == Never || at < r.armed) {
		r.armed = at
		r.events.push(event{at: at, kind: listenerTimer})
	}
}

// forConnection is a segment of a connection that exists.
func (r *run) forConnection(who int32, seg *listenq.Segment) {
	conn := &r.peers[who].remote
	switch {
	case seg.Flags.Has(listenq.RST):
		conn.aborted = true
		if conn.state == queued {
			r.listener.Aborted(conn.conn)
			r.recordDepths()
		}
		return
	case seg.Flags.Has(listenq.FIN):
		conn.answered = true
		return
	case seg.Len == 0:
		return
	}
	conn.requested = true
	r.toClient(who, &listenq.Segment{
		Flags: listenq.ACK, Seq: conn.iss + 1, Ack: conn.irs + 1 + requestLength, Window: window,
	})
	if conn.state == accepted && conn.repeats == 0 {
		r.reply(who)
	}
}

// acceptTurn is the application, back in accept(2).
func (r *run) acceptTurn() {
	s := &r.scenario
	batch := max(s.AcceptBatch, 1)
	n := 0
	for ; n < batch || s.AcceptEvery == 0; n++ {
		conn, ok := r.listener.Accept()
		if !ok {
			break
		}
		if !conn.Aborted {
			r.accept(clientOf(&conn.Flow), conn.ID)
		}
	}
	if n > 0 {
		r.recordDepths()
	}
	if n > 0 && s.AcceptEvery > 0 {
		r.events.push(event{at: r.now + s.AcceptEvery, kind: applicationTurn})
		return
	}
	r.idle = true
}

// accept gives a connection to the application, which answers the request as
// soon as it has it.
func (r *run) accept(who int32, id listenq.ConnID) {
	conn := &r.peers[who].remote
	if conn.conn != id {
		return // one that the client reset, before a cookie made another
	}
	conn.state = accepted
	r.results[who].Accepted = r.now
	if conn.requested && !conn.aborted {
		r.reply(who)
	}
}

func (r *run) reply(who int32) {
	conn := &r.peers[who].remote
	r.toClient(who, &listenq.Segment{
		Flags: listenq.ACK | listenq.PSH, Seq: conn.iss + 1, Ack: conn.irs + 1 + requestLength, Window: window, Len: replyLength,
	})
	r.events.push(event{at: r.now + r.requestTimeout(conn.repeats), kind: serverTimer, client: who})
	conn.repeats++
}

// replyTimeout repeats a reply that was lost.
func (r *run) replyTimeout(who int32) {
	conn := &r.peers[who].remote
	if !conn.answered && !conn.aborted && conn.repeats <= maxRepeats {
		r.reply(who)
	}
}

func (r *run) recordDepths() {
	r.gauge.record(r.now, r.listener.SYNQueueLen(), r.listener.AcceptQueueLen())
}
