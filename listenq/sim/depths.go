package sim

import (
	"slices"
	"time"
)

// A Depth is how deep both queues are from a moment on, until the next Depth.
type Depth struct {
	At          time.Duration
	SYN, Accept int
}

// maxDepths bounds what is kept of the depths over time. Up to it every change
// is there; beyond it, the run is cut into a quarter as many equal periods, and
// each keeps its greatest depths and its last.
const maxDepths = 1 << 16

// A gauge records depths.
type gauge struct {
	kept                []Depth
	last                Depth
	mostSYN, mostAccept int
	period              time.Duration // 0 while every change is kept
	duration            time.Duration
	bound               int
}

func newGauge(duration time.Duration, bound int) gauge {
	return gauge{duration: duration, bound: bound, kept: []Depth{{}}}
}

// record notes the depths at a time, which never decreases.
func (g *gauge) record(at time.Duration, syn, accept int) {
	d := Depth{at, syn, accept}
	if syn == g.last.SYN && accept == g.last.Accept {
		return
	}
	g.mostSYN, g.mostAccept = max(g.mostSYN, syn), max(g.mostAccept, accept)
	g.add(d)
	if g.period == 0 && len(g.kept) >= g.bound {
		g.period = max(1, 4*g.duration/time.Duration(g.bound))
		all := g.kept
		g.kept, g.last = make([]Depth, 1, g.bound), Depth{}
		for _, d := range all[1:] {
			g.add(d)
		}
	}
}

// add keeps a change.
func (g *gauge) add(d Depth) {
	newest := &g.kept[len(g.kept)-1]
	switch {
	case newest.At == d.At && g.period == 0:
		*newest = d // nobody saw what lasted no time
	case g.period > 0 && newest.At/g.period == d.At/g.period:
		newest.SYN, newest.Accept = max(newest.SYN, d.SYN), max(newest.Accept, d.Accept)
	default:
		g.settle(d.At)
		g.kept = append(g.kept, d)
	}
	g.last = d
}

// settle ends the newest period, before a time beyond it, with its last depths.
func (g *gauge) settle(before time.Duration) {
	newest := g.kept[len(g.kept)-1]
	end := Depth{newest.At, g.last.SYN, g.last.Accept}
	if g.period == 0 || end == newest {
		return
	}
	end.At = max((newest.At/g.period+1)*g.period-1, newest.At)
	if end.At < before {
		g.kept = append(g.kept, end)
	}
}

// finish returns what was recorded.
func (g *gauge) finish(end time.Duration) []Depth {
	g.settle(end)
	return slices.Clip(g.kept)
}

// Steps cuts depths up to an end into n equal periods and returns the greatest
// depths in each, with the time at which it begins.
func Steps(depths []Depth, end time.Duration, n int) []Depth {
	if n < 1 || end <= 0 {
		return nil
	}
	steps := make([]Depth, n)
	var now Depth
	next := 0
	for i := range steps {
		from := time.Duration(int64(end) / int64(n) * int64(i))
		to := time.Duration(int64(end) / int64(n) * int64(i+1))
		if i == n-1 {
			to = end + 1
		}
		for next < len(depths) && depths[next].At <= from {
			now = depths[next]
			next++
		}
		steps[i] = Depth{from, now.SYN, now.Accept}
		for next < len(depths) && depths[next].At < to {
			now = depths[next]
			next++
			steps[i].SYN, steps[i].Accept = max(steps[i].SYN, now.SYN), max(steps[i].Accept, now.Accept)
		}
	}
	return steps
}
