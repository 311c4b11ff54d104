//go:build linux

package syscalls

import (
	"fmt"
	"slices"
	"strings"
)

// A Step is one call of a script.
type Step struct {
	// Names are given to the descriptors that the call makes.
	Names []string
	// Call is the name of the call, and Args are its arguments as text.
	Call string
	Args []string
}

// step makes a step out of a line that is known to be well-formed.
func step(format string, a ...any) Step {
	s, err := parseStep(fmt.Sprintf(format, a...))
	if err != nil {
		panic(err)
	}
	return s
}

// String returns the line.
func (s Step) String() string {
	words := slices.Clone(s.Names)
	if len(words) > 0 {
		words = append(words, "=")
	}
	words = append(words, s.Call)
	return strings.Join(append(words, s.Args...), " ")
}

// A Script is a list of calls.
type Script []Step

// String returns the text of the script.
func (s Script) String() string {
	var b strings.Builder
	for _, step := range s {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

// ParseScript reads a script; name is what errors call it.
func ParseScript(name, text string) (Script, error) {
	var script Script
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		s, err := parseStep(line)
		if err == nil {
			err = script.accepts(s)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		script = append(script, s)
	}
	return script, nil
}

func parseStep(line string) (Step, error) {
	words := strings.Fields(line)
	var s Step
	if i := slices.Index(words, "="); i >= 0 {
		s.Names, words = words[:i], words[i+1:]
	}
	if len(words) == 0 {
		return Step{}, fmt.Errorf("no call in %q", line)
	}
	s.Call, s.Args = words[0], words[1:]
	return s, nil
}

// accepts reports whether a step may follow a script: its call is known and the
// descriptors that it names were made.
func (s Script) accepts(next Step) error {
	c, ok := calls[next.Call]
	if !ok {
		return fmt.Errorf("no call %q", next.Call)
	}
	if len(next.Names) != c.makes {
		return fmt.Errorf("%s makes %d descriptors, not %d", next.Call, c.makes, len(next.Names))
	}
	for _, name := range next.uses() {
		made := slices.ContainsFunc(s, func(earlier Step) bool { return slices.Contains(earlier.Names, name) })
		if !made {
			return fmt.Errorf("%s: nothing was named %q", next.Call, name)
		}
	}
	return nil
}

// uses returns the names of descriptors in the arguments of a step.
func (s Step) uses() []string {
	var names []string
	for _, word := range s.Args {
		if strings.HasPrefix(word, `"`) || strings.HasPrefix(word, "abstract:") {
			continue
		}
		for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return strings.ContainsRune("&=:,", r) }) {
			if isName(part) {
				names = append(names, part)
			}
		}
	}
	return names
}

// isName reports whether a word names a descriptor: a letter and a number, or a
// letter alone.
func isName(word string) bool {
	if word == "" || word[0] < 'a' || word[0] > 'z' || word[0] == 'p' {
		return false
	}
	return strings.Trim(word[1:], "0123456789") == ""
}

// without returns the script without the steps from i to j, and without those that
// need them.
func (s Script) without(i, j int) Script {
	var left Script
	for n, step := range s {
		if (n < i || n >= j) && left.accepts(step) == nil {
			left = append(left, step)
		}
	}
	return left
}
