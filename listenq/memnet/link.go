package memnet

import (
	"sync"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

// Retransmission of the first data of a client whose handshake the listener has
// not finished, as Linux does it: RFC 6298 with at least 200 ms of variance
// (TCP_RTO_MIN), doubled up to 120 s (TCP_RTO_MAX), 15 times (tcp_retries2) and
// once before that, as the probe of RFC 8985, section 7 (tcp_schedule_loss_probe).
// Linux 6.18.44 with a round trip of no time, 2026-11-22: data again after 0.21,
// 0.42, 0.85, 1.68, 3.34 and 6.77 s.
const (
	leastVariance  = 200 * time.Millisecond
	longestTimeout = 120 * time.Second
	mostRepeats    = 1 + 15
	segmentSize    = 1460
)

// A link is a connection with both its ends, from the first SYN on.
type link struct {
	n    *Network
	flow listenq.Flow

	// What follows is the handshake as the client sees it, guarded by the
	// network's mutex.
	attempt  *client.Attempt // until a SYN-ACK ends it
	opened   chan struct{}   // closed at the end of the attempt, if somebody waits
	failure  error           // of the attempt
	timer    event           // the SYN, or the first data, again
	timeout  time.Duration   // of the data, after the probe
	repeats  int             // of the data
	iss, irs uint32
	options  listenq.Options // of what the client sends after its SYN
	clock    uint32          // added to its timestamps

	queue    *Listener // in whose accept queue it is
	id       listenq.ConnID
	inFlight int  // segments under way
	left     bool // the client has closed its end
	over     bool // nobody has or will get the server's end
	aborted  bool // the client's socket is gone; it answers with RST
	farewell bool // it sent a RST when it went

	promoted bool // the listener has made it a connection

	mu             sync.Mutex // guards what follows, after the network's
	client, server Conn
	// Until the listener's host has all that the client has sent, segments of it
	// carry everything: sent is how much that is, delivered how much has come.
	open            bool
	sent, delivered int
}

// connect sends the first SYN.
func (n *Network) connect(now time.Duration, flow listenq.Flow, p *client.Profile) *link {
	k := &link{n: n, flow: flow, over: true, iss: n.random.Uint32(), clock: n.random.Uint32()}
	k.timer = event{rank: everythingElse, fire: k.fire}
	k.client = Conn{k: k, peer: &k.server, isClient: true}
	k.server = Conn{k: k, peer: &k.client}
	k.client.init()
	k.server.init()
	k.attempt = client.NewAttempt(p, now)
	n.links[flow] = k
	k.armAttempt()
	k.sendSYN(now)
	return k
}

func (k *link) sendSYN(now time.Duration) {
	k.toListener(now, listenq.Segment{Flags: listenq.SYN, Seq: k.iss, Window: 65535, Options: listenq.Options{
		MSS:           segmentSize,
		WindowScaling: true,
		WindowScale:   7,
		SACKPermitted: true,
		Timestamps:    true,
		TSVal:         k.timestamp(now),
	}})
}

func (k *link) timestamp(now time.Duration) uint32 {
	return k.clock + uint32(now/time.Millisecond)
}

// opening says that connect(2) has not returned yet.
func (k *link) opening() bool { return k.attempt != nil }

func (k *link) armAttempt() {
	if at, ok := k.attempt.NextTimeout(); ok {
		k.n.agenda.set(&k.timer, at)
	}
}

// fire is the one timer of the client.
func (k *link) fire(now time.Duration) {
	if !k.opening() {
		k.retransmit(now)
		return
	}
	action := k.attempt.Advance(now)
	k.armAttempt()
	switch action {
	case client.SendSYN:
		k.sendSYN(now)
	case client.TimedOut:
		k.fail(timedOut)
	}
}

// fail ends the attempt without a connection.
func (k *link) fail(err error) {
	k.failure = err
	k.left, k.aborted = true, true
	k.settle()
	k.tidy()
}

// settle ends the attempt and lets Dial go on.
func (k *link) settle() {
	k.attempt.Connected()
	k.attempt = nil
	k.n.agenda.cancel(&k.timer)
	if k.opened != nil {
		close(k.opened)
	}
}

// tidy forgets the link once nothing can happen to it any more, so that its
// ports can be used again.
func (k *link) tidy() {
	if k.left && k.over && k.inFlight == 0 && !k.timer.scheduled() && k.n.links[k.flow] == k {
		delete(k.n.links, k.flow)
	}
}

// later does something when what is sent now arrives.
func (k *link) later(now time.Duration, do func(now time.Duration)) {
	k.inFlight++
	k.n.after(now, func(now time.Duration) {
		k.inFlight--
		do(now)
		k.tidy()
	})
}

// toListener sends a segment to whoever listens.
func (k *link) toListener(now time.Duration, seg listenq.Segment) {
	seg.Flow = k.flow
	k.mu.Lock()
	upTo := k.sent
	k.mu.Unlock()
	if k.n.cfg.Latency == 0 {
		k.atListener(now, &seg, upTo)
		return
	}
	k.later(now, func(now time.Duration) { k.atListener(now, &seg, upTo) })
}

// atListener delivers a segment, to the listener as long as it has not promoted
// the connection. upTo is how much the client had sent until then.
func (k *link) atListener(now time.Duration, seg *listenq.Segment, upTo int) {
	if !k.promoted {
		k.n.atListener(now, seg)
	}
	if !k.promoted {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	fin := seg.Flags.Has(listenq.FIN)
	if n := upTo - k.delivered; n > 0 && (seg.Len > 0 || fin) {
		k.delivered += n
		k.server.arrive(n)
	}
	if fin {
		k.server.finished()
	}
	if k.delivered == k.sent && (k.server.eof || !k.client.noWrite) {
		k.open = true
		k.n.agenda.cancel(&k.timer)
	}
}

// fromListener takes in what the listener's host has sent.
func (k *link) fromListener(now time.Duration, seg *answer) {
	switch {
	case k.aborted:
		k.answerReset(now, seg)
	case k.opening():
		k.inSYNSent(now, seg)
	case seg.flags.Has(listenq.RST):
		k.n.agenda.cancel(&k.timer)
		k.aborted = true
		k.mu.Lock()
		k.client.reset(reset)
		k.mu.Unlock()
		k.tidy()
	case seg.flags.Has(listenq.SYN):
		k.acknowledge(now, seg)
	}
}

// inSYNSent is RFC 9293, section 3.10.7.3.
func (k *link) inSYNSent(now time.Duration, seg *answer) {
	acks := seg.flags.Has(listenq.ACK)
	switch right := acks && seg.ack == k.iss+1; {
	case seg.flags.Has(listenq.RST):
		if !right {
			return
		}
		if k.attempt.Reset(now) == client.Refused {
			k.fail(refused)
		} else {
			k.armAttempt()
		}
	case acks && !right:
		k.answerReset(now, seg)
	case right && seg.flags.Has(listenq.SYN):
		k.irs = seg.seq
		k.settle()
		k.acknowledge(now, seg)
	}
}

// acknowledge answers a SYN-ACK, the first with the final ACK.
func (k *link) acknowledge(now time.Duration, seg *answer) {
	k.options = listenq.Options{Timestamps: seg.timestamps, TSEcr: seg.tsval}
	k.send(now, listenq.ACK, k.iss+1, 0)
}

func (k *link) send(now time.Duration, flags listenq.Flags, seq uint32, length int) {
	options := k.options
	if options.Timestamps {
		options.TSVal = k.timestamp(now)
	}
	k.toListener(now, listenq.Segment{Flags: flags, Seq: seq, Ack: k.irs + 1, Len: length, Window: 65535, Options: options})
}

// answerReset is what a host sends for a segment that no socket is there for.
func (k *link) answerReset(now time.Duration, seg *answer) {
	if !seg.flags.Has(listenq.RST) {
		k.toListener(now, listenq.Segment{Flags: listenq.RST, Seq: seg.ack})
	}
}

// transmit sends data that the listener's host has not acknowledged, or the FIN.
func (k *link) transmit(now time.Duration) {
	k.mu.Lock()
	rest, fin, done := k.sent-k.delivered, k.client.noWrite, k.open
	k.mu.Unlock()
	if done || rest == 0 && !fin {
		return
	}
	flags := listenq.ACK
	if rest > 0 {
		flags |= listenq.PSH
	}
	if fin {
		flags |= listenq.FIN
	}
	if !k.timer.scheduled() {
		roundTrip := 2 * k.n.cfg.Latency
		k.timeout = roundTrip + max(2*roundTrip, leastVariance)
		probe := 2*roundTrip + leastVariance
		k.n.agenda.set(&k.timer, now+min(probe, k.timeout))
	}
	k.send(now, flags, k.iss+1, min(rest, segmentSize))
}

func (k *link) retransmit(now time.Duration) {
	if k.repeats == mostRepeats {
		k.mu.Lock()
		k.client.reset(timedOut)
		k.mu.Unlock()
		k.aborted = true
		k.tidy()
		return
	}
	k.repeats++
	k.n.agenda.set(&k.timer, now+k.timeout)
	k.timeout = min(2*k.timeout, longestTimeout)
	k.transmit(now)
}

// promote makes the link a connection that waits for accept. The client can be
// gone by then, if a late segment of it carried a good cookie; its host has
// answered the listener's by RST.
func (k *link) promote(l *Listener, id listenq.ConnID) {
	k.promoted = true
	k.queue, k.id, k.over = l, id, false
	l.waiting[id] = k
	l.acceptable.Signal()
	if k.aborted && !k.farewell {
		k.mu.Lock()
		k.server.reset(reset)
		k.mu.Unlock()
		l.q.Aborted(id)
	}
}

// finish sends an end's FIN.
func (k *link) finish(now time.Duration, from *Conn) {
	k.mu.Lock()
	direct := k.open || !from.isClient
	k.mu.Unlock()
	if !direct {
		k.transmit(now)
		return
	}
	k.later(now, func(time.Duration) {
		k.mu.Lock()
		from.peer.finished()
		k.mu.Unlock()
	})
}

// abort sends an end's RST.
func (k *link) abort(now time.Duration, from *Conn) {
	if from.isClient {
		k.aborted, k.farewell = true, true
		k.n.agenda.cancel(&k.timer)
	}
	k.later(now, func(now time.Duration) {
		if from.isClient && !k.promoted {
			k.n.atListener(now, &listenq.Segment{Flow: k.flow, Flags: listenq.RST, Seq: k.iss + 1})
			return
		}
		k.mu.Lock()
		from.peer.reset(reset)
		k.mu.Unlock()
		if from.isClient && k.queue != nil {
			k.queue.q.Aborted(k.id)
		}
	})
}

// arrive delivers data; the RST of a socket that is gone takes its time.
func (k *link) arrive(now time.Duration, to *Conn, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !to.closed && !to.dead {
		to.arrive(n)
		return
	}
	k.later(now, func(time.Duration) {
		k.mu.Lock()
		to.peer.reset(reset)
		k.mu.Unlock()
	})
}

// leave says that the program is done with an end.
func (k *link) leave(end *Conn) {
	if end.isClient {
		k.left = true
	} else {
		k.over = true
	}
	k.tidy()
}
