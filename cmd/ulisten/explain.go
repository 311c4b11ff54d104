package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// explainCmd is `ulisten explain`.
type explainCmd struct {
	Backlog    backlogFlag      `required:"" help:"The number handed to listen(2)."`
	Somaxconn  int              `default:"4096" help:"net.core.somaxconn (4096)."`
	Policy     listenq.Overflow `default:"drop" placeholder:"NAME" help:"Overflow policy: drop, reset, abort or reset+abort (drop)."`
	Syncookies int              `enum:"0,1,2" default:"1" help:"net.ipv4.tcp_syncookies: 0, 1 or 2 (1)."`
	JSON       bool             `name:"json" help:"Print JSON."`
}

// Example opens the help.
func (*explainCmd) Example() string {
	return `ulisten explain --backlog 2
ulisten explain --backlog=-1 --somaxconn 128 --policy abort --syncookies 0`
}

// backlogFlag is a C int.
type backlogFlag int

// UnmarshalText reads the int of listen(2).
func (b *backlogFlag) UnmarshalText(text []byte) error {
	n, err := parseBacklog(string(text))
	*b = backlogFlag(n)
	return err
}

// explanation is what explain prints.
type explanation struct {
	Backlog    int              `json:"backlog"`
	Somaxconn  int              `json:"somaxconn"`
	Policy     listenq.Overflow `json:"policy"`
	Syncookies int              `json:"syncookies"`
	Limit      int              `json:"limit"`
	// SYNQueue and AcceptQueue are how much fits.
	SYNQueue    int           `json:"syn_queue_capacity"`
	AcceptQueue int           `json:"accept_queue_capacity"`
	Steps       []explainStep `json:"steps"`
	// ShownWith is the limit that the table was made with.
	ShownWith int          `json:"shown_with_limit"`
	States    []string     `json:"states"`
	Table     []explainRow `json:"table"`
}

// explainStep is one step from the backlog to the queues.
type explainStep struct {
	Value  int    `json:"value"`
	What   string `json:"what"`
	Source string `json:"source"`
}

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
	// Removed says that the half-open request is gone.
	Removed bool `json:"removed,omitempty"`
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
	return answer
}

// Run computes and prints.
func (e *explainCmd) Run(c *console) error {
	if e.Somaxconn < 0 || e.Somaxconn > math.MaxInt32 {
		return usagef("--somaxconn %d: use a whole number from 0 to %d", e.Somaxconn, math.MaxInt32)
	}
	x := e.explain()
	if e.JSON {
		enc := json.NewEncoder(c.out)
		enc.SetIndent("", "  ")
		return enc.Encode(x)
	}
	var b strings.Builder
	x.write(&b)
	_, err := c.out.Write([]byte(b.String()))
	return err
}

func (e *explainCmd) explain() explanation {
	n := int(e.Backlog)
	limit := listenq.Limit(n, e.Somaxconn)
	x := explanation{
		Backlog: n, Somaxconn: e.Somaxconn, Policy: e.Policy, Syncookies: e.Syncookies,
		Limit: limit, SYNQueue: limit + 1, AcceptQueue: limit + 1,
		ShownWith: min(limit, standIn),
	}
	step := func(value int, what, source string) {
		x.Steps = append(x.Steps, explainStep{value, what, source})
	}
	step(n, "the number handed to listen(2), a C int", "listen(2)")
	if n < 0 {
		step(int(uint32(int32(n))), "the same bits as an unsigned number", "__sys_listen_socket")
	}
	if limit != n {
		step(limit, fmt.Sprintf("cut to net.core.somaxconn, %d: the limit, Send-Q in ss", e.Somaxconn), "__sys_listen_socket")
	} else {
		step(limit, fmt.Sprintf("not above net.core.somaxconn, %d: the limit, Send-Q in ss", e.Somaxconn), "__sys_listen_socket")
	}
	step(x.AcceptQueue, "connections fit the accept queue, which is full when longer than the limit", "sk_acceptq_is_full")
	step(x.SYNQueue, "requests fit the SYN queue, which has the same limit", "inet_csk_reqsk_queue_is_full")

	for _, s := range explainStates {
		x.States = append(x.States, s.name)
	}
	for _, p := range explainPackets {
		row := explainRow{Packet: p.name}
		for _, s := range explainStates {
			row.Gets = append(row.Gets, e.try(x.ShownWith, s, p))
		}
		x.Table = append(x.Table, row)
	}
	return x
}

// standIn is the limit of the listener that is driven into each state if the
// real one is larger; the rules do not depend on its size.
const standIn = 4

// explainState is a state of the queues.
type explainState struct {
	name                string
	synFull, acceptFull bool
}

