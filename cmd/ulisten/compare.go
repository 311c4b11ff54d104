package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/profile"
	"github.com/ulisten/ulisten/listenq/sim"
)

// compareCmd is `ulisten compare`.
type compareCmd struct {
	Clients     int           `default:"12" help:"How many clients connect (12)."`
	Backlog     backlogFlag   `default:"2" placeholder:"N" help:"The number handed to listen(2) (2)."`
	Arrival     sim.Arrival   `default:"uniform=600ms" placeholder:"PATTERN" help:"When they connect: burst, burst=SIZE/PERIOD, uniform=PERIOD or poisson=PER-SECOND (uniform=600ms)."`
	Silent      float64       `placeholder:"SHARE" help:"Share of clients, 0 to 1, that send one SYN and nothing more: a flood."`
	Patience    time.Duration `placeholder:"DURATION" help:"How long a client waits for its reply before it gives up; 0 is for ever."`
	RTT         time.Duration `name:"rtt" default:"20ms" help:"Round trip time (20ms)."`
	Jitter      time.Duration `placeholder:"DURATION" help:"How much slower a segment may be."`
	Loss        float64       `placeholder:"SHARE" help:"Share of segments, 0 to 1, that are lost."`
	AcceptStart time.Duration `placeholder:"DURATION" help:"When the application calls accept for the first time."`
	AcceptEvery time.Duration `default:"700ms" help:"How long the application is busy after each accept (700ms)."`
	AcceptBatch int           `default:"1" help:"How many connections it accepts at a time (1)."`
	Server      []string      `default:"all" placeholder:"PROFILE" help:"Platforms of the server, names or files, or all (all)."`
	Client      []string      `default:"linux-6,windows" placeholder:"PROFILE" help:"Platforms of the clients, names or files, or all (linux-6,windows)."`
	Seed        uint64        `default:"1" help:"Where chance comes from (1)."`
	Duration    time.Duration `default:"5m" help:"The longest simulated time (5m)."`
	JSON        bool          `name:"json" help:"Print JSON, with every client and every change of depth."`
	Report      string        `placeholder:"FILE" help:"Also write a page with a picture of every run (HTML)."`
	SVG         string        `name:"svg" placeholder:"FILE" help:"Also write the picture of a run, or into a directory those of all."`
	Live        bool          `help:"Also play the burst with real sockets on this machine's kernel, in real time, and show the difference."`
}

// Example opens the help.
func (*compareCmd) Example() string {
	return `ulisten compare
ulisten compare --backlog 5 --arrival burst --server linux-6,windows,freebsd --client all
ulisten compare --clients 200 --backlog 16 --accept-every 50ms --report burst.html
ulisten compare --live`
}

// Help says what is played.
func (*compareCmd) Help() string {
	return "Each pair of a server's and a client's profile plays the same burst in virtual time: clients connect, send a request " +
		"and wait for the reply; the application accepts at its pace and replies at once. The same seed gives the same output, " +
		"byte for byte. It needs no privilege; --live makes a network namespace of its own."
}

// comparedClients bounds the clients of all runs together, which are kept until
// all is printed.
const comparedClients = 1_000_000

