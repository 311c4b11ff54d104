package model

import (
	"fmt"

	"github.com/ulisten/ulisten/listenq"
)

// An Audit holds a listener to what must be true whatever happens to it. It
// counts outcomes, so every outcome of the listener must be shown to it.
type Audit struct {
	l        *listenq.Listener
	want     listenq.Counters // the counters that follow from verdicts alone
	lastConn listenq.ConnID
	most     int // requests that the largest limit so far allows

	// Reasons counts the outcomes by rule.
	Reasons map[listenq.Reason]int
}

// NewAudit returns an audit of a new listener.
func NewAudit(l *listenq.Listener) *Audit { return &Audit{l: l, Reasons: map[listenq.Reason]int{}} }

// Segment judges the outcome of a segment.
func (a *Audit) Segment(seg *listenq.Segment, o listenq.Outcome) error {
	l := a.l
	a.Reasons[o.Reason]++
	if o.Flow != seg.Flow || o.SYNQueue != l.SYNQueueLen() || o.AcceptQueue != l.AcceptQueueLen() {
		return fmt.Errorf("outcome %+v with %d requests and %d connections", o, l.SYNQueueLen(), l.AcceptQueueLen())
	}
	c := &a.want
	switch o.Verdict {
	case listenq.SendSYNACK:
		if !l.Holds(o.Flow) {
			return fmt.Errorf("SYN-ACK without a request: %+v", o)
		}
		switch {
		case o.Reason == listenq.DuplicateSYN:
			c.RetransSegs++
		case seg.TimeWait:
			a.most++
		case o.SYNQueue > l.Limit()+1:
			return fmt.Errorf("a SYN was let into a full SYN queue: %+v", o)
		}
	case listenq.SendCookie:
		c.SyncookiesSent++
	case listenq.SendRST:
		c.OutRsts++
		if seg.Flags.Has(listenq.RST) {
			return fmt.Errorf("RST answered by RST: %+v", o)
		}
	case listenq.Promote:
		c.PassiveOpens++
		if o.AcceptQueue > l.Limit()+1 {
			return fmt.Errorf("a connection was let into a full accept queue: %+v", o)
		}
		if o.Conn <= a.lastConn {
			return fmt.Errorf("connection number %d after %d", o.Conn, a.lastConn)
		}
		a.lastConn = o.Conn
	}
	switch o.Reason {
	case listenq.AcceptQueueFull:
		c.ListenOverflows++
		c.ListenDrops++
	case listenq.SYNQueueFull:
		c.ListenDrops++
		c.TCPReqQFullDrop++
	case listenq.LastQuarter:
		c.ListenDrops++
	case listenq.SYNInWindow, listenq.RSTExact:
		c.AttemptFails++
	case listenq.RSTInWindow:
		c.TCPChallengeACK++
	case listenq.DeferAccept:
		c.TCPDeferAcceptDrop++
	}
	if o.Removed {
		if l.Holds(o.Flow) {
			return fmt.Errorf("removed, and still there: %+v", o)
		}
		if o.Reason != listenq.ListenerClosed {
			c.EmbryonicRsts++
		}
	}
	return nil
}

// Timer counts the outcome of a timer.
func (a *Audit) Timer(o listenq.Outcome) {
	a.Reasons[o.Reason]++
	if o.Reason != listenq.ListenerClosed {
		a.want.TCPTimeouts++
	}
	if o.Verdict == listenq.SendSYNACK {
		a.want.RetransSegs++
	}
}

// Check judges what the listener shows from outside.
func (a *Audit) Check() error {
	l := a.l
	a.most = max(a.most, l.Limit()+1)
	if l.SYNQueueLen() > a.most {
		return fmt.Errorf("%d requests, %d allowed", l.SYNQueueLen(), a.most)
	}
	seen := map[listenq.Flow]bool{}
	for f := range l.Requests() {
		if seen[f] || !l.Holds(f) {
			return fmt.Errorf("request for %v: listed twice %t, held %t", f, seen[f], l.Holds(f))
		}
		seen[f] = true
	}
	if len(seen) != l.SYNQueueLen() {
		return fmt.Errorf("%d requests listed, SYN queue %d", len(seen), l.SYNQueueLen())
	}
	if _, ok := l.NextTimeout(); ok != (len(seen) > 0) {
		return fmt.Errorf("%d requests, timer armed %t", len(seen), ok)
	}

	got := l.Counters()
	want := a.want
	want.TCPSynRetrans = want.RetransSegs
	// What no verdict tells apart.
	want.TCPReqQFullDoCookies = got.TCPReqQFullDoCookies
	want.SyncookiesRecv = got.SyncookiesRecv
	want.SyncookiesFailed = got.SyncookiesFailed
	want.TCPACKSkippedSynRecv = got.TCPACKSkippedSynRecv
	want.PAWSEstab = got.PAWSEstab
	want.TSEcrRejected = got.TSEcrRejected
	if got != want {
		return fmt.Errorf("counters:\n got %+v\nfrom outcomes %+v", got, want)
	}
	return nil
}
