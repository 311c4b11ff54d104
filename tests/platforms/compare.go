package platforms

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Difference is a command that two devices followed differently.
type Difference struct {
	Script string
	Line   int
	Text   string // of the command
	Queue  string // what listenq did
	Other  string // what the other one did
}

func (d Difference) String() string {
	return fmt.Sprintf("%s:%d: listenq: %sthe other: %s", d.Script, d.Line, d.Queue, d.Other)
}

// Compare plays a script on listenq under a profile and on another device, and
// returns where they differ. Times may differ by tolerance. What the other sends
// on a connection that listenq has handed over, except for RST, is not listenq's
// matter.
func Compare(s Script, p *listenq.Profile, other Device, tolerance time.Duration) ([]Difference, error) {
	q := NewQueue(p)
	ours, err := Play(s, q)
	if err != nil {
		return nil, fmt.Errorf("listenq: %w", err)
	}
	theirs, err := Play(s, other)
	if err != nil {
		return nil, err
	}
	var all []Difference
	for i, our := range ours {
		their := theirs[i]
		if !same(our, their, tolerance) {
			all = append(all, Difference{Script: s.Name, Line: our.Line, Text: our.Text, Queue: our.String(), Other: their.String()})
		}
	}
	return all, nil
}

// same compares the return values and the answers.
func same(our, their Step, tolerance time.Duration) bool {
	if our.Said != their.Said {
		return false
	}
	var theirs []Answer
	for _, a := range their.Answers {
		if strings.HasPrefix(a.What, "RST") || strings.HasPrefix(a.What, "SYN") || !slices.Contains(our.established, a.Client) {
			theirs = append(theirs, a)
		}
	}
	if len(our.Answers) != len(theirs) {
		return false
	}
	for i, a := range our.Answers {
		b := theirs[i]
		if a.Client != b.Client || a.What != b.What || (a.At-b.At).Abs() > tolerance {
			return false
		}
	}
	return true
}

// A Divergence is a difference that is known and has a reason.
type Divergence struct {
	Device, Script string
	Line           int
	Reason         string
}

// LoadDivergences reads a file with lines of device, script:line and reason; #
// begins a comment line.
func LoadDivergences(path string) ([]Divergence, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Divergence
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		device, rest, _ := strings.Cut(line, " ")
		place, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		script, number, _ := strings.Cut(place, ":")
		n, err := strconv.Atoi(number)
		if err != nil || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d: need device, script:line and reason", path, i+1)
		}
		all = append(all, Divergence{Device: device, Script: script, Line: n, Reason: strings.TrimSpace(reason)})
	}
	return all, nil
}

// Unexplained returns the differences of a script on a device that have no
// reason, and the reasons that explain nothing any more.
func Unexplained(device, script string, found []Difference, known []Divergence) (unexplained []Difference, idle []Divergence) {
	used := map[int]bool{}
	for _, d := range found {
		i := slices.IndexFunc(known, func(k Divergence) bool {
			return k.Device == device && k.Script == d.Script && k.Line == d.Line
		})
		if i < 0 {
			unexplained = append(unexplained, d)
		}
		used[i] = true
	}
	for i, k := range known {
		if k.Device == device && k.Script == script && !used[i] {
			idle = append(idle, k)
		}
	}
	return unexplained, idle
}
