package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq/sim"
)

// The geometry of a picture, in user units of SVG.
const (
	figureWidth  = 980
	plotLeft     = 84
	plotRight    = figureWidth - 12
	depthTop     = 16 // of the panel that shows the queues
	depthHeight  = 110
	rowsTop      = depthTop + depthHeight + 34
	rowsHeight   = 300 // of all clients, if they are many
	thickestRow  = 15
	thinnestRow  = 2.5
	headingSpace = 56 // above a picture that stands alone, with its legend
	leastWidth   = 3  // of what lasts no time and must be seen
	mostRows     = 120
	mostTicks    = 10
)

// figure is the picture of a run: both queues over time, and below a row for
// each client.
type figure struct {
	Run            *compareRun
	ID             string
	Title, Summary string
	Clients        string      // their platform, or several that fared alike
	Keys           []figureKey // if the picture stands alone, with a heading

	Width, Top                      int
	Height                          string
	Left, Right, LabelsEnd          string
	PanelTop, PanelBottom, TimesAt  string
	RowsBottom, NoteAt              string
	AcceptArea, AcceptLine, SYNLine string
	Times, Levels                   []figureTick
	Limits                          []figureLimit
	Rows                            []figureRow
	Thickness                       string // of a bar in a row
	Note                            string
}

type figureTick struct{ At, Label string }

// figureLimit is the depth at which a queue is full; out of sight if At is "".
type figureLimit struct{ Class, At, Label, LabelX, LabelY, Anchor string }

// figureRow is one client.
type figureRow struct {
	Label, LabelAt string
	Title          string
	Bars           []figureBar
	SYNs           string // marks, as a path
	End, EndClass  string // mark, as a path
}

type figureBar struct{ Class, Path string }

// figureKey is a line of the legend.
type figureKey struct {
	Class, Words string
	At           int // from the left, where all stand in one line
}

// figureKeys are what the rows show, in the order of a life.
var figureKeys = []figureKey{
	{"syn", "SYN sent", 12},
	{"waiting", "connecting", 108},
	{"ignored", "connected, ignored by the server", 216},
	{"queued", "in the accept queue", 466},
	{"accepted", "accepted", 620},
	{"refused", "refused, reset", 716},
	{"gone", "timed out, gave up", 836},
}

