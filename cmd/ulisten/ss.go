package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ulisten/ulisten/stack"
)

// ssCmd is `ulisten ss`.
type ssCmd struct {
	controlFlag
	Extended bool          `short:"e" help:"Show the counters that have ticked, and what was dropped."`
	Netstat  bool          `help:"Look like netstat -ntpl."`
	Watch    bool          `help:"Print again and again until interrupted."`
	Interval time.Duration `default:"1s" help:"How long --watch waits (1s)."`
	JSON     bool          `name:"json" help:"Print JSON, one line each time."`
}

// Example opens the help.
func (*ssCmd) Example() string {
	return `ulisten ss
ulisten ss --extended --watch --interval 200ms
ulisten ss --json | jq '.listeners[] | {address, accept_queue, limit}'`
}

// Help explains the columns.
func (*ssCmd) Help() string {
	return "As in ss -ltn, Recv-Q is the number of connections that wait for accept and Send-Q the limit; " +
		"on Linux the queue is full when it is longer, so Recv-Q can be Send-Q + 1. SynQ is the number of half-open requests. " +
		"Profile is the platform whose rules hold, Policy what replaces some of them: drop replaces none."
}

// Run prints once, or until a signal comes.
func (s *ssCmd) Run(c *console) error {
	if s.Interval < 10*time.Millisecond {
		return usagef("--interval %v is too short: use 10ms or more", s.Interval)
	}
	if !s.Watch {
		return s.print(c.out)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	tick := time.NewTicker(s.Interval)
	defer tick.Stop()
	for first := true; ; first = false {
		if !first && !s.JSON {
			fmt.Fprintln(c.out)
		}
		if err := s.print(c.out); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-signals:
			return nil
		}
	}
}

func (s *ssCmd) print(w io.Writer) error {
	reply, err := s.ask(request{Op: "listeners"})
	if err != nil {
		return err
	}
	if s.JSON {
		return json.NewEncoder(w).Encode(struct {
			Device    string         `json:"device"`
			PID       int            `json:"pid"`
			Listeners []listenerInfo `json:"listeners"`
			Drops     stack.Drops    `json:"drops"`
		}{reply.Device, reply.PID, append([]listenerInfo{}, reply.Listeners...), reply.Drops})
	}
	var b strings.Builder
	if s.Netstat {
		netstat(&b, reply)
	} else {
		s.ss(&b, reply)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

func (s *ssCmd) ss(b *strings.Builder, reply response) {
	rows := newTable("State\tRecv-Q\tSend-Q\tLocal Address:Port\tSynQ\tProfile\tPolicy\tBacklog\tApp")
	for _, l := range reply.Listeners {
		rows.add("LISTEN\t%d\t%d\t%s\t%d\t%s\t%s\t%d\t%s",
			l.AcceptQueue, l.Limit, l.Address, l.SYNQueue, l.Profile, l.Policy, l.Backlog, l.App)
		if s.Extended {
			var ticked []string
			for _, t := range l.Ticked() {
				ticked = append(ticked, fmt.Sprintf("%s:%d", t.Name, t.Value))
			}
			if len(ticked) > 0 {
				rows.below("        " + strings.Join(ticked, " "))
			}
		}
	}
	rows.write(b)
	if s.Extended {
		var ticked []string
		reply.Drops.Each(func(name string, value uint64) {
			if value > 0 {
				ticked = append(ticked, fmt.Sprintf("%s:%d", name, value))
			}
		})
		if len(ticked) > 0 {
			fmt.Fprintln(b, "Dropped", strings.Join(ticked, " "))
		}
	}
}

func netstat(b *strings.Builder, reply response) {
	rows := newTable("Proto\tRecv-Q\tSend-Q\tLocal Address\tForeign Address\tState\tPID/Program name")
	for _, l := range reply.Listeners {
		proto, local, foreign := "tcp", l.Address, "0.0.0.0:*"
		if port, ok := strings.CutPrefix(local, "*:"); ok {
			local = ":::" + port
		}
		if strings.Contains(local, "[") || strings.HasPrefix(local, ":::") {
			proto, foreign = "tcp6", ":::*"
			local = strings.NewReplacer("[", "", "]", "").Replace(local)
		}
		rows.add("%s\t%d\t%d\t%s\t%s\tLISTEN\t%d/ulisten", proto, l.AcceptQueue, l.Limit, local, foreign, reply.PID)
	}
	rows.write(b)
}

// table is text in columns, with lines of another shape in between.
type table struct {
	rows []string
	more map[int][]string // lines behind a row
}

func newTable(header string) *table {
	return &table{rows: []string{header}, more: map[int][]string{}}
}

func (t *table) add(format string, args ...any) {
	t.rows = append(t.rows, fmt.Sprintf(format, args...))
}

// below adds a line under the latest row.
func (t *table) below(line string) {
	t.more[len(t.rows)-1] = append(t.more[len(t.rows)-1], line)
}

func (t *table) write(b *strings.Builder) {
	var aligned strings.Builder
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		fmt.Fprintln(w, row)
	}
	w.Flush()
	i := 0
	for line := range strings.Lines(aligned.String()) {
		fmt.Fprintln(b, strings.TrimRight(line, " \n"))
		for _, below := range t.more[i] {
			fmt.Fprintln(b, strings.TrimRight(below, " "))
		}
		i++
	}
}
