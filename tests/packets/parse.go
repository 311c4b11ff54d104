//go:build linux

package packets

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Load reads a script from a file. Its name is that of the file without .pkt.
func Load(path string) (*Script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := Parse(filepath.Base(path), string(text))
	if err != nil {
		return nil, err
	}
	s.Name = strings.TrimSuffix(s.Name, ".pkt")
	return s, nil
}

// Parse reads a script. Errors begin with the name and the line and say what was
// expected there.
func Parse(name, text string) (*Script, error) {
	s := &Script{Name: name}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		p := &parser{scanner: scanner{rest: line}, script: s}
		e, found := p.event(len(s.Events) == 0)
		if p.err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, p.err)
		}
		if found {
			e.Line, e.Text = i+1, strings.TrimSpace(line)
			s.Events = append(s.Events, e)
		}
	}
	if len(s.Events) == 0 {
		return nil, fmt.Errorf("%s: there is no event in it", name)
	}
	return s, nil
}

// A parser reads a line of a script.
type parser struct {
	scanner
	script *Script
}

// only notes that the script has a word of one version of IP.
func (p *parser) only(version int, word string) {
	switch version {
	case 4:
		p.script.IPv4 = true
	case 6:
		p.script.IPv6 = true
	default:
		p.fail("there is no IPv%d here", version)
	}
	if p.script.IPv4 && p.script.IPv6 {
		p.fail("%s is of IPv%d only, and a line above has a word of the other version", word, version)
	}
}

// event reads an event; false means that the line has none. Before the first event
// there may be --ip_version=ipv4 or ipv6, and settings without a time.
func (p *parser) event(first bool) (e Event, found bool) {
	p.space()
	if p.rest == "" || strings.HasPrefix(p.rest, "//") {
		return e, false
	}
	if first && p.accept("--ip_version=ipv") {
		p.only(int(p.number(6)), "--ip_version")
		p.end()
		return e, false
	}
	if !first || p.rest[0] != '`' {
		e.At = p.moment()
	}
	p.space()
	switch {
	case p.accept("`"):
		e.Action = p.settings()
	case p.accept("%{"):
		e.Action = p.assertion()
	case p.accept("<"):
		e.Action = p.packet(true)
	case p.accept(">"):
		e.Action = p.packet(false)
	default:
		e.Action = p.call()
	}
	p.end()
	s, segment := e.Action.(*Segment)
	expected := segment && !s.In
	if e.At.From != e.At.To && !expected {
		p.fail("only an expected packet may have a range of times")
	}
	if c, ok := e.Action.(*Call); e.At.Waits && (!ok || !calls[c.Name].waits) {
		p.fail("only %s may wait", callNames(func(d callDef) bool { return d.waits }))
	}
	return e, true
}

// moment reads a time: 0, +.1, +.2~+.22, +0...1.1.
func (p *parser) moment() Moment {
	m := Moment{Relative: p.accept("+")}
	m.From = p.seconds()
	m.To = m.From
	switch {
	case p.accept("..."):
		m.Waits = true
		p.accept("+")
		m.End = p.seconds()
		if m.End < m.From {
			p.fail("the end of the call is before its beginning")
		}
	case p.accept("~"):
		if m.Relative {
			p.expect("+")
		}
		m.To = p.seconds()
		if m.To < m.From {
			p.fail("the range of times ends before it begins")
		}
	}
	return m
}

// settings reads commands up to the backtick.
func (p *parser) settings() Settings {
	set := Settings{}
	line := p.until("`")
	for command := range strings.SplitSeq(line, ";") {
		c := &scanner{rest: command, err: p.err}
		switch {
		case c.acceptWord("true"):
		case c.acceptWord("ip"):
			for _, word := range []string{"tcp_metrics", "flush", "all"} {
				if !c.acceptWord(word) {
					c.wants("ip tcp_metrics flush all")
				}
			}
			c.accept(">/dev/null")
			c.accept("2>&1")
		case c.acceptWord("sysctl"):
			c.expect("-q")
			for c.space(); c.rest != ""; c.space() {
				set = append(set, setting(c))
			}
		default:
			c.wants("sysctl, ip tcp_metrics flush all, or true")
		}
		c.end()
		if c.err != nil {
			p.fail("in %q: %w", strings.TrimSpace(command), c.err)
		}
	}
	return set
}

// setting reads NAME=VALUE, the value perhaps between quotes.
func setting(c *scanner) Setting {
	name := c.while(func(b byte) bool { return letter(b) || digit(b) || b == '.' || b == '/' })
	c.expect("=")
	var value string
	if c.accept(`"`) {
		value = c.until(`"`)
	} else {
		value = c.while(func(b byte) bool { return b != ' ' && b != '\t' })
	}
	if name == "" || value == "" {
		c.wants("NAME=VALUE")
	}
	return Setting{name, value}
}

// assertion reads comparisons up to }%.
func (p *parser) assertion() Assertion {
	text := p.until("}%")
	c := &scanner{rest: text, err: p.err}
	if !c.acceptWord("assert") {
		c.wants("assert")
	}
	a := Assertion{parseComparison(c)}
	for c.acceptWord("and") {
		a = append(a, parseComparison(c))
	}
	if c.accept(",") { // what packetdrill would print
		c.rest = ""
	}
	c.end()
	if c.err != nil {
		p.fail("%w", c.err)
	}
	return a
}

func parseComparison(c *scanner) comparison {
	var k comparison
	name := c.word()
	short, ok := strings.CutPrefix(name, "tcpi_")
	if ok && short != "" {
		k.field = strings.ToUpper(short[:1]) + short[1:]
	}
	if f, known := reflect.TypeFor[unix.TCPInfo]().FieldByName(k.field); !known || f.PkgPath != "" {
		c.fail("%q is no field of TCP_INFO", name)
	}
	for _, op := range operators {
		if c.accept(op) {
			k.op = op
			break
		}
	}
	if k.op == "" {
		c.wants("one of " + strings.Join(operators, " "))
	}
	k.value = c.number(1<<64 - 1)
	return k
}

// operators of comparisons; longer ones first.
var operators = []string{"==", "!=", "<=", ">=", "<", ">"}

// holds compares.
func (k comparison) holds(info *unix.TCPInfo) (got uint64, ok bool) {
	got = reflect.ValueOf(info).Elem().FieldByName(k.field).Uint()
	holding := [...]string{"< <= !=", "== <= >=", "> >= !="}[cmp.Compare(got, k.value)+1]
	return got, slices.Contains(strings.Fields(holding), k.op)
}
