//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ulisten/ulisten/tests/netlab"
)

type flags struct {
	Only        []string `help:"Measurements whose name begins with one of these, separated by commas. Default: all. Known: ${measurements}."`
	Contestants []string `help:"Who takes part, separated by commas. Known: ${contestants}." default:"${default_contestants}"`
	Against     string   `help:"A revision of this repository that takes part as ulisten@REVISION, built from source." placeholder:"REVISION"`
	Seconds     float64  `help:"How long each bulk, connection and echo trial measures, in seconds." default:"0.7"`
	Rounds      int      `help:"How often each trial is repeated." default:"3"`
	JSON        bool     `help:"Print JSON instead of tables."`
	CPUProfile  string   `name:"cpuprofile" help:"Directory for CPU profiles of the server processes, one for each contestant and measurement (of the last round)." type:"existingdir"`
}

func main() {
	if handled, code := playRole(); handled {
		os.Exit(code)
	}
	var f flags
	kong.Parse(&f,
		kong.Name("bench"),
		kong.Description("Compare TCP stacks on this machine, e.g. bench --only bulk,conn --rounds 5."),
		kong.Vars{
			"measurements":        strings.Join(names(measurements), ", "),
			"contestants":         strings.Join(names(contestants), ", "),
			"default_contestants": strings.Join(defaultContestants, ","),
		})
	os.Exit(bench(f))
}

// bench returns the exit code.
func bench(f flags) int {
	if f.Against != "" && os.Getenv(againstEnv) == "" {
		program, remove, err := buildRevision(f.Against)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 2
		}
		defer remove()
		os.Setenv(againstEnv, program)
	}
	if code, done := netlab.Enter(); done {
		return code
	}
	if err := run(f); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// named is what can be chosen on the command line.
type named interface{ label() string }

func names[T named](all []T) []string {
	var out []string
	for _, n := range all {
		out = append(out, n.label())
	}
	return out
}

func run(f flags) error {
	if f.Rounds < 1 || f.Seconds <= 0 {
		return fmt.Errorf("--rounds %d, --seconds %v: both must be positive", f.Rounds, f.Seconds)
	}
	if err := netlab.TUNMissing(); err != nil {
		return err
	}
	who, err := chooseContestants(f.Contestants)
	if err != nil {
		return err
	}
	if f.Against != "" {
		who = append(who, against(f.Against, os.Getenv(againstEnv)))
	}
	what, err := chooseMeasurements(f.Only)
	if err != nil {
		return err
	}
	setup := trialSetup{
		seconds:    time.Duration(f.Seconds * float64(time.Second)),
		floodSize:  100_000,
		fetchSize:  fetchSize,
		profileDir: f.CPUProfile,
	}
	results := newResults()
	progress := newProgress(os.Stderr)
	others := watchOthers()
	for _, m := range what {
		for round := range f.Rounds {
			// Take turns, and let a different one begin each time.
			for i := range who {
				c := who[(i+round)%len(who)]
				progress.show("%s, round %d of %d: %s", m.name, round+1, f.Rounds, c.name)
				values, err := trial(m, c, round, setup)
				if err != nil && c.program != "" { // it may not know the measurement yet
					results.miss(m, c, err)
					continue
				}
				if err != nil {
					return fmt.Errorf("%s, %s: %w", m.name, c.name, err)
				}
				results.add(m, c, round, values)
			}
		}
	}
	progress.clear()
	facts := machineFacts()
	facts.OthersUsed = others.cores()
	report := results.report(facts, who)
	if f.JSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	return report.print(os.Stdout)
}

func chooseContestants(wanted []string) ([]contestant, error) {
	var who []contestant
	for _, w := range wanted {
		i := slices.IndexFunc(contestants, func(c contestant) bool { return c.name == w })
		if i < 0 {
			return nil, fmt.Errorf("no contestant %q; known: %s", w, strings.Join(names(contestants), ", "))
		}
		who = append(who, contestants[i])
	}
	return who, nil
}

func chooseMeasurements(prefixes []string) ([]measurement, error) {
	if len(prefixes) == 0 {
		return measurements, nil
	}
	for _, p := range prefixes {
		known := func(m measurement) bool { return strings.HasPrefix(m.name, p) }
		if !slices.ContainsFunc(measurements, known) {
			return nil, fmt.Errorf("no measurement %q; known: %s", p, strings.Join(names(measurements), ", "))
		}
	}
	var what []measurement
	for _, m := range measurements {
		wanted := func(p string) bool { return strings.HasPrefix(m.name, p) }
		if slices.ContainsFunc(prefixes, wanted) {
			what = append(what, m)
		}
	}
	return what, nil
}
