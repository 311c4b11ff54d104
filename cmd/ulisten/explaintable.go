package main

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// explainRow is what a packet gets in each state.
type explainRow struct {
	Packet string        `json:"packet"`
	Gets   []explainCell `json:"gets"`
}

// explainCell is what a packet gets in one state.
type explainCell struct {
	State   string `json:"state"`
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	// Removed says that the half-open request is gone, Evicted that another one
	// was forgotten for this one.
	Removed bool `json:"removed,omitempty"`
	Evicted bool `json:"evicted,omitempty"`
	// Ticks are the counters that the packet ticks.
	Ticks []string `json:"ticks,omitempty"`
}

// answer is what the client gets, in words.
func (c explainCell) answer() string {
	answer := c.Verdict
	switch c.Verdict {
	case "":
		return "-"
	case listenq.Drop.String():
		answer = "nothing"
	case listenq.SendCookie.String():
		answer = "SYN-ACK, a cookie"
	case listenq.Promote.String():
		answer = "connected"
	}
	if c.Removed {
		answer += ", request removed"
	}
	if c.Evicted {
		answer += ", another request forgotten"
	}
	return answer
}

// standIn is the limit of the listener that is driven into each state if the
// real one is larger; the rules do not depend on its size. A SYN queue that has
// a size of its own stands in with as many.
const standIn = 4

// explainState is a state of the queues.
type explainState struct {
	name                string
	synFull, acceptFull bool
}

var (
	separateStates = []explainState{
		{name: "room in both"},
		{name: "SYN queue full", synFull: true},
		{name: "accept queue full", acceptFull: true},
		{name: "both full", synFull: true, acceptFull: true},
	}
	// sharedStates are for platforms that count requests and connections
	// together.
	sharedStates = []explainState{
		{name: "room"},
		{name: "full of requests", synFull: true},
		{name: "full of connections", acceptFull: true},
	}
)

// explainPacket is a segment of a client in one of three situations, or an ICMP
// error about the SYN-ACK that it got.
type explainPacket struct {
	name   string
	client situation
	flags  listenq.Flags
	length int
	icmp   *listenq.ICMPError
}

// situation is what a client has from the listener.
type situation int

const (
	stranger situation = iota // nothing
	halfOpen                  // a request in the SYN queue
	cookie                    // a SYN cookie
)

var explainPackets = []explainPacket{
	{name: "new SYN", client: stranger, flags: listenq.SYN},
	{name: "duplicate SYN", client: halfOpen, flags: listenq.SYN},
	{name: "final ACK", client: halfOpen, flags: listenq.ACK},
	{name: "data instead", client: halfOpen, flags: listenq.ACK | listenq.PSH, length: 100},
	{name: "FIN instead", client: halfOpen, flags: listenq.ACK | listenq.FIN},
	{name: "RST", client: halfOpen, flags: listenq.RST},
	{name: "host unreachable", client: halfOpen, icmp: &listenq.ICMPError{Type: 3, Code: 1}},
	{name: "port unreachable", client: halfOpen, icmp: &listenq.ICMPError{Type: 3, Code: 3}},
	{name: "ACK of a cookie", client: cookie, flags: listenq.ACK},
}

// An explainLab drives listeners into states and shows them packets.
type explainLab struct {
	profile  *listenq.Profile // with what is only about size made small
	settings listenq.Sysctls
	policy   listenq.Overflow
	limit    int
	states   []explainState
}

