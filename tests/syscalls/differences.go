//go:build linux

package syscalls

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// A Known is a difference that has a reason.
type Known struct {
	// ID names the entry, and the script in testdata/differences in which it must
	// occur.
	ID string
	// Step, Field, Kernel and Ours are patterns: all of a Difference must match.
	Step, Field, Kernel, Ours *regexp.Regexp
	// After, if not nil, must match somewhere in the steps before.
	After *regexp.Regexp
	// Reason says why it is so.
	Reason string
}

// LoadKnown reads a file of differences. Entries are separated by empty lines; #
// begins a comment line:
//
//	id
//	  step    connect .*
//	  field   result
//	  kernel  EINVAL
//	  ours    ok
//	  after   listen .*
//	  reason that may go on
//	  in further lines
func LoadKnown(path string) ([]Known, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseKnown(path, string(text))
}

func parseKnown(path, text string) ([]Known, error) {
	var all []Known
	number := 0
	for line := range strings.Lines(text) {
		number++
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "#"), trimmed == "":
			continue
		case line[0] != ' ':
			if slices.ContainsFunc(all, func(k Known) bool { return k.ID == trimmed }) {
				return nil, fmt.Errorf("%s:%d: a second %s", path, number, trimmed)
			}
			all = append(all, Known{ID: trimmed})
			continue
		case len(all) == 0:
			return nil, fmt.Errorf("%s:%d: belongs to no entry", path, number)
		}
		k := &all[len(all)-1]
		patterns := map[string]**regexp.Regexp{"step": &k.Step, "field": &k.Field, "kernel": &k.Kernel, "ours": &k.Ours, "after": &k.After}
		key, rest, _ := strings.Cut(trimmed, " ")
		into, ok := patterns[key]
		if !ok || *into != nil {
			k.Reason = strings.TrimSpace(k.Reason + " " + trimmed)
			continue
		}
		pattern, err := regexp.Compile("^(?:" + strings.TrimSpace(rest) + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		*into = pattern
	}
	for _, k := range all {
		if k.Step == nil || k.Field == nil || k.Kernel == nil || k.Ours == nil || k.Reason == "" {
			return nil, fmt.Errorf("%s: %s: need step, field, kernel, ours and a reason", path, k.ID)
		}
	}
	return all, nil
}

// explains reports whether the entry is about a difference.
func (k *Known) explains(d Difference) bool {
	return k.Step.MatchString(d.Step.String()) && k.Field.MatchString(d.Field) &&
		k.Kernel.MatchString(d.Kernel) && k.Ours.MatchString(d.Ours) &&
		(k.After == nil || slices.ContainsFunc(d.Before, func(s Step) bool { return k.After.MatchString(s.String()) }))
}

// Unexplained returns the first difference, and true if no entry explains it. What
// comes after it counts no more: the two sides are not in the same state.
func Unexplained(found []Difference, known []Known) (Difference, bool) {
	if len(found) == 0 {
		return Difference{}, false
	}
	first := found[0]
	return first, !slices.ContainsFunc(known, func(k Known) bool { return k.explains(first) })
}