// Run plays all pairs and prints.
func (k *compareCmd) Run(c *console) error {
	servers, err := serverProfiles(k.Server)
	if err != nil {
		return usageError{err}
	}
	clients, err := clientProfiles(k.Client)
	if err != nil {
		return usageError{err}
	}
	if pairs := len(servers) * len(clients); k.Clients > comparedClients/pairs {
		return usagef("--clients %d under %d pairs of profiles: use at most %d, or fewer profiles", k.Clients, pairs, comparedClients/pairs)
	}
	pictures, err := k.pictures(servers, clients)
	if err != nil {
		return err
	}
	if k.Live {
		if err := k.checkLive(); err != nil {
			return err
		}
		if !inside() {
			return k.runInside()
		}
	}
	cmp := &comparison{Scenario: k.scenario()}
	slow := slowProgress{out: c.err, total: len(servers) * len(clients), start: time.Now()}
	for _, server := range servers {
		for _, platform := range clients {
			run, err := compareRunOf(k.sim(server, platform))
			if err != nil {
				return usagef("%s", strings.TrimPrefix(err.Error(), "sim: "))
			}
			cmp.Runs = append(cmp.Runs, run)
			slow.done(len(cmp.Runs))
		}
	}
	if k.Live {
		if cmp.Live, err = k.live(c); err != nil {
			return err
		}
	}
	if k.Report != "" {
		if err := writeFile(k.Report, cmp.writeHTML); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	for i, path := range pictures {
		if err := writeFile(path, cmp.Runs[i].writeSVG); err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
	}
	if k.JSON {
		enc := json.NewEncoder(c.out)
		enc.SetIndent("", "  ")
		return enc.Encode(cmp)
	}
	var b strings.Builder
	cmp.write(&b)
	_, err = io.WriteString(c.out, b.String())
	return err
}

// sim is the scenario under a pair of profiles.
func (k *compareCmd) sim(server *listenq.Profile, platform *client.Profile) sim.Scenario {
	return sim.Scenario{
		Server:      server,
		Backlog:     int(k.Backlog),
		Client:      platform,
		Clients:     k.Clients,
		Arrival:     k.Arrival,
		Silent:      k.Silent,
		Patience:    k.Patience,
		RTT:         k.RTT,
		Jitter:      k.Jitter,
		Loss:        k.Loss,
		AcceptStart: k.AcceptStart,
		AcceptEvery: k.AcceptEvery,
		AcceptBatch: k.AcceptBatch,
		Seed:        k.Seed,
		Duration:    k.Duration,
	}
}

// pictures returns the file for the picture of each run, in their order; none if
// no pictures are wanted.
func (k *compareCmd) pictures(servers []*listenq.Profile, clients []*client.Profile) ([]string, error) {
	if k.SVG == "" {
		return nil, nil
	}
	info, err := os.Stat(k.SVG)
	directory := err == nil && info.IsDir()
	if !directory && len(servers)*len(clients) == 1 {
		return []string{k.SVG}, nil
	}
	if !directory {
		return nil, usagef("--svg %s is not a directory and there are %d pictures: name a directory that exists, or one --server and one --client",
			k.SVG, len(servers)*len(clients))
	}
	var paths []string
	for _, s := range servers {
		for _, p := range clients {
			paths = append(paths, filepath.Join(k.SVG, s.Name+"_"+p.Name+".svg"))
		}
	}
	return paths, nil
}

// serverProfiles finds profiles by their names, or in files; "all" stands for all
// built-in ones.
func serverProfiles(names []string) ([]*listenq.Profile, error) {
	if slices.Equal(names, []string{"all"}) {
		return listenq.Profiles(), nil
	}
	return chosen(names, profile.Choose, func(p *listenq.Profile) string { return p.Name })
}

// clientProfiles is the same for clients.
func clientProfiles(names []string) ([]*client.Profile, error) {
	if slices.Equal(names, []string{"all"}) {
		return client.Profiles(), nil
	}
	return chosen(names, profile.ChooseClient, func(p *client.Profile) string { return p.Name })
}

// chosen finds each profile, no two with the same name.
func chosen[P any](choices []string, find func(string) (P, error), nameOf func(P) string) ([]P, error) {
	var found []P
	for _, choice := range choices {
		p, err := find(choice)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(found, func(q P) bool { return nameOf(q) == nameOf(p) }) {
			return nil, fmt.Errorf("profile %q is given twice: name it once", nameOf(p))
		}
		found = append(found, p)
	}
	if len(found) == 0 {
		return nil, errors.New("no profile is given: name one, or all")
	}
	return found, nil
}

// writeFile writes a file as a whole or reports why not.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err // it names operation and path
	}
	err = write(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// slowProgress says from time to time how far a long comparison has come.
type slowProgress struct {
	out         io.Writer
	total       int
	start, said time.Time
}

func (p *slowProgress) done(n int) {
	const patience = 2 * time.Second
	if n < p.total && time.Since(p.start) > patience && time.Since(p.said) > patience {
		p.said = time.Now()
		fmt.Fprintf(p.out, "%d of %d runs done\n", n, p.total)
	}
}