var explainStates = []explainState{
	{name: "room in both"},
	{name: "SYN queue full", synFull: true},
	{name: "accept queue full", acceptFull: true},
	{name: "both full", synFull: true, acceptFull: true},
}

// explainPacket is a segment of a client in one of three situations.
type explainPacket struct {
	name   string
	client situation
	flags  listenq.Flags
	length int
}

// situation is what a client has from the listener.
type situation int

const (
	stranger situation = iota // nothing
	halfOpen                  // a request in the SYN queue
	cookie                    // a SYN cookie
)

var explainPackets = []explainPacket{
	{"new SYN", stranger, listenq.SYN, 0},
	{"duplicate SYN", halfOpen, listenq.SYN, 0},
	{"final ACK", halfOpen, listenq.ACK, 0},
	{"data instead", halfOpen, listenq.ACK | listenq.PSH, 100},
	{"FIN instead", halfOpen, listenq.ACK | listenq.FIN, 0},
	{"RST", halfOpen, listenq.RST, 0},
	{"ACK of a cookie", cookie, listenq.ACK, 0},
}

// try drives a listener into a state and shows it a packet.
func (e *explainCmd) try(limit int, state explainState, p explainPacket) explainCell {
	// One more fits while the state is made; then listen(2) is called again with
	// the real number, so that both queues can be full at once.
	sysctls := listenq.DefaultSysctls()
	sysctls.Somaxconn = limit + 1
	sysctls.Syncookies = min(e.Syncookies, 1) // with 2 there would be no requests
	d := &driver{now: time.Hour, l: listenq.MustNew(listenq.Config{
		Backlog: limit + 1, Window: 65535, Sysctls: &sysctls, Overflow: e.Policy,
	})}

	client := d.newFlow()
	var iss uint32
	if p.client == cookie {
		// A full SYN queue draws a cookie. Then it is emptied again.
		others := d.fillSYNQueue(limit + 2)
		out := d.send(client, listenq.SYN, 0, 0)
		if out.Verdict != listenq.SendCookie {
			return explainCell{State: state.name, Reason: "no cookies are sent"}
		}
		iss = out.Seq
		for _, f := range others {
			d.send(f, listenq.RST, 0, 0)
		}
	}
	if state.acceptFull {
		for d.l.AcceptQueueLen() < limit+1 {
			f := d.newFlow()
			d.send(f, listenq.ACK, d.send(f, listenq.SYN, 0, 0).Seq, 0)
		}
	}
	if p.client == halfOpen {
		iss = d.send(client, listenq.SYN, 0, 0).Seq
	}
	if state.synFull {
		d.fillSYNQueue(limit + 1)
	}
	if err := d.l.Listen(limit); err != nil {
		panic(err) // it was taken before
	}
	sysctls.Syncookies = e.Syncookies
	d.l.SetSysctls(sysctls)

	// Beyond tcp_invalid_ratelimit, which is another matter.
	d.now += sysctls.InvalidRatelimit
	before, after := map[string]uint64{}, d.l.Counters()
	after.Each(func(name string, value uint64) { before[name] = value })
	out := d.send(client, p.flags, iss, p.length)
	cell := explainCell{
		State:   state.name,
		Verdict: out.Verdict.String(),
		Reason:  out.Reason.String(),
		Removed: out.Removed,
	}
	after = d.l.Counters()
	after.Each(func(name string, value uint64) {
		if value > before[name] {
			cell.Ticks = append(cell.Ticks, name)
		}
	})
	return cell
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

// fillSYNQueue adds requests until there are n and returns those it added.
func (d *driver) fillSYNQueue(n int) []listenq.Flow {
	var added []listenq.Flow
	for d.l.SYNQueueLen() < n {
		f := d.newFlow()
		d.send(f, listenq.SYN, 0, 0)
		added = append(added, f)
	}
	return added
}

func (x *explanation) write(b *strings.Builder) {
	fmt.Fprintf(b, "listen(fd, %d) with net.core.somaxconn %d\n\n", x.Backlog, x.Somaxconn)
	steps := newTable("  VALUE\tMEANING\tDECIDED IN")
	for _, s := range x.Steps {
		steps.add("  %d\t%s\t%s", s.Value, s.What, s.Source)
	}
	steps.write(b)
	fmt.Fprintf(b, "\npolicy %v, net.ipv4.tcp_syncookies %d", x.Policy, x.Syncookies)
	if x.ShownWith != x.Limit {
		fmt.Fprintf(b, "; tried on a listener with limit %d in place of %d", x.ShownWith, x.Limit)
	}
	b.WriteString("\n\n")
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
