package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ulisten/ulisten/listenq/sim"
)

// compareTable says who got in: a row for each run, and one row for runs of a
// server that do not differ in it. Columns that would be empty everywhere are
// left out.
type compareTable struct {
	Columns []string
	Rows    []compareTableRow
}

// timeColumns follow the columns that count clients.
var timeColumns = []string{"connect", "worst", "reply", "worst"}

type compareTableRow struct {
	// First says that the row is the first of its server.
	First   bool
	Server  string
	Guessed bool   // a rule behind it is not verified
	Holds   string // or the error of a listen that fails
	Client  string // or several
	Cells   []string
}

// manyRetransmissions is the last column of its kind: so many or more.
const manyRetransmissions = 4

// none is a cell for nobody.
const none = "."

// compareColumn counts clients.
type compareColumn struct {
	head  string
	of    func(r *compareRun) int
	shown bool
}

func compareColumns() []compareColumn {
	fate := func(fates ...sim.Fate) func(r *compareRun) int {
		return func(r *compareRun) (n int) {
			for _, f := range fates {
				n += r.Fates[f.String()]
			}
			return n
		}
	}
	columns := []compareColumn{{"at once", func(r *compareRun) int { return r.connectedAfter(0) }, true}}
	for n := 1; n <= manyRetransmissions; n++ {
		head := fmt.Sprintf("+%d", n)
		if n == manyRetransmissions {
			head += ".."
		}
		columns = append(columns, compareColumn{head, func(r *compareRun) int { return r.connectedAfter(n) }, false})
	}
	return append(columns,
		compareColumn{"refused", fate(sim.Refused), true},
		compareColumn{"reset", fate(sim.Reset), true},
		compareColumn{"timed out", fate(sim.TimedOut), true},
		compareColumn{"gave up", fate(sim.GaveUp), false},
		compareColumn{"connecting", fate(sim.Connecting, sim.Absent), false},
		compareColumn{"silent", fate(sim.Silent), false},
	)
}

func (c *comparison) table() *compareTable {
	columns := compareColumns()
	t := &compareTable{}
	for i := range columns {
		for _, r := range c.Runs {
			columns[i].shown = columns[i].shown || columns[i].of(r) > 0
		}
		if columns[i].shown {
			t.Columns = append(t.Columns, columns[i].head)
		}
	}
	t.Columns = append(t.Columns, timeColumns...)
	for i, r := range c.Runs {
		row := compareTableRow{
			First:   i == 0 || c.Runs[i-1].Server != r.Server,
			Server:  r.Server,
			Guessed: len(r.Guesses) > 0,
			Client:  r.Client,
			Holds:   r.holds(),
			Cells:   r.cells(columns),
		}
		if r.ListenError != "" {
			row.Holds = r.ListenError
		}
		if !row.First {
			above := &t.Rows[len(t.Rows)-1]
			if slices.Equal(above.Cells, row.Cells) && above.Guessed == row.Guessed {
				above.Client += ", " + row.Client
				continue
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// cells are the row of a run.
func (r *compareRun) cells(columns []compareColumn) []string {
	var cells []string
	for _, col := range columns {
		cell := none
		if n := col.of(r); n > 0 {
			cell = fmt.Sprint(n)
		}
		if col.shown {
			cells = append(cells, cell)
		}
	}
	for _, times := range []*compareTimes{r.Connect, r.Reply} {
		if times == nil {
			cells = append(cells, none, none)
			continue
		}
		cells = append(cells, fmt.Sprintf("%.2f s", times.Median), fmt.Sprintf("%.2f s", times.Worst))
	}
	return cells
}

// connectedAfter counts the clients that connected after n SYN retransmissions;
// the last column takes those with more.
func (r *compareRun) connectedAfter(n int) int {
	total := 0
	for i, clients := range r.Connected {
		if min(i, manyRetransmissions) == n {
			total += clients
		}
	}
	return total
}

func (t *compareTable) write(b *strings.Builder) {
	rows := newTable("  SERVER\tHOLDS\tCLIENTS\t" + strings.ToUpper(strings.Join(t.Columns, "\t")))
	for _, r := range t.Rows {
		server, holds := r.Server, r.Holds
		switch {
		case !r.First:
			server, holds = "", ""
		case r.Guessed:
			server += " ?"
		}
		rows.add("  %s\t%s\t%s\t%s", server, holds, r.Client, strings.Join(r.Cells, "\t"))
	}
	rows.write(b)
	b.WriteString("\n  HOLDS: what fits the accept queue, for new clients .. for those whose handshake is under way; or the error of listen(2)\n" +
		"  +n: connected after n more SYNs; times are the median and the worst\n")
}

// holds is what fits the accept queue: for SYNs, and where that is more for
// handshakes that are under way already.
func (r *compareRun) holds() string {
	if r.AcceptFull != r.AcceptCapacity {
		return capacity(r.AcceptFull) + ".." + capacity(r.AcceptCapacity)
	}
	return capacity(r.AcceptCapacity)
}

// capacity is how much fits a queue.
func capacity(n int) string {
	if n < 0 {
		return "any"
	}
	return fmt.Sprint(n)
}