func newExplainLab(p *listenq.Profile, settings listenq.Sysctls, policy listenq.Overflow, limit int) *explainLab {
	lab := &explainLab{profile: p.Clone(), settings: settings, policy: policy, limit: limit, states: separateStates}
	q := lab.profile
	if q.AcceptQueue.Counts == listenq.CountHalfOpen {
		lab.states = sharedStates
	}
	// The limit is made first. What follows it is as on the platform.
	q.Backlog = listenq.BacklogRules{Zero: listenq.TakeZero, Maximum: math.MaxInt32, Setting: "any"}
	q.Socket.ListenAgain = listenq.AgainNewLimit
	q.SYNQueue.Buckets, q.SYNQueue.PerBucket = 0, 0
	if f := &q.SYNQueue.Capacity; !f.Unlimited && f.Of(limit) > 4*standIn {
		*f = listenq.Formula{Plus: limit + 1}
	}
	if f := &q.AcceptQueue.AtACK; !f.Unlimited && f.Of(limit) > 4*standIn {
		*f = listenq.Formula{Plus: 2 * lab.roomy()} // never reached
	}
	return lab
}

// try makes a state and shows it a packet.
func (lab *explainLab) try(state explainState, p explainPacket) explainCell {
	cell := explainCell{State: state.name}
	d, err := lab.driver()
	if err != nil {
		cell.Reason = err.Error()
		return cell
	}
	client := d.newFlow()
	var iss uint32
	if p.client == cookie {
		var sent bool
		if iss, sent = d.cookie(client); !sent {
			cell.Reason = "no cookies are sent"
			return cell
		}
	}
	if err := d.l.Listen(lab.roomy()); err != nil {
		cell.Reason = err.Error()
		return cell
	}
	if p.client == halfOpen {
		iss = d.send(client, listenq.SYN, 0, 0).Seq
	}
	if !d.make(state, lab) {
		cell.Reason = "cannot happen"
		return cell
	}
	d.l.SetSysctls(lab.settings)

	// Beyond the rate limit of answers, which is another matter.
	d.now += lab.settings.InvalidRatelimit
	before, after := map[string]uint64{}, d.l.Counters()
	after.Each(func(name string, value uint64) { before[name] = value })
	var out listenq.Outcome
	if p.icmp != nil {
		out = d.l.ICMP(&listenq.ICMPError{Flow: client, Seq: iss, Type: p.icmp.Type, Code: p.icmp.Code})
	} else {
		out = d.send(client, p.flags, iss, p.length)
	}
	cell.Verdict, cell.Reason = out.Verdict.String(), out.Reason.String()
	cell.Removed, cell.Evicted = out.Removed, out.Evicted != listenq.Flow{}
	after = d.l.Counters()
	after.Each(func(name string, value uint64) {
		if value > before[name] {
			cell.Ticks = append(cell.Ticks, name)
		}
	})
	return cell
}

// roomy is a limit that no state fills.
func (lab *explainLab) roomy() int { return 8 * (lab.limit + standIn) }

// driver returns a listener with the limit.
func (lab *explainLab) driver() (*driver, error) {
	settings := lab.settings
	settings.Somaxconn, settings.MaxSYNBacklog = math.MaxInt32, math.MaxInt32
	settings.Syncookies = min(settings.Syncookies, 1) // with 2 there would be no requests
	l, err := listenq.New(listenq.Config{
		Profile: lab.profile, Backlog: lab.limit, Window: 65535, Sysctls: &settings, Overflow: lab.policy,
	})
	return &driver{now: time.Hour, l: l}, err
}

// driver plays the clients of a listener.
type driver struct {
	l     *listenq.Listener
	now   time.Duration
	flows uint16
}

func (d *driver) newFlow() listenq.Flow {
	d.flows++
	return listenq.NewFlow(
		netip.MustParseAddrPort("192.0.2.2:80"),
		netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 40000+d.flows))
}

// send is a segment of a client whose initial sequence number is 0.
func (d *driver) send(f listenq.Flow, flags listenq.Flags, iss uint32, length int) listenq.Outcome {
	seg := &listenq.Segment{Flow: f, Flags: flags, Len: length}
	if !flags.Has(listenq.SYN) {
		seg.Seq = 1
	}
	if flags.Has(listenq.ACK) {
		seg.Ack = iss + 1
	}
	return d.l.Segment(d.now, seg)
}

