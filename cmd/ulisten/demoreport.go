package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/trace"
)

// demoReport is what the demo prints.
type demoReport struct {
	Link      string      `json:"link"`
	Backlog   int         `json:"backlog"`
	RoundTrip float64     `json:"round_trip_seconds"`
	Policies  []demoTable `json:"policies"`
}

// demoTable is the outcome of one policy.
type demoTable struct {
	Policy     string            `json:"policy"`
	Profile    string            `json:"profile"`
	Limit      int               `json:"limit"`
	Overflow   listenq.Overflow  `json:"overflow"`
	Syncookies int               `json:"syncookies"`
	Does       string            `json:"does"`
	Clients    []demoRow         `json:"clients"`
	SYNQueue   demoDepth         `json:"syn_queue"`
	Accept     demoDepth         `json:"accept_queue"`
	Counters   map[string]uint64 `json:"counters"`
	LadderOf   string            `json:"ladder_of"`
	Ladder     string            `json:"ladder"`

	counters string // in the kernel's order
}

// demoRow is one client. Times are in seconds since the first SYN.
type demoRow struct {
	Client          string   `json:"client"`
	Fate            string   `json:"fate"`
	Connect         float64  `json:"connect_seconds"`
	Retransmissions int      `json:"syn_retransmissions"`
	Reply           *float64 `json:"reply_seconds,omitempty"`
	Reset           *float64 `json:"reset_seconds,omitempty"`
}

// demoDepth is the depth of a queue.
type demoDepth struct {
	End      int `json:"end"`
	Most     int `json:"most"`
	Capacity int `json:"capacity"`
}

func (d demoDepth) String() string {
	if d.Capacity < 0 {
		return fmt.Sprint(d.End)
	}
	return fmt.Sprintf("%d/%d", d.End, d.Capacity)
}

// table draws the run together. Nothing runs any more.
func (r *demoRun) table() demoTable {
	t := demoTable{
		Policy:     r.policy.name,
		Profile:    r.stats.Profile,
		Limit:      r.stats.Limit,
		Overflow:   r.policy.overflow,
		Syncookies: r.policy.syncookies,
		Does:       r.policy.does,
		SYNQueue:   demoDepth{End: r.stats.SYNQueue, Capacity: r.stats.SYNCapacity},
		Accept:     demoDepth{End: r.stats.AcceptQueue, Capacity: r.stats.AcceptCapacity},
		Counters:   map[string]uint64{},
	}
	for _, c := range r.clients {
		row := demoRow{
			Client:          c.name,
			Fate:            c.fate(),
			Connect:         c.connectTime.Seconds(),
			Retransmissions: c.retransmissions,
		}
		if end := c.endTime.Seconds(); c.connected && c.err == nil {
			row.Reply = &end
		} else if c.connected {
			row.Reset = &end
		}
		t.Clients = append(t.Clients, row)
	}
	for i := range r.events {
		t.SYNQueue.Most = max(t.SYNQueue.Most, r.events[i].Outcome.SYNQueue)
		t.Accept.Most = max(t.Accept.Most, r.events[i].Outcome.AcceptQueue)
	}
	var counters []string
	r.stats.Counters.Each(func(name string, value uint64) {
		t.Counters[name] = value
		if value > 0 {
			counters = append(counters, fmt.Sprintf("%s=%d", name, value))
		}
	})
	t.counters = strings.Join(counters, " ")
	if flow, ok := r.mostTelling(); ok {
		var events []trace.Event
		for _, e := range r.events {
			if e.Outcome.Flow == flow {
				events = append(events, e)
			}
		}
		t.LadderOf, t.Ladder = r.nameOf(flow), r.printer.Ladder(events)
	}
	return t
}

// mostTelling picks the client for the ladder: one whose final ACK overflowed,
// else one whose SYN did.
func (r *demoRun) mostTelling() (flow listenq.Flow, ok bool) {
	for _, e := range r.events {
		if !overflowed(&e) || e.Segment == nil {
			continue
		}
		if e.Segment.Flags.Has(listenq.ACK) {
			return e.Outcome.Flow, true
		}
		if !ok {
			flow, ok = e.Outcome.Flow, true
		}
	}
	return flow, ok
}

// WriteTo prints the tables.
func (d *demoReport) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	for i := range d.Policies {
		if i > 0 {
			b.WriteString("\n")
		}
		d.Policies[i].write(&b, d.Backlog)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func (t *demoTable) write(b *strings.Builder, backlog int) {
	if t.Policy == t.Profile {
		fmt.Fprintf(b, "%s: %s (backlog %d, limit %d)\n\n", t.Policy, t.Does, backlog, t.Limit)
	} else {
		fmt.Fprintf(b, "%s: %s (backlog %d, tcp_syncookies %d)\n\n", t.Policy, t.Does, backlog, t.Syncookies)
	}
	var rows strings.Builder
	table := tabwriter.NewWriter(&rows, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "  CLIENT\tFATE\tCONNECT()\tTHEN")
	for _, c := range t.Clients {
		then := ""
		switch {
		case c.Reply != nil:
			then = fmt.Sprintf("reply at %.2f s", *c.Reply)
		case c.Reset != nil:
			then = fmt.Sprintf("reset at %.2f s", *c.Reset)
		}
		fmt.Fprintf(table, "  %s\t%s\t%.2f s\t%s\n", c.Client, c.Fate, c.Connect, then)
	}
	table.Flush()
	for line := range strings.Lines(rows.String()) {
		fmt.Fprintln(b, strings.TrimRight(line, " \n"))
	}
	fmt.Fprintf(b, "\n  queues at the end: SYN %v, accept %v; at most %d and %d\n", t.SYNQueue, t.Accept, t.SYNQueue.Most, t.Accept.Most)
	fmt.Fprintf(b, "  counters: %s\n", t.counters)
	if t.Ladder != "" {
		fmt.Fprintf(b, "\n  packets of %s:\n\n", t.LadderOf)
		for line := range strings.Lines(t.Ladder) {
			b.WriteString("  " + line)
		}
	}
}
