package oracle

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A Divergence is a difference that is known and has a reason.
type Divergence struct {
	Scenario string
	Step     int
	Field    string
	Reason   string
}

// LoadDivergences reads a divergence file: lines of scenario, step, field and
// reason; # begins a comment line.
func LoadDivergences(path string) ([]Divergence, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseDivergences(path, string(data))
}

func parseDivergences(path, text string) ([]Divergence, error) {
	var all []Divergence
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return nil, fmt.Errorf("%s:%d: need scenario, step, field and reason", path, number)
		}
		step, err := strconv.Atoi(fields[1])
		if err != nil || step < 1 {
			return nil, fmt.Errorf("%s:%d: %q is no step", path, number, fields[1])
		}
		all = append(all, Divergence{
			Scenario: fields[0],
			Step:     step,
			Field:    fields[2],
			Reason:   strings.Join(fields[3:], " "),
		})
	}
	return all, nil
}

// Explained splits differences of a scenario into those that no divergence
// explains and divergences that explain nothing any more.
func Explained(id string, found []Difference, known []Divergence) (unexplained []Difference, idle []Divergence) {
	used := make([]bool, len(known))
	for _, d := range found {
		explained := false
		for i, k := range known {
			if k.Scenario == id && k.Step == d.Step && k.Field == d.Field {
				used[i], explained = true, true
			}
		}
		if !explained {
			unexplained = append(unexplained, d)
		}
	}
	for i, k := range known {
		if k.Scenario == id && !used[i] {
			idle = append(idle, k)
		}
	}
	return unexplained, idle
}
