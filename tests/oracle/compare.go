package oracle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Tolerance says what a comparison overlooks.
type Tolerance struct {
	// Late is how much later than its step a reply may be.
	Late time.Duration
	// Exact demands that SYN-ACK timers fire at their nominal time, to the
	// millisecond; otherwise, and for all other timers, the recorded window
	// counts, widened by Slack on both sides.
	Exact bool
	Slack time.Duration
	// Full compares the states of connections, too.
	Full bool
}

// Virtual is the tolerance for our stack in virtual time.
var Virtual = Tolerance{Late: 100 * time.Millisecond, Exact: true}

// A Difference is one field of one step that is not as recorded.
type Difference struct {
	Step        int
	Field       string
	Want, Got   string
	Description string
}

func (d Difference) String() string {
	return fmt.Sprintf("step %d (%s): %s: recorded %s, got %s", d.Step, d.Description, d.Field, d.Want, d.Got)
}

// Compare compares what was observed with the recording, step by step.
func Compare(sc *Scenario, got []Observed, tol Tolerance) []Difference {
	var all []Difference
	for i := range sc.Steps {
		step := &sc.Steps[i]
		var o Observed
		if i < len(got) {
			o = got[i]
		}
		c := comparison{step: step, tol: tol}
		c.all(&o)
		all = append(all, c.found...)
	}
	return all
}

type comparison struct {
	step  *Step
	tol   Tolerance
	found []Difference
}

func (c *comparison) differ(field, want, got string) {
	if want != got {
		c.found = append(c.found, Difference{Step: c.step.N, Field: field, Want: want, Got: got, Description: c.step.Op})
	}
}

func (c *comparison) all(got *Observed) {
	c.differ("result", text(c.step.Result), text(got.Result))
	c.emitted(got.Emitted)
	c.differ("listen", text(c.step.After.Listen), text(got.After.Listen))
	c.differ("half_open", strings.Join(slices.Sorted(slices.Values(c.step.After.HalfOpen)), " "), strings.Join(got.After.HalfOpen, " "))
	if c.tol.Full {
		c.differ("full", text(c.step.After.Full.Of), text(got.After.Full.Of))
	}
	for _, name := range CounterNames {
		c.differ("counters."+name, fmt.Sprint(c.step.Counters[name]), fmt.Sprint(got.Counters[name]))
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// emitted compares packets, in their order; timers of different connections may
// fire in any.
func (c *comparison) emitted(got []Emitted) {
	want := slices.Clone(c.step.Emitted)
	got = slices.Clone(got)
	if slices.ContainsFunc(want, func(e Emitted) bool { return e.When == "timer" }) {
		byConn := func(a, b Emitted) int { return cmp.Compare(a.Conn, b.Conn) }
		slices.SortStableFunc(want, byConn)
		slices.SortStableFunc(got, byConn)
	}
	for i := range max(len(want), len(got)) {
		field := fmt.Sprintf("emitted[%d]", i)
		w, g := "nothing", "nothing"
		if i < len(want) {
			w = want[i].describe()
		}
		if i < len(got) {
			g = got[i].describe()
		}
		c.differ(field, w, g)
		if w == g {
			c.time(field+".t", &want[i], &got[i])
		}
	}
}

// describe is what must be equal of a packet, in words.
func (e *Emitted) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Conn, e.Flags)
	switch {
	case e.Seq != nil:
		fmt.Fprintf(&b, " seq=%d", *e.Seq)
	case e.SeqAbs != nil:
		fmt.Fprintf(&b, " seq_abs=%d", *e.SeqAbs)
	}
	if e.Ack != nil {
		fmt.Fprintf(&b, " ack=%d", *e.Ack)
	}
	if e.ISN > 1 {
		fmt.Fprintf(&b, " isn=%d", e.ISN)
	}
	fmt.Fprintf(&b, " len=%d", e.Len)
	if o := e.Opts; o != nil {
		fmt.Fprintf(&b, " mss=%d sackok=%t ts=%t ws=%t", o.MSS, o.SACKOK, o.TS != nil, o.WS != nil)
	}
	return b.String()
}

func (c *comparison) time(field string, want, got *Emitted) {
	at := got.T.Duration()
	switch {
	case want.When == "reply":
		if start := c.step.T.Duration(); at < start || at > start+c.tol.Late {
			c.differ(field, fmt.Sprintf("%v to %v", start, start+c.tol.Late), at.String())
		}
	case c.tol.Exact && want.Flags == "SA":
		c.differ(field, want.TNominal.String(), at.String())
	default:
		from, to := want.TWindow[0].Duration()-c.tol.Slack, want.TWindow[1].Duration()+c.tol.Slack
		if at < from || at > to {
			c.differ(field, fmt.Sprintf("%v to %v", from, to), at.String())
		}
	}
}

// SideBySide shows a step as recorded and as observed, in two columns.
func SideBySide(step *Step, got *Observed, gotName string) string {
	left, right := step.Observed.lines(), got.lines()
	width := len("recorded")
	for _, l := range left {
		width = max(width, len(l))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "step %d at %v: %s\n", step.N, step.T, step.input())
	fmt.Fprintf(&b, "    %-*s | %s\n", width, "recorded", gotName)
	for i := range max(len(left), len(right)) {
		l, r, mark := "", "", " "
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		if l != r {
			mark = "*"
		}
		fmt.Fprintf(&b, "  %s %-*s | %s\n", mark, width, l, r)
	}
	return b.String()
}

// input is the operation in one line.
func (s *Step) input() string {
	in := *s
	in.Observed = Observed{}
	b, err := spaced(struct {
		*Step
		N        *struct{} `json:"n,omitempty"`
		T        *struct{} `json:"t,omitempty"`
		Emitted  *struct{} `json:"emitted,omitempty"`
		After    *struct{} `json:"after,omitempty"`
		Counters *struct{} `json:"counters,omitempty"`
	}{Step: &in})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// lines lists what was observed, one thing a line.
func (o *Observed) lines() []string {
	var out []string
	if o.Result != nil {
		out = append(out, "result "+text(o.Result))
	}
	for i := range o.Emitted {
		out = append(out, fmt.Sprintf("%.3f s %s", o.Emitted[i].T.Duration().Seconds(), o.Emitted[i].describe()))
	}
	out = append(out, "listen "+text(o.After.Listen), "half open "+strings.Join(o.After.HalfOpen, " "))
	for _, name := range slices.Sorted(maps.Keys(o.Counters)) {
		if o.Counters[name] != 0 {
			out = append(out, fmt.Sprintf("%s %d", name, o.Counters[name]))
		}
	}
	return out
}
