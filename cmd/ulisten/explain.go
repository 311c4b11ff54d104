package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/profile"
)

// explainCmd is `ulisten explain`.
type explainCmd struct {
	Backlog    *backlogFlag      `placeholder:"N" help:"The number handed to listen(2)."`
	Profile    profileFlag       `default:"linux-6" placeholder:"NAME|FILE" help:"The platform, or a profile file (linux-6)."`
	All        bool              `xor:"what" help:"Compare all platforms, one a row."`
	YAML       bool              `name:"yaml" xor:"what" help:"Print the profile as a file, to start one's own from."`
	Somaxconn  *int              `placeholder:"N" help:"The platform's maximum: net.core.somaxconn, kern.ipc.soacceptqueue ..."`
	Policy     *listenq.Overflow `placeholder:"NAME" help:"Overflow policy in place of the platform's: drop, reset, abort or reset+abort."`
	Syncookies *int              `placeholder:"N" help:"net.ipv4.tcp_syncookies and its like: 0, 1 or 2."`
	JSON       bool              `name:"json" help:"Print JSON."`
}

// Example opens the help.
func (*explainCmd) Example() string {
	return `ulisten explain --backlog 2
ulisten explain --all --backlog 65535
ulisten explain --profile freebsd --backlog=-1
ulisten explain --profile freebsd --yaml > mine.yaml
ulisten explain --profile mine.yaml --backlog 2`
}

// backlogFlag is a C int.
type backlogFlag int

// UnmarshalText reads the int of listen(2).
func (b *backlogFlag) UnmarshalText(text []byte) error {
	n, err := parseBacklog(string(text))
	*b = backlogFlag(n)
	return err
}

// Run computes and prints.
func (e *explainCmd) Run(c *console) error {
	if e.YAML {
		_, err := c.out.Write(profile.Marshal(e.Profile.Profile))
		return err
	}
	if e.Backlog == nil {
		return usagef("--backlog is missing: the number handed to listen(2), as in --backlog 128")
	}
	if e.Somaxconn != nil && (*e.Somaxconn < 0 || *e.Somaxconn > math.MaxInt32) {
		return usagef("--somaxconn %d: use a whole number from 0 to %d", *e.Somaxconn, math.MaxInt32)
	}
	if e.All {
		return e.all(c)
	}
	x, err := e.explain()
	if err != nil {
		return err
	}
	if e.JSON {
		return printJSON(c, x)
	}
	var b strings.Builder
	x.write(&b)
	_, err = c.out.Write([]byte(b.String()))
	return err
}

