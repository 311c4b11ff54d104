package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Pair is a listener and its model, driven together. Its methods are those of
// listenq.Listener; they return an error as soon as the two differ, or something
// is broken that must always hold.
type Pair struct {
	Listener *listenq.Listener
	Model    *Queue
	Audit    *Audit
}

// NewPair returns a listener made with cfg and its model.
func NewPair(cfg listenq.Config) *Pair {
	l := listenq.MustNew(cfg)
	return &Pair{Listener: l, Model: New(cfg), Audit: NewAudit(l)}
}

// Segment hands a segment to both. Timers that are due come first.
func (p *Pair) Segment(now time.Duration, seg *listenq.Segment) (listenq.Outcome, error) {
	if err := p.Advance(now); err != nil {
		return listenq.Outcome{}, err
	}
	out := p.Listener.Segment(now, seg)
	if want := p.Model.Segment(now, seg, out); out != want {
		return out, fmt.Errorf("at %v, %v seq=%d ack=%d len=%d %+v:\n got %+v\nwant %+v",
			now, seg.Flags, seg.Seq, seg.Ack, seg.Len, seg.Options, out, want)
	}
	if err := p.Audit.Segment(seg, out); err != nil {
		return out, err
	}
	return out, p.compare()
}

// Advance lets the timers of both fire.
func (p *Pair) Advance(now time.Duration) error {
	var got []listenq.Outcome
	p.Listener.Advance(now, func(o listenq.Outcome) { got = append(got, o) })
	want := p.Model.Advance(now)
	if !slices.Equal(got, want) {
		return fmt.Errorf("advance to %v:\n got %v\nwant %v", now, got, want)
	}
	for _, o := range got {
		p.Audit.Timer(o)
	}
	if at, ok := p.Listener.NextTimeout(); ok && at <= now {
		return fmt.Errorf("advance to %v leaves a timer at %v", now, at)
	}
	return p.compare()
}

// Accept takes a connection from both.
func (p *Pair) Accept() error {
	front, frontOK := p.Listener.Front()
	got, ok := p.Listener.Accept()
	want, wantOK := p.Model.Accept()
	if got != want || ok != wantOK || front != got || frontOK != ok {
		return fmt.Errorf("accept: got %v %t, front %v %t, want %v %t", got, ok, front, frontOK, want, wantOK)
	}
	return p.compare()
}

// Close closes both.
func (p *Pair) Close(now time.Duration) error {
	var told []listenq.Outcome
	got := p.Listener.Close(now, func(o listenq.Outcome) { told = append(told, o) })
	if want := p.Model.Close(); !slices.Equal(got, want) || len(told) > 0 {
		return fmt.Errorf("close: got %v and %v, want %v and nothing", got, told, want)
	}
	return p.compare()
}

// Listen calls listen again on both.
func (p *Pair) Listen(backlog int) error {
	if err := p.Listener.Listen(backlog); err != nil {
		return err
	}
	p.Model.Listen(backlog)
	return p.compare()
}

// SetOverflow changes the policy of both.
func (p *Pair) SetOverflow(o listenq.Overflow) error {
	p.Listener.SetOverflow(o)
	p.Model.SetOverflow(o)
	return p.compare()
}

// SetSysctls changes the settings of both.
func (p *Pair) SetSysctls(s listenq.Sysctls) error {
	p.Listener.SetSysctls(s)
	p.Model.SetSysctls(s)
	return p.compare()
}

// compare looks at what can be seen from outside.
func (p *Pair) compare() error {
	l, m := p.Listener, p.Model
	if l.Limit() != m.limit || l.SYNQueueLen() != len(m.half) || l.AcceptQueueLen() != len(m.queued) {
		return fmt.Errorf("limit %d, SYN queue %d, accept queue %d, want %d, %d, %d",
			l.Limit(), l.SYNQueueLen(), l.AcceptQueueLen(), m.limit, len(m.half), len(m.queued))
	}
	if got := l.Counters(); got != m.Counters {
		return fmt.Errorf("counters:\n got %+v\nwant %+v", got, m.Counters)
	}
	at, ok := l.NextTimeout()
	if want, wantOK := m.NextTimeout(); at != want || ok != wantOK {
		return fmt.Errorf("next timeout %v %t, want %v %t", at, ok, want, wantOK)
	}
	for f := range l.Requests() {
		if !slices.ContainsFunc(m.half, func(h *halfOpen) bool { return h.flow == f }) {
			return fmt.Errorf("request for %v, want none", f)
		}
	}
	return p.Audit.Check()
}
