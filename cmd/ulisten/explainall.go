package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/profile"
)

// explainMatrix is what `ulisten explain --all` prints.
type explainMatrix struct {
	Backlog   int           `json:"backlog"`
	Platforms []profile.Row `json:"platforms"`
}

// all prints one row for each platform, and one for the profile that was asked
// for if it is none of them.
func (e *explainCmd) all(c *console) error {
	switch {
	case e.Policy != nil:
		return usagef("--policy changes one platform: leave --all out")
	case e.Syncookies != nil:
		return usagef("--syncookies changes one platform: leave --all out")
	}
	maximum := -1
	if e.Somaxconn != nil {
		maximum = *e.Somaxconn
	}
	profiles := listenq.Profiles()
	own := e.Profile.Profile
	if !slices.ContainsFunc(profiles, func(p *listenq.Profile) bool { return p.Name == own.Name }) {
		profiles = append(profiles, own)
	}
	m := explainMatrix{Backlog: int(*e.Backlog)}
	for _, p := range profiles {
		movable := maximum
		if p.Backlog.Setting == "" {
			movable = -1
		}
		m.Platforms = append(m.Platforms, profile.RowFor(p, m.Backlog, movable))
	}
	if e.JSON {
		return printJSON(c, m)
	}
	var b strings.Builder
	m.write(&b)
	_, err := c.out.Write([]byte(b.String()))
	return err
}

func (m *explainMatrix) write(b *strings.Builder) {
	fmt.Fprintf(b, "listen(fd, %d), and nobody calls accept()\n\n", m.Backlog)
	rows := newTable("PROFILE\tLIMIT\tIN TURN\tAT ONCE\tSYN\tACK\tHOLDS\tA SYN\tAGAIN AT\tEND")
	for _, r := range m.Platforms {
		cells := []string{r.Profile}
		for _, c := range []profile.Cell{r.Limit, r.InTurn, r.AtOnce, r.SYN, r.ACK, r.Requests, r.NoRequest, r.Again, r.End} {
			cells = append(cells, c.Mark())
		}
		rows.add("%s", strings.Join(cells, "\t"))
	}
	var table strings.Builder
	rows.write(&table)
	header, _, _ := strings.Cut(table.String(), "\n")
	above := ""
	for _, group := range []struct{ over, name string }{
		{"IN TURN", "ACCEPT QUEUE"}, {" SYN ", " WHEN FULL"}, {"HOLDS", "SYN QUEUE"}, {"A SYN", "WHEN FULL"}, {"AGAIN AT", "SYN-ACK, SECONDS"},
	} {
		above += strings.Repeat(" ", strings.Index(header, group.over)-len(above)) + group.name
	}
	fmt.Fprintf(b, "%s\n%s", above, table.String())
	b.WriteString(`
in turn: one handshake after the other; at once: all SYNs before the first ACK
when full: what a SYN or a final ACK gets; at times: ignored if more than one request is young
shared: requests take places of the accept queue; all: one SYN queue for all listeners
no mark: measured, or read in the source    ~ documented by the vendor    ? not verified
`)
}