func printJSON(c *console, value any) error {
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// settings are the flags on top of the profile's own settings. A flag that moves
// nothing on the platform is a mistake.
func (e *explainCmd) settings() (listenq.Sysctls, error) {
	p := e.Profile.Profile
	s := p.Sysctls()
	if e.Somaxconn != nil {
		if p.Backlog.Setting == "" {
			return s, usagef("--somaxconn: nothing moves the maximum of %s, %d", p.Name, p.Backlog.Maximum)
		}
		s.Somaxconn = *e.Somaxconn
	}
	if e.Syncookies != nil {
		if *e.Syncookies < 0 || *e.Syncookies > 2 {
			return s, usagef("--syncookies %d: use 0, 1 or 2", *e.Syncookies)
		}
		if p.Cookies.Setting == "" {
			return s, usagef("--syncookies: nothing moves the cookies of %s, which are sent: %v", p.Name, p.Cookies.Use)
		}
		s.Syncookies = *e.Syncookies
	}
	return s, nil
}

// explanation is what explain prints.
type explanation struct {
	Profile string `json:"profile"`
	Title   string `json:"title"`
	Backlog int    `json:"backlog"`
	// Refused is the error of listen. Without one the rest is set.
	Refused    string            `json:"refused,omitempty"`
	Maximum    int               `json:"maximum"`
	Policy     *listenq.Overflow `json:"policy,omitempty"`
	Syncookies int               `json:"syncookies"`
	Limit      int               `json:"limit"`
	// SYNQueue and AcceptQueue are how much fits, -1 stands for no limit.
	SYNQueue    int           `json:"syn_queue_capacity"`
	AcceptQueue int           `json:"accept_queue_capacity"`
	Steps       []explainStep `json:"steps"`
	// ShownWith is the limit that the table was made with.
	ShownWith int          `json:"shown_with_limit"`
	States    []string     `json:"states"`
	Table     []explainRow `json:"table"`

	setting string // what moves the maximum
	cookies string // what moves the cookies
}

// explainStep is one step from the backlog to the queues.
type explainStep struct {
	Value int    `json:"value"`
	What  string `json:"what"`
	// Field is the rule in the profile, and Verified and Source how it is known.
	Field    string           `json:"field,omitempty"`
	Verified listenq.Verified `json:"verified"`
	Source   string           `json:"source,omitempty"`
	Note     string           `json:"note,omitempty"`
}

func (e *explainCmd) explain() (*explanation, error) {
	p := e.Profile.Profile
	settings, err := e.settings()
	if err != nil {
		return nil, err
	}
	n := int(*e.Backlog)
	x := &explanation{
		Profile: p.Name, Title: p.Title, Backlog: n, Policy: e.Policy,
		Maximum: settings.Somaxconn, Syncookies: settings.Syncookies,
		setting: p.Backlog.Setting, cookies: p.Cookies.Setting,
	}
	for _, s := range p.Steps(n, settings.Somaxconn) {
		c := p.Citations[s.Field]
		x.Steps = append(x.Steps, explainStep{s.Value, s.What, s.Field, c.Verified, c.Source, c.Note})
	}
	var policy listenq.Overflow
	if e.Policy != nil {
		policy = *e.Policy
	}
	l, err := listenq.New(listenq.Config{Profile: p, Backlog: n, Sysctls: &settings, Overflow: policy})
	if err != nil {
		x.Refused = err.Error()
		return x, nil
	}
	x.Limit, x.SYNQueue, x.AcceptQueue = l.Limit(), l.SYNCapacity(), l.AcceptCapacity()
	x.ShownWith = min(x.Limit, standIn)
	lab := newExplainLab(p, settings, policy, x.ShownWith)
	for _, s := range lab.states {
		x.States = append(x.States, s.name)
	}
	for _, packet := range explainPackets {
		row := explainRow{Packet: packet.name}
		for _, s := range lab.states {
			row.Gets = append(row.Gets, lab.try(s, packet))
		}
		x.Table = append(x.Table, row)
	}
	return x, nil
}

func (x *explanation) write(b *strings.Builder) {
	fmt.Fprintf(b, "listen(fd, %d) on %s, profile %s", x.Backlog, x.Title, x.Profile)
	if x.setting != "" {
		fmt.Fprintf(b, ", %s %d", x.setting, x.Maximum)
	}
	b.WriteString("\n\n")
	x.writeSteps(b)
	if x.Refused != "" {
		fmt.Fprintf(b, "\n%s\n", x.Refused)
		return
	}
	b.WriteByte('\n')
	var settings []string
	if x.Policy != nil {
		settings = append(settings, fmt.Sprintf("policy %v", x.Policy))
	}
	if x.cookies != "" {
		settings = append(settings, fmt.Sprintf("%s %d", x.cookies, x.Syncookies))
	}
	if x.ShownWith != x.Limit {
		settings = append(settings, fmt.Sprintf("tried on a listener with limit %d in place of %d", x.ShownWith, x.Limit))
	}
	if len(settings) > 0 {
		fmt.Fprintf(b, "%s\n\n", strings.Join(settings, "; "))
	}
	x.writeTable(b)
}

// writeSteps prints each step with its source below it.
func (x *explanation) writeSteps(b *strings.Builder) {
	var values []string
	width := 0
	for _, s := range x.Steps {
		value := strconv.Itoa(s.Value)
		if s.Value < 0 && strings.Contains(s.Field, "queue") {
			value = "no limit"
		}
		values = append(values, value)
		width = max(width, len(value), len("VALUE"))
	}
	steps := newTable("  VALUE\tMEANING\tRULE\tKNOWN")
	for i, s := range x.Steps {
		known := ""
		if s.Field != "" {
			known = s.Verified.String()
		}
		steps.add("  %s\t%s\t%s\t%s", values[i], s.What, s.Field, known)
		if s.Source != "" {
			steps.below(strings.Repeat(" ", width+4) + s.Source)
		}
	}
	steps.write(b)
}
