package profile

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Row is what a platform makes of a backlog, and what its clients get.
type Row struct {
	Profile string `json:"profile"`
	Title   string `json:"title"`
	// Limit is what listen makes of the backlog, or the error.
	Limit Cell `json:"limit"`
	// InTurn and AtOnce are how many connections complete while nobody accepts:
	// one handshake after the other, or every SYN before the first final ACK.
	InTurn Cell `json:"in_turn"`
	AtOnce Cell `json:"at_once"`
	// Requests is how many fit the SYN queue.
	Requests Cell `json:"requests"`
	// SYN is what a SYN gets that finds the accept queue full, NoRequest one that
	// finds the SYN queue full, ACK a final ACK that finds the accept queue full.
	SYN       Cell `json:"syn_accept_queue_full"`
	NoRequest Cell `json:"syn_syn_queue_full"`
	ACK       Cell `json:"ack_accept_queue_full"`
	// Again are the times of further SYN-ACKs, in seconds since the first, End is
	// when and how the request is given up.
	Again Cell `json:"syn_ack_again"`
	End   Cell `json:"end"`
}

// A Cell is one statement of a Row.
type Cell struct {
	Text string `json:"text"`
	// Verified is how the least known of the rules behind it is known.
	Verified listenq.Verified `json:"verified"`
}

// Mark prints a cell for tables: "?" after what is a guess, "~" after what a
// vendor documents and nobody has looked at.
func (c Cell) Mark() string {
	switch {
	case c.Text == "-":
		return c.Text
	case c.Verified == listenq.Guess:
		return c.Text + "?"
	case c.Verified == listenq.Documented:
		return c.Text + "~"
	}
	return c.Text
}

// RowFor returns the row of a profile. maximum is that of the platform's setting,
// below 0 the profile's own.
func RowFor(p *listenq.Profile, backlog, maximum int) Row {
	r := Row{Profile: p.Name, Title: p.Title}
	steps := p.Steps(backlog, maximum)
	var limited []string // the rules that made the limit
	for _, s := range steps {
		if strings.HasPrefix(s.Field, "backlog.") {
			limited = append(limited, s.Field)
		}
	}
	if limited == nil {
		limited = []string{"backlog.maximum"}
	}
	cell := func(text string, fields ...string) Cell { return Cell{text, known(p, fields)} }

	shared := p.AcceptQueue.Counts == listenq.CountHalfOpen
	requests, syn := synWhenRequestsFull(p), synWhenAcceptFull(p)
	r.SYN = cell(syn, "accept-queue.full-syn", "accept-queue.at-syn")
	r.NoRequest = cell(requests, "syn-queue.full", "cookies.use")
	r.Again = cell(again(p), "syn-ack.waits", "syn-ack.retries")
	r.End = cell(end(p), "syn-ack.waits", "syn-ack.retries", "syn-ack.end")

	limit, err := p.Limit(backlog, maximum)
	r.ACK = cell(ackWhenFull(p, limit), "accept-queue.full-ack", "accept-queue.at-ack")
	if err != nil {
		text := err.Error()
		if errors.Is(err, listenq.ErrBacklog) {
			text = "EINVAL"
		}
		r.Limit = cell(text, limited...)
		r.InTurn, r.AtOnce, r.Requests = cell("-"), cell("-"), cell("-")
		return r
	}
	r.Limit = cell(strconv.Itoa(limit), limited...)
	places := slices.Concat(limited, []string{"accept-queue.counts", "accept-queue.at-syn", "accept-queue.at-ack"})
	inTurn := min(p.AcceptQueue.AtSYN.Of(limit), p.AcceptQueue.AtACK.Of(limit))
	r.InTurn = cell(number(inTurn), places...)
	r.AtOnce = cell(number(atOnce(p, limit)), slices.Concat(places, []string{"syn-queue.capacity", "syn-queue.full"})...)
	switch {
	case shared:
		r.Requests = cell("shared", "accept-queue.counts")
	case p.SYNQueue.Scope == listenq.ScopeSystem:
		r.Requests = cell(number(requestsFor(p, limit))+" all", "syn-queue.capacity", "syn-queue.scope")
	default:
		r.Requests = cell(number(requestsFor(p, limit)), slices.Concat(limited, []string{"syn-queue.capacity"})...)
	}
	return r
}