// cookie gives a client a SYN-ACK with a cookie and no request: it comes to a full
// SYN queue, or its request is thrown out. Afterwards the SYN queue is empty.
func (d *driver) cookie(client listenq.Flow) (iss uint32, sent bool) {
	p := d.l.Profile()
	if d.l.SYNCapacity() < 0 || p.AcceptQueue.Counts == listenq.CountHalfOpen {
		return 0, false
	}
	var others []listenq.Flow
	another := func() {
		f := d.newFlow()
		d.send(f, listenq.SYN, 0, 0)
		others = append(others, f)
	}
	var out listenq.Outcome
	if p.Cookies.InEverySYNACK {
		out = d.send(client, listenq.SYN, 0, 0)
	}
	for range d.l.SYNCapacity() {
		another()
	}
	if !p.Cookies.InEverySYNACK {
		out = d.send(client, listenq.SYN, 0, 0)
	}
	for _, f := range others {
		d.send(f, listenq.RST, 0, 0)
	}
	sent = out.Verdict == listenq.SendCookie || p.Cookies.InEverySYNACK && p.Cookies.Use != listenq.CookiesNever
	return out.Seq, sent && !d.l.Holds(client)
}

// make fills the queues of a roomy listener and then gives it its limit. False
// means that there is no such state.
func (d *driver) make(state explainState, lab *explainLab) bool {
	p := d.l.Profile()
	places, requests := p.AcceptQueue.AtSYN.Of(lab.limit), p.SYNQueue.Capacity.Of(lab.limit)
	atACK := p.AcceptQueue.AtACK.Of(lab.limit)
	switch {
	case p.AcceptQueue.Counts == listenq.CountHalfOpen:
		requests = places
	case places == math.MaxInt || atACK > places && atACK < lab.roomy():
		places = atACK
	}
	if places <= 0 && !state.acceptFull || requests <= 0 && !state.synFull {
		return false // it is never otherwise
	}
	if state.acceptFull {
		if p.AcceptQueue.Counts == listenq.CountHalfOpen {
			places -= d.l.SYNQueueLen()
		}
		if !d.fill(places, d.l.AcceptQueueLen, func(f listenq.Flow) {
			d.send(f, listenq.ACK, d.send(f, listenq.SYN, 0, 0).Seq, 0)
		}) {
			return false
		}
	}
	if state.synFull && !d.fill(requests, d.l.SYNQueueLen, func(f listenq.Flow) { d.send(f, listenq.SYN, 0, 0) }) {
		return false
	}
	return d.l.Listen(lab.limit) == nil
}

// fill has new clients add to a queue until it holds so many. False means that it
// cannot.
func (d *driver) fill(n int, length func() int, add func(listenq.Flow)) bool {
	for length() < n {
		before := length()
		add(d.newFlow())
		if length() == before {
			return false
		}
	}
	return true
}

func (x *explanation) writeTable(b *strings.Builder) {
	rows := newTable("  PACKET\tQUEUES\tANSWER\tRULE\tCOUNTERS")
	for _, row := range x.Table {
		name := row.Packet
		for _, g := range grouped(row.Gets) {
			states := strings.Join(g.states, ", ")
			if len(g.states) == len(x.States) {
				states = "any"
			}
			rows.add("  %s\t%s\t%s\t%s\t%s", name, states, g.cell.answer(), g.cell.Reason, strings.Join(g.cell.Ticks, " "))
			name = ""
		}
	}
	rows.write(b)
}

// explainGroup is what a packet gets in several states.
type explainGroup struct {
	cell   explainCell
	states []string
}

// grouped puts states together in which a packet gets the same.
func grouped(cells []explainCell) []explainGroup {
	var groups []explainGroup
next:
	for _, c := range cells {
		for i := range groups {
			g := &groups[i]
			if g.cell.answer() == c.answer() && g.cell.Reason == c.Reason && slices.Equal(g.cell.Ticks, c.Ticks) {
				g.states = append(g.states, c.State)
				continue next
			}
		}
		groups = append(groups, explainGroup{c, []string{c.State}})
	}
	return groups
}
