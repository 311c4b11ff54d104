package sim

import (
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

// What client and server say, in bytes, and the window that both offer.
const (
	requestLength = 100
	replyLength   = 1000
	window        = 65535
)

// requestTimeout is the retransmission timeout of a request or a reply after the
// n-th time it was sent, n from 0: the round trip time and 200 ms
// (TCP_RTO_MIN), doubled each time but the first, because Linux spends the first
// timeout on a loss probe (tcp_send_loss_probe), up to TCP_RTO_MAX.
func (r *run) requestTimeout(n int) time.Duration {
	const most = 120 * time.Second
	rto := r.scenario.RTT + r.scenario.Jitter + 200*time.Millisecond
	for ; n > 1 && rto < most; n-- {
		rto *= 2
	}
	return min(rto, most)
}

// maxRepeats is how often a request or a reply is repeated (tcp_retries2).
const maxRepeats = 15

// A localEnd is the client's end of its connection.
type localEnd struct {
	iss, irs uint32
	timer    time.Duration // when a clientTimer event counts, or Never
	repeats  int           // of the request
	acked    bool          // the server has the request
}

// start is connect(2).
func (r *run) start(who int32) {
	p, c := &r.peers[who], &r.results[who]
	p.local = localEnd{iss: uint32(draw(r.scenario.Seed, sequenceStream, uint64(who), 0)), timer: Never}
	r.sendSYN(who)
	if p.silent {
		c.Fate, c.End = Silent, r.now
		return
	}
	c.Fate = Connecting
	p.attempt = client.NewAttempt(r.scenario.Client, r.now)
	r.armAttempt(who)
	if r.scenario.Patience > 0 {
		r.events.push(event{at: r.now + r.scenario.Patience, kind: clientImpatient, client: who})
	}
}

func (r *run) sendSYN(who int32) {
	r.syns = append(r.syns, sentSYN{who, r.now})
	r.toServer(who, &listenq.Segment{
		Flags:   listenq.SYN,
		Seq:     r.peers[who].local.iss,
		Window:  window,
		Options: listenq.Options{MSS: 1460, SACKPermitted: true, WindowScaling: true, WindowScale: 7},
	})
}

func (r *run) armAttempt(who int32) {
	p := &r.peers[who]
	at, ok := p.attempt.NextTimeout()
	if ok && at != p.local.timer {
		r.armClient(who, at)
	}
}

func (r *run) armClient(who int32, at time.Duration) {
	r.peers[who].local.timer = at
	r.events.push(event{at: at, kind: clientTimer, client: who})
}

// clientTimeout is the client's timer: of its SYN, and once it is connected of
// its request.
func (r *run) clientTimeout(who int32) {
	p, c := &r.peers[who], &r.results[who]
	if r.now != p.local.timer {
		return // it was armed anew
	}
	p.local.timer = Never
	switch c.Fate {
	case Connecting:
		switch p.attempt.Advance(r.now) {
		case client.SendSYN:
			r.sendSYN(who)
		case client.TimedOut:
			r.end(who, TimedOut, r.scenario.Client.TimedOut)
			return
		}
		r.armAttempt(who)
	case Waiting:
		if !p.local.acked && p.local.repeats < maxRepeats {
			p.local.repeats++
			r.sendRequest(who)
		}
	}
}

// impatient is the end of a client's patience.
func (r *run) impatient(who int32) {
	p, c := &r.peers[who], &r.results[who]
	switch c.Fate {
	case Connecting:
		p.attempt.Connected() // it has no more timeouts
	case Waiting:
		r.toServer(who, &listenq.Segment{Flags: listenq.RST | listenq.ACK, Seq: r.sent(who), Ack: p.local.irs + 1})
	default:
		return
	}
	r.end(who, GaveUp, "")
}

// connectionReset is the platform's name for ECONNRESET: Winsock puts WSA before
// every error of BSD.
func connectionReset(p *client.Profile) string {
	if strings.HasPrefix(p.Refused, "WSA") {
		return "WSAECONNRESET"
	}
	return "ECONNRESET"
}

// sent is the sequence number behind what a connected client has sent.
func (r *run) sent(who int32) uint32 { return r.peers[who].local.iss + 1 + requestLength }

// end decides a client's fate. The error of the program is that of connect(2) or
// of the first read.
func (r *run) end(who int32, fate Fate, err string) {
	c := &r.results[who]
	c.Fate, c.Error, c.End = fate, err, r.now
}

// atClient is a segment that arrives at a client.
func (r *run) atClient(who int32, seg *listenq.Segment) {
	switch r.results[who].Fate {
	case Silent:
	case Connecting:
		r.whileConnecting(who, seg)
	case Waiting, Served:
		r.whileConnected(who, seg)
	default:
		// There is no socket any more.
		if seg.Flags.Has(listenq.ACK) && !seg.Flags.Has(listenq.RST) {
			r.toServer(who, &listenq.Segment{Flags: listenq.RST, Seq: seg.Ack})
		}
	}
}

// whileConnecting is state SYN-SENT (RFC 9293, section 3.10.7.3).
func (r *run) whileConnecting(who int32, seg *listenq.Segment) {
	p, c := &r.peers[who], &r.results[who]
	if !seg.Flags.Has(listenq.ACK) {
		return
	}
	if seg.Ack != p.local.iss+1 {
		if !seg.Flags.Has(listenq.RST) {
			r.toServer(who, &listenq.Segment{Flags: listenq.RST, Seq: seg.Ack})
		}
		return
	}
	switch {
	case seg.Flags.Has(listenq.RST):
		if p.attempt.Reset(r.now) == client.Refused {
			r.end(who, Refused, r.scenario.Client.Refused)
			return
		}
		r.armAttempt(who)
	case seg.Flags.Has(listenq.SYN):
		p.attempt.Connected()
		p.local.irs = seg.Seq
		c.Fate, c.Connected = Waiting, r.now
		r.acknowledge(who, p.local.iss+1)
		r.sendRequest(who)
	}
}

// whileConnected is a segment for a connected client: the reply, the
// acknowledgment of the request, a SYN-ACK that was sent again, or a RST.
func (r *run) whileConnected(who int32, seg *listenq.Segment) {
	p, c := &r.peers[who], &r.results[who]
	switch {
	case seg.Flags.Has(listenq.RST):
		if c.Fate == Waiting {
			r.end(who, Reset, connectionReset(r.scenario.Client))
		}
		return
	case seg.Flags.Has(listenq.SYN):
		r.acknowledge(who, r.sent(who))
		return
	case seg.Flags.Has(listenq.ACK) && seg.Ack == r.sent(who):
		p.local.acked = true
	}
	if seg.Len > 0 {
		if c.Fate == Waiting {
			r.end(who, Served, "")
		}
		r.toServer(who, &listenq.Segment{
			Flags: listenq.FIN | listenq.ACK, Seq: r.sent(who), Ack: seg.Seq + uint32(seg.Len), Window: window,
		})
	}
}

// acknowledge sends a bare ACK.
func (r *run) acknowledge(who int32, seq uint32) {
	r.toServer(who, &listenq.Segment{Flags: listenq.ACK, Seq: seq, Ack: r.peers[who].local.irs + 1, Window: window})
}

func (r *run) sendRequest(who int32) {
	l := &r.peers[who].local
	r.toServer(who, &listenq.Segment{
		Flags: listenq.ACK | listenq.PSH, Seq: l.iss + 1, Ack: l.irs + 1, Window: window, Len: requestLength,
	})
	r.armClient(who, r.now+r.requestTimeout(l.repeats))
}
