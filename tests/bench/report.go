//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
)

// report is all that is printed, and the form of --json.
type report struct {
	Facts       facts         `json:"facts"`
	Contestants []participant `json:"contestants"`
	Figures     []figure      `json:"figures"`
	Ratios      []ratio       `json:"ratios"`
	Targets     []verdict     `json:"targets"`
	Missed      []miss        `json:"missed,omitempty"`
}

type participant struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

// figure is a metric of a contestant in its own unit.
type figure struct {
	Measurement string    `json:"measurement"`
	About       string    `json:"about"`
	Metric      string    `json:"metric"`
	Unit        string    `json:"unit"`
	Contestant  string    `json:"contestant"`
	Rounds      []float64 `json:"rounds"`
	spread
}

// ratio compares two contestants within each round.
type ratio struct {
	Measurement string `json:"measurement"`
	Metric      string `json:"metric"`
	Contestant  string `json:"contestant"`
	Versus      string `json:"versus"`
	spread
}

// verdict tells whether a target was met, by the median.
type verdict struct {
	Measurement string  `json:"measurement"`
	Metric      string  `json:"metric"`
	Contestant  string  `json:"contestant"`
	Versus      string  `json:"versus,omitempty"`
	Relation    string  `json:"relation"`
	Bound       float64 `json:"bound"`
	Unit        string  `json:"unit"`
	Met         bool    `json:"met"`
	spread
}

// baselines are the contestants that the others are compared with.
var baselines = []string{"kernel", "stock"}

func (r *results) report(f facts, who []contestant) report {
	out := report{Facts: f, Missed: r.missed}
	for _, c := range who {
		out.Contestants = append(out.Contestants, participant{c.name, c.about})
	}
	for _, m := range r.measured {
		for _, x := range m.metrics {
			for _, c := range who {
				key := resultKey{m.name, x.Name, c.name}
				rounds := r.absolute(key)
				if rounds == nil {
					continue
				}
				out.Figures = append(out.Figures, figure{
					m.name, m.about, x.Name, x.Unit, c.name, rounds, spreadOf(rounds),
				})
				out.Ratios = append(out.Ratios, r.ratios(key)...)
				if i := slices.IndexFunc(who, func(o contestant) bool { return o.plays == c.name }); i >= 0 {
					if v := r.relative(key, who[i].name); v != nil {
						out.Ratios = append(out.Ratios, ratio{m.name, x.Name, c.name, who[i].name, spreadOf(v)})
					}
				}
			}
			out.Targets = append(out.Targets, r.verdicts(m, x)...)
		}
	}
	return out
}

// ratios compares a contestant with the baselines that come before it.
func (r *results) ratios(k resultKey) []ratio {
	var out []ratio
	for _, versus := range baselines {
		if versus == k.contestant {
			break
		}
		if v := r.relative(k, versus); v != nil {
			out = append(out, ratio{k.measurement, k.metric, k.contestant, versus, spreadOf(v)})
		}
	}
	return out
}

func (r *results) verdicts(m measurement, x metric) []verdict {
	var out []verdict
	for _, t := range targets {
		if t.measurement != m.name || t.metric != x.Name {
			continue
		}
		key := resultKey{m.name, x.Name, t.contestant}
		v, unit := r.absolute(key), x.Unit
		if t.versus != "" {
			v, unit = r.relative(key, t.versus), "x "+t.versus
		}
		if v == nil {
			continue
		}
		s := spreadOf(v)
		relation, met := "at least", s.Median >= t.bound
		if x.LessIsMore {
			relation, met = "at most", s.Median <= t.bound
		}
		out = append(out, verdict{m.name, x.Name, t.contestant, t.versus, relation, t.bound, unit, met, s})
	}
	return out
}

func (r report) print(w io.Writer) error {
	f := r.Facts
	fmt.Fprintf(w, "%s, Linux %s, %d x %s\n%s, gVisor %s, ulisten %s\nother programs used %.2f cores meanwhile\n\n",
		f.Date, f.Kernel, f.Cores, f.CPU, f.Go, f.GVisor, f.Commit, f.OthersUsed)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Contestants {
		fmt.Fprintf(t, "%s\t%s\n", c.Name, c.About)
	}
	fmt.Fprintln(t)
	last := ""
	for _, x := range r.Figures {
		if x.Measurement != last {
			fmt.Fprintf(t, "%s: %s\n", x.Measurement, x.About)
			last = x.Measurement
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s", x.Contestant, number(x.Median), x.Unit, x.between())
		for _, q := range r.Ratios {
			if q.Measurement == x.Measurement && q.Metric == x.Metric && q.Contestant == x.Contestant {
				fmt.Fprintf(t, "\t%s x %s %s", number(q.Median), q.Versus, q.between())
			}
		}
		fmt.Fprintln(t)
	}
	if len(r.Targets) > 0 {
		fmt.Fprintln(t, "\ntargets")
	}
	for _, v := range r.Targets {
		result := "missed"
		if v.Met {
			result = "met"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s %s %s\t%s\t%s\t%s\n",
			v.Measurement, v.Contestant, v.Relation, number(v.Bound), v.Unit, number(v.Median), v.between(), result)
	}
	for _, m := range r.Missed {
		fmt.Fprintf(t, "\n%s took no part in %s: %s\n", m.Contestant, m.Measurement, m.Cause)
	}
	return t.Flush()
}

// between prints the range over all rounds.
func (s spread) between() string {
	return fmt.Sprintf("[%s..%s]", number(s.Min), number(s.Max))
}

// number prints three significant digits, and integers in full.
func number(v float64) string {
	if v >= 100 || v <= -100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