// coordinate writes a number of user units, to a tenth.
func coordinate(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

// figureOf draws a run until a time.
func figureOf(r *compareRun, end time.Duration, alone bool) *figure {
	f := &figure{
		Run: r, ID: r.Server + "_" + r.Client,
		Title:   r.ServerTitle + ", clients: " + r.ClientTitle,
		Summary: r.summary(),
		Clients: r.ClientTitle,
		Width:   figureWidth,
		Left:    coordinate(plotLeft), Right: coordinate(plotRight), LabelsEnd: coordinate(plotLeft - 8),
		PanelTop: coordinate(depthTop), PanelBottom: coordinate(depthTop + depthHeight), TimesAt: coordinate(depthTop + depthHeight + 18),
	}
	if alone {
		f.Keys, f.Top = figureKeys, -headingSpace
	}
	end = max(end, time.Millisecond)
	x := func(t time.Duration) float64 {
		return plotLeft + (plotRight-plotLeft)*float64(min(t, end))/float64(end)
	}
	f.depths(r, end, x)
	for _, t := range timeTicks(end) {
		f.Times = append(f.Times, figureTick{coordinate(x(t)), strconv.FormatFloat(t.Seconds(), 'f', -1, 64) + " s"})
	}
	bottom := f.clients(r, x)
	f.RowsBottom = coordinate(bottom)
	f.NoteAt = coordinate(bottom + 16)
	if f.Note != "" {
		bottom += 16
	}
	f.Height = coordinate(bottom + 8 - float64(f.Top))
	return f
}

// depths draws the panel above.
func (f *figure) depths(r *compareRun, end time.Duration, x func(time.Duration) float64) {
	top := max(r.MostSYN, r.MostAccept, 1)
	// A limit is drawn if it is not far beyond what happened.
	inReach := func(n int) bool { return n >= 0 && n <= 3*top }
	scale := top
	for _, n := range []int{r.AcceptFull, r.SYNCapacity} {
		if inReach(n) {
			scale = max(scale, n)
		}
	}
	y := func(depth int) float64 { return depthTop + depthHeight*(1-float64(depth)/float64(scale)) }
	for _, n := range depthTicks(scale) {
		f.Levels = append(f.Levels, figureTick{coordinate(y(n)), strconv.Itoa(n)})
	}
	limit := func(class, label string, n int) {
		l := figureLimit{Class: class, Label: label, LabelX: f.Left, LabelY: coordinate(depthTop - 4), Anchor: "start"}
		if inReach(n) {
			l.At, l.LabelX, l.LabelY, l.Anchor = coordinate(y(n)), f.Right, coordinate(y(n)-4), "end"
		}
		f.Limits = append(f.Limits, l)
	}
	accept, syn := "accept queue holds "+r.holds(), "SYN queue holds "+capacity(r.SYNCapacity)
	if r.SYNCapacity < 0 {
		syn = "SYN queue has no limit of its own"
	}
	switch {
	case r.AcceptFull == r.AcceptCapacity && r.SYNCapacity == r.AcceptCapacity:
		limit("limit-accept", "each queue holds "+r.holds(), r.AcceptFull)
	case inReach(r.AcceptFull) && inReach(r.SYNCapacity) || !inReach(r.AcceptFull) && !inReach(r.SYNCapacity):
		limit("limit-accept", accept+", "+syn, r.AcceptFull)
		limit("limit-syn", "", r.SYNCapacity)
	default:
		limit("limit-accept", accept, r.AcceptFull)
		limit("limit-syn", syn, r.SYNCapacity)
	}
	f.AcceptLine = steps(r.result.Depths, end, x, func(d sim.Depth) float64 { return y(d.Accept) })
	f.SYNLine = steps(r.result.Depths, end, x, func(d sim.Depth) float64 { return y(d.SYN) })
	f.AcceptArea = f.AcceptLine + "V" + coordinate(y(0)) + "H" + coordinate(x(0)) + "Z"
}

// mostSteps bounds the changes that a picture shows.
const mostSteps = 2000

// steps is a path along depths, which change at once.
func steps(depths []sim.Depth, end time.Duration, x func(time.Duration) float64, y func(sim.Depth) float64) string {
	if len(depths) > mostSteps {
		depths = sim.Steps(depths, end, mostSteps)
	}
	var b strings.Builder
	last := ""
	for _, d := range depths {
		at := coordinate(y(d))
		switch {
		case last == "":
			fmt.Fprintf(&b, "M%s %s", coordinate(x(d.At)), at)
		case at != last:
			fmt.Fprintf(&b, "H%sV%s", coordinate(x(d.At)), at)
		}
		last = at
	}
	b.WriteString("H" + coordinate(x(end)))
	return b.String()
}

// clients draws the rows and returns where they end.
func (f *figure) clients(r *compareRun, x func(time.Duration) float64) float64 {
	all := r.result.Clients
	n := min(len(all), mostRows)
	height := min(max(rowsHeight/float64(n), thinnestRow), thickestRow)
	f.Thickness = coordinate(max(height*0.62, 1.5))
	if n < len(all) {
		f.Note = fmt.Sprintf("%d of %d clients, evenly chosen", n, len(all))
	}
	for row := range n {
		i := row * len(all) / n
		y := rowsTop + height*(float64(row)+0.5)
		f.Rows = append(f.Rows, clientRow(i, &all[i], r.result.End, y, height, x))
		if height >= 9 || row == 0 || row == n-1 {
			f.Rows[row].Label = "c" + strconv.Itoa(i+1)
			f.Rows[row].LabelAt = coordinate(y + 3.5)
		}
	}
	return rowsTop + height*float64(n)
}

// clientRow is the life of a client from left to right.
func clientRow(i int, c *sim.Client, runEnd time.Duration, y, height float64, x func(time.Duration) float64) figureRow {
	row := figureRow{Title: lifeOf(i, c)}
	end := c.End
	if end == sim.Never {
		end = runEnd
	}
	bar := func(class string, from, to time.Duration) {
		if from == sim.Never || from >= runEnd || to < from {
			return
		}
		left, right := x(from), x(to)
		if class == "accepted" {
			right = max(right, left+leastWidth)
		}
		row.Bars = append(row.Bars, figureBar{class, fmt.Sprintf("M%s %sH%s", coordinate(left), coordinate(y), coordinate(right))})
	}
	or := func(t, otherwise time.Duration) time.Duration {
		if t == sim.Never {
			return otherwise
		}
		return t
	}
	if len(c.SYNs) > 0 {
		bar("waiting", c.SYNs[0], or(c.Connected, end))
	}
	if c.Connected != sim.Never {
		queued := or(c.Queued, end)
		if c.Queued == sim.Never || queued-c.Connected > ownDelay(c) {
			bar("ignored", c.Connected, min(queued, end))
		} else {
			queued = c.Connected
		}
		if c.Queued != sim.Never {
			bar("queued", queued, min(or(c.Accepted, end), end))
		}
		if c.Accepted != sim.Never && c.Accepted <= end {
			bar("accepted", c.Accepted, end)
		}
	}
	var syns strings.Builder
	for _, t := range c.SYNs {
		fmt.Fprintf(&syns, "M%s %sv%s", coordinate(x(t)), coordinate(y-height*0.42), coordinate(height*0.84))
	}
	row.SYNs = syns.String()
	const arm = 3.5
	switch c.Fate {
	case sim.Refused, sim.Reset:
		row.EndClass = "refused"
	case sim.TimedOut, sim.GaveUp:
		row.EndClass = "gone"
	default:
		return row
	}
	row.End = fmt.Sprintf("M%s %sl%s %sm0 %sl%s %s",
		coordinate(x(c.End)-arm), coordinate(y-arm), coordinate(2*arm), coordinate(2*arm),
		coordinate(-2*arm), coordinate(-2*arm), coordinate(2*arm))
	return row
}

// ownDelay is how long a client's final ACK is under way at most: what its
// SYN-ACK took.
func ownDelay(c *sim.Client) time.Duration { return c.Connected - c.SYNs[len(c.SYNs)-1] }

// lifeOf tells a client's life in a sentence.
func lifeOf(i int, c *sim.Client) string {
	var b strings.Builder
	fmt.Fprintf(&b, "c%d: %v", i+1, c.Fate)
	if c.Error != "" {
		fmt.Fprintf(&b, " (%s)", c.Error)
	}
	at := func(what string, t time.Duration) {
		if t != sim.Never {
			fmt.Fprintf(&b, ", %s %.2f s", what, t.Seconds())
		}
	}
	for n, t := range c.SYNs {
		what := "then"
		if n == 0 {
			what = "SYN at"
		}
		at(what, t)
	}
	at("connected at", c.Connected)
	at("queued at", c.Queued)
	at("accepted at", c.Accepted)
	if c.Fate != sim.Silent {
		at("over at", c.End)
	}
	return b.String()
}

// summary describes a picture for who cannot see it.
func (r *compareRun) summary() string {
	var fates []string
	for f := sim.Absent; f <= sim.Silent; f++ {
		if n := r.Fates[f.String()]; n > 0 {
			fates = append(fates, fmt.Sprintf("%d %v", n, f))
		}
	}
	return fmt.Sprintf("Accept queue: at most %d, holds %s. SYN queue: at most %d, holds %s. Clients: %s.",
		r.MostAccept, r.holds(), r.MostSYN, capacity(r.SYNCapacity), strings.Join(fates, ", "))
}

// timeTicks are round times from 0 to an end.
func timeTicks(end time.Duration) []time.Duration {
	step := time.Millisecond
	for factors, i := [...]int{2, 5, 10}, 0; end/step >= mostTicks; i++ {
		decade := time.Millisecond
		for range i / len(factors) {
			decade *= 10
		}
		step = decade * time.Duration(factors[i%len(factors)])
	}
	var ticks []time.Duration
	for t := time.Duration(0); t <= end; t += step {
		ticks = append(ticks, t)
	}
	return ticks
}

// depthTicks are a few whole depths from 0 to the top.
func depthTicks(top int) []int {
	step := (top + 3) / 4
	var ticks []int
	for n := 0; n <= top; n += step {
		ticks = append(ticks, n)
	}
	return ticks
}
