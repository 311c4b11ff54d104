package platforms

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Script is a list of commands.
type Script struct {
	Name     string
	Claim    string // what it shows
	Commands []Command
}

// A Command is one line of a script.
type Command struct {
	Line int
	Text string
	verb string
	// clients, number, wait and segment are the arguments, as the verb has them.
	clients []string
	number  int
	wait    time.Duration
	segment listenq.Segment // Seq and Ack are relative
	icmp    listenq.ICMPError
}

// LoadScripts reads all scripts of a directory, in the order of their names.
func LoadScripts(dir string) ([]Script, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var scripts []Script
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := ParseScript(strings.TrimSuffix(filepath.Base(path), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, s)
	}
	return scripts, nil
}

// ParseScript reads a script. Lines that begin with # before the first command
// are its claim; an error names script and line.
func ParseScript(name, text string) (Script, error) {
	s := Script{Name: name}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		comment, isComment := strings.CutPrefix(line, "#")
		switch {
		case line == "":
		case isComment && len(s.Commands) == 0:
			s.Claim = strings.TrimSpace(s.Claim + " " + strings.TrimSpace(comment))
		case isComment:
		default:
			c := Command{Line: i + 1, Text: line}
			if err := c.parse(strings.Fields(line)); err != nil {
				return s, fmt.Errorf("%s:%d: %s: %w", name, c.Line, line, err)
			}
			s.Commands = append(s.Commands, c)
		}
	}
	if s.Claim == "" {
		return s, fmt.Errorf("%s: no claim: open the script with a # line that says what it shows", name)
	}
	if len(s.Commands) == 0 || s.Commands[0].verb != "listen" {
		return s, fmt.Errorf("%s: the first command must be listen", name)
	}
	return s, nil
}

func (c *Command) parse(fields []string) (err error) {
	c.verb = fields[0]
	args := fields[1:]
	want := map[string]int{"listen": 1, "data": 2, "wait": 1, "accept": 0, "close": 0, "ack": 1, "fin": 1}
	if n, fixed := want[c.verb]; fixed && len(args) != n {
		return fmt.Errorf("need %d arguments", n)
	}
	switch c.verb {
	case "listen":
		c.number, err = strconv.Atoi(args[0])
		return err
	case "accept", "close":
		return nil
	case "wait":
		c.wait, err = time.ParseDuration(args[0])
		if err == nil && (c.wait <= 0 || c.wait > time.Hour) {
			err = fmt.Errorf("from 0 to 1h")
		}
		return err
	case "open", "syn":
		if len(args) == 0 {
			return fmt.Errorf("which client?")
		}
		c.clients = args
		return nil
	case "ack", "fin":
		c.clients = args
		return nil
	case "data":
		c.clients = args[:1]
		c.number, err = strconv.Atoi(args[1])
		return err
	case "send":
		return c.parseSegment(args)
	case "icmp":
		return c.parseICMP(args)
	}
	return fmt.Errorf("unknown command")
}

// parseICMP reads "a 3/1 seq=1"; the number is relative to the SYN-ACK's.
func (c *Command) parseICMP(args []string) error {
	var kinds listenq.ICMPKinds
	if len(args) < 2 || kinds.UnmarshalText([]byte(args[1])) != nil || len(kinds) != 1 || kinds[0].From != kinds[0].To {
		return fmt.Errorf("need a client, type and code, as in icmp a 3/1")
	}
	c.icmp.Type, c.icmp.Code = kinds[0].Type, kinds[0].From
	if err := c.parseSegment(append([]string{args[0], listenq.ACK.String()}, args[2:]...)); err != nil {
		return err
	}
	c.icmp.Seq = c.segment.Seq
	return nil
}

func (c *Command) parseSegment(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("need a client and flags")
	}
	c.clients = args[:1]
	all := []listenq.Flags{listenq.FIN, listenq.SYN, listenq.RST, listenq.PSH, listenq.ACK}
	for name := range strings.SplitSeq(args[1], "-") {
		i := slices.IndexFunc(all, func(f listenq.Flags) bool { return f.String() == name })
		if i < 0 {
			return fmt.Errorf("unknown flag %q", name)
		}
		c.segment.Flags |= all[i]
	}
	for _, arg := range args[2:] {
		name, value, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is no number", arg)
		}
		switch name {
		case "seq":
			c.segment.Seq = uint32(n)
		case "ack":
			c.segment.Ack = uint32(n)
		case "len":
			c.segment.Len = n
		default:
			return fmt.Errorf("%q: use seq, ack and len", name)
		}
	}
	return nil
}
