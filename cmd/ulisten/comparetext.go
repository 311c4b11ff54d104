package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq/sim"
)

// words is the scenario in a sentence.
func (k *compareCmd) words() string {
	var b strings.Builder
	b.WriteString(count(k.Clients, "client"))
	if k.Silent > 0 {
		fmt.Fprintf(&b, ", %s of them silent after their SYN,", percent(k.Silent))
	}
	if k.Patience > 0 {
		fmt.Fprintf(&b, " with a patience of %v", k.Patience)
	}
	connect := "connect"
	if k.Clients == 1 {
		connect = "connects"
	}
	fmt.Fprintf(&b, " %s %s, round trip %v", connect, arrivalWords(k.Arrival, k.Clients), k.RTT)
	if k.Jitter > 0 {
		fmt.Fprintf(&b, " and up to %v more each way", k.Jitter)
	}
	if k.Loss > 0 {
		fmt.Fprintf(&b, ", %s of the segments lost", percent(k.Loss))
	}
	fmt.Fprintf(&b, ". Server: listen(fd, %d), ", k.Backlog)
	if k.AcceptStart > 0 {
		fmt.Fprintf(&b, "first accept after %v, ", k.AcceptStart)
	}
	accepts := "one accept"
	if k.AcceptBatch > 1 {
		accepts = fmt.Sprintf("up to %d accepts", k.AcceptBatch)
	}
	if k.AcceptEvery > 0 {
		fmt.Fprintf(&b, "%s every %v.", accepts, k.AcceptEvery)
	} else {
		b.WriteString("accept at once.")
	}
	return b.String()
}

func arrivalWords(a sim.Arrival, clients int) string {
	text := a.String()
	kind, value, _ := strings.Cut(text, "=")
	switch {
	case text == "burst":
		return "at once"
	case kind == "burst":
		size, period, _ := strings.Cut(value, "/")
		return size + " at once every " + period
	case kind == "uniform":
		if over, err := time.ParseDuration(value); err == nil && clients > 1 {
			return fmt.Sprintf("one every %v", over/time.Duration(clients))
		}
		return "at once"
	}
	return "independently, " + value + " a second"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func percent(share float64) string { return fmt.Sprintf("%.4g %%", 100*share) }

// write prints the table, the queues over time and what is not sure.
func (c *comparison) write(b *strings.Builder) {
	b.WriteString(c.Scenario.words + "\n\n")
	c.table().write(b)
	c.writeDepths(b)
	c.writeGuesses(b)
	if c.Live != nil {
		c.Live.write(b)
	}
}

// depthColumns is how many moments a queue is shown at.
const depthColumns = 64

// writeDepths draws the accept queue over time, with the first of the clients.
func (c *comparison) writeDepths(b *strings.Builder) {
	var shown []*compareRun
	var end time.Duration
	for _, r := range c.Runs {
		if r.result != nil && r.Client == c.Runs[0].Client {
			shown = append(shown, r)
			end = max(end, r.busyUntil())
		}
	}
	if end == 0 {
		return
	}
	fmt.Fprintf(b, "\nAccept queue with %s clients, %v from left to right; a full block is a full queue\n\n", c.Runs[0].Client, end.Round(time.Millisecond))
	rows := newTable("  SERVER\tDEPTH\tMOST\tSYN QUEUE")
	for _, r := range shown {
		var depth strings.Builder
		for _, d := range sim.Steps(r.result.Depths, end, depthColumns) {
			depth.WriteRune(block(d.Accept, r.AcceptFull))
		}
		rows.add("  %s\t%s\t%d/%s\t%d/%s", r.Server, depth.String(),
			r.MostAccept, r.holds(), r.MostSYN, capacity(r.SYNCapacity))
	}
	rows.write(b)
}

// busyUntil is when the last client's fate was decided and the accept queue came
// to rest. What is left in the SYN queue may take a minute longer to expire.
func (r *compareRun) busyUntil() time.Duration {
	var end time.Duration
	accept := 0
	for _, d := range r.result.Depths {
		if d.Accept != accept {
			end, accept = d.At, d.Accept
		}
	}
	for i := range r.result.Clients {
		end = max(end, r.result.Clients[i].End)
	}
	return end
}

// block is the share of a queue that is taken, as a block of eight heights.
// Whatever is in it shows; a queue without a limit counts as never full.
func block(depth, capacity int) rune {
	if depth == 0 {
		return '·'
	}
	heights := []rune("▁▂▃▄▅▆▇█")
	if capacity <= 0 {
		return heights[0]
	}
	return heights[max(min(depth*len(heights)/capacity, len(heights))-1, 0)]
}

// guesses lists what nobody has verified, each once.
func (c *comparison) guesses() []compareGuess {
	var all []compareGuess
	for _, r := range c.Runs {
		for _, g := range r.Guesses {
			if !slices.Contains(all, g) {
				all = append(all, g)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b compareGuess) int { return strings.Compare(a.Profile, b.Profile) })
	return all
}

// writeGuesses explains the mark of the table.
func (c *comparison) writeGuesses(b *strings.Builder) {
	all := c.guesses()
	if len(all) == 0 {
		return
	}
	b.WriteString("\n? depends on rules that nobody has verified\n")
	for i, g := range all {
		if i == 0 || all[i-1].Profile != g.Profile {
			fmt.Fprintf(b, "\n  %s: %s", g.Profile, g.Field)
		} else {
			fmt.Fprintf(b, ", %s", g.Field)
		}
	}
	b.WriteString("\n")
}
