//go:build linux

package syscalls

import "fmt"

// A Difference is something that two sides see differently at one step.
type Difference struct {
	Index  int // of the step
	Before Script
	Step   Step
	// Field is result, or ready and the kind of the descriptor.
	Field string
	// Name is the descriptor, if Field is its readiness.
	Name string
	// Kernel and Ours are what the two sides saw.
	Kernel, Ours string
}

func (d Difference) String() string {
	return fmt.Sprintf("step %d: %s: %s %s: kernel %s, ours %s", d.Index+1, d.Step, d.Field, d.Name, d.Kernel, d.Ours)
}

// Compare returns the differences of what two sides saw of a script.
func Compare(script Script, kernel, ours []Observed) []Difference {
	var all []Difference
	for i, s := range script {
		k, o := kernel[i], ours[i]
		if k.Result != o.Result {
			all = append(all, Difference{i, script[:i], s, "result", "", k.Result, o.Result})
		}
		for j := range max(len(k.Ready), len(o.Ready)) {
			missing := Readiness{Name: "nothing", Kind: "nothing", Events: "no descriptor"}
			a, b := missing, missing
			if j < len(k.Ready) {
				a = k.Ready[j]
			}
			if j < len(o.Ready) {
				b = o.Ready[j]
			}
			if a != b {
				all = append(all, Difference{i, script[:i], s, "ready " + a.Kind, a.Name, a.Events, b.Events})
			}
		}
	}
	return all
}