// known is how the least known of some rules is known.
func known(p *listenq.Profile, fields []string) listenq.Verified {
	worst := listenq.Measured
	for _, f := range fields {
		if c, ok := p.Citations[f]; ok {
			worst = max(worst, c.Verified)
		} else {
			worst = listenq.Guess
		}
	}
	return worst
}

func requestsFor(p *listenq.Profile, limit int) int {
	if p.SYNQueue.Maximum > 0 {
		limit = min(limit, p.SYNQueue.Maximum)
	}
	return p.SYNQueue.Capacity.Of(limit)
}

// atOnce is how many of any number of clients complete that all have their SYN-ACK
// before the first of them sends its ACK.
func atOnce(p *listenq.Profile, limit int) int {
	if p.AcceptQueue.Counts == listenq.CountHalfOpen {
		return min(p.AcceptQueue.AtSYN.Of(limit), p.AcceptQueue.AtACK.Of(limit))
	}
	cookies := p.Cookies.Use != listenq.CookiesNever && (p.SYNQueue.Full == listenq.SYNGetsCookie || p.Cookies.InEverySYNACK)
	if cookies {
		return p.AcceptQueue.AtACK.Of(limit)
	}
	return min(p.AcceptQueue.AtACK.Of(limit), requestsFor(p, limit))
}

func number(n int) string {
	if n == math.MaxInt {
		return "no limit"
	}
	return strconv.Itoa(max(n, 0))
}

// synWords are what a SYN gets from a queue that is full.
var synWords = map[listenq.SYNRule]string{
	listenq.SYNDropped:        "ignored",
	listenq.SYNDroppedIfYoung: "at times",
	listenq.SYNReset:          "RST",
	listenq.SYNGetsCookie:     "cookie",
	listenq.SYNEvictsOldest:   "evicts",
	listenq.SYNEvictsTimedOut: "evicts old",
}

// synWhenAcceptFull says in a word what a SYN gets that finds the accept queue
// full.
func synWhenAcceptFull(p *listenq.Profile) string {
	if p.AcceptQueue.AtSYN.Unlimited {
		return "answered"
	}
	return synWords[p.AcceptQueue.FullSYN]
}

// synWhenRequestsFull says in a word what a SYN gets that finds the SYN queue full.
func synWhenRequestsFull(p *listenq.Profile) string {
	switch {
	case p.AcceptQueue.Counts == listenq.CountHalfOpen:
		return synWords[p.AcceptQueue.FullSYN]
	case p.SYNQueue.Full == listenq.SYNGetsCookie && p.Cookies.Use == listenq.CookiesNever:
		return "ignored"
	}
	return synWords[p.SYNQueue.Full]
}

// ackWhenFull says in a word what a final ACK gets that finds the accept queue
// full. Where a request has taken its place already, it fits.
func ackWhenFull(p *listenq.Profile, limit int) string {
	a := &p.AcceptQueue
	switch {
	case a.Counts == listenq.CountHalfOpen && a.AtACK.Of(limit) >= a.AtSYN.Of(limit):
		return "fits"
	case a.FullACK == listenq.ACKReset:
		return "RST"
	case a.FullACK == listenq.ACKForgotten:
		return "forgotten"
	}
	return "ignored"
}

// again lists the times of the SYN-ACKs after the first.
func again(p *listenq.Profile) string {
	if p.SYNACK.Retries == 0 {
		return "never"
	}
	const most = 7
	var times []string
	for i := range min(p.SYNACK.Retries, most) {
		times = append(times, seconds(elapsed(p, i+1)))
	}
	if p.SYNACK.Retries > most {
		times = append(times, "...")
	}
	return strings.Join(times, " ")
}

func end(p *listenq.Profile) string {
	at := seconds(elapsed(p, p.SYNACK.Retries+1))
	if p.SYNACK.End == listenq.EndReset {
		at += " RST"
	}
	return at
}

// elapsed is the time from the first SYN-ACK until n waits have passed.
func elapsed(p *listenq.Profile, n int) time.Duration {
	var sum time.Duration
	for i := range n {
		sum += p.SYNACK.Waits[min(i, len(p.SYNACK.Waits)-1)]
	}
	return sum
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', 4, 64) }
