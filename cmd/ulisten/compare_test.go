package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/sim"
	"github.com/ulisten/ulisten/tests/netlab"
)

// The files that compare writes, in testdata/compare. With
// ULISTEN_UPDATE_SCRIPTS=1 they are rewritten; look at them in a browser then.
func TestCompareFiles(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "compare")
	scenario := []string{"compare", "--clients", "5", "--backlog", "1", "--arrival", "burst=4/300ms", "--server", "linux-6,windows,freebsd"}
	written := func() map[string]string {
		dir := t.TempDir()
		page := filepath.Join(dir, "report.html")
		stdout, stderr, code := outcome(t, append(scenario, "--json", "--report", page, "--svg", dir)...)
		require.Zero(t, code, stderr)
		require.Empty(t, stderr)
		files := map[string]string{"report.json": stdout}
		for _, name := range []string{"report.html", "windows_linux-6.svg"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			files[name] = string(text)
		}
		return files
	}
	files := written()
	for range 4 {
		require.Equal(t, files, written(), "the same every time")
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(golden, name)
		if os.Getenv("ULISTEN_UPDATE_SCRIPTS") != "" {
			require.NoError(t, os.WriteFile(path, []byte(files[name]), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), files[name], "%s is out of date: run the test with ULISTEN_UPDATE_SCRIPTS=1", path)
	}
	requireWellFormed(t, files["windows_linux-6.svg"])
	require.NotRegexp(t, `https?://|<script|<link|@import|url\(`, files["report.html"], "the page needs nothing else")
	require.NotContains(t, files["report.html"], "ZgotmplZ", "the template trusts all values")
}

// requireWellFormed reads XML to its end.
func requireWellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

// Every picture can be drawn, whatever happened, and shows nothing outside of
// itself.
func TestPicturesOfEverything(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*sim.Scenario){
		func(*sim.Scenario) {},
		func(s *sim.Scenario) { s.Clients = 500; s.Arrival = sim.Poisson(200) },
		func(s *sim.Scenario) { s.Silent = 1 },
		func(s *sim.Scenario) { s.Loss = 1 },
		func(s *sim.Scenario) { s.Patience = 2 * time.Second; s.Loss = 0.3 },
		func(s *sim.Scenario) { s.AcceptStart = time.Hour },
		func(s *sim.Scenario) { s.Duration = time.Millisecond },
	} {
		for _, server := range listenq.Profiles() {
			s := sim.Scenario{
				Server: server, Client: client.Profiles()[0],
				Clients: 20, Backlog: 2, RTT: 20 * time.Millisecond, AcceptEvery: 300 * time.Millisecond, Duration: time.Minute,
			}
			change(&s)
			run, err := compareRunOf(s)
			require.NoError(t, err)
			var svg bytes.Buffer
			require.NoError(t, run.writeSVG(&svg))
			requireWellFormed(t, svg.String())
			require.NotContains(t, svg.String(), "NaN")
			require.NotContains(t, svg.String(), "ZgotmplZ")

			cmp := comparison{Runs: []*compareRun{run}}
			var text strings.Builder
			cmp.write(&text)
			require.NoError(t, cmp.writeHTML(io.Discard))
		}
	}
}

// The rules that a decision is traced back to exist.
func TestDecisionsNameRules(t *testing.T) {
	p, err := listenq.ProfileNamed("linux-6")
	require.NoError(t, err)
	known := map[string]bool{}
	for field := range p.Fields() {
		known[field] = true
	}
	named := 0
	for reason := range listenq.Reason(64) {
		for _, packet := range []listenq.Flags{0, listenq.SYN, listenq.ACK} {
			for _, field := range decidedBy(sim.Decision{Packet: packet, Reason: reason}) {
				require.True(t, known[field], field)
				named++
			}
		}
	}
	require.Greater(t, named, 20)
}

// So do those of clients: with every citation a guess, what a run depends on is
// named.
func TestGuessesOfClients(t *testing.T) {
	named := map[string]bool{}
	for _, p := range client.Profiles() {
		for field, c := range p.Citations {
			c.Verified = listenq.Guess
			p.Citations[field] = c
		}
		for _, overflow := range []listenq.Overflow{{}, {ResetSYN: true}} {
			run, err := compareRunOf(sim.Scenario{
				Server: listenq.Profiles()[0], Overflow: overflow, Client: p,
				Clients: 2, Arrival: sim.Uniform(time.Second), AcceptStart: time.Hour, Duration: 5 * time.Minute,
			})
			require.NoError(t, err)
			for _, g := range run.Guesses {
				require.Equal(t, p.Name, g.Profile)
				named[g.Field] = true
			}
		}
		require.Subset(t, slices.Collect(maps.Keys(p.Citations)), slices.Collect(maps.Keys(named)))
	}
	require.Len(t, named, 6, "%v", named)
}

func TestBlocks(t *testing.T) {
	for _, tc := range []struct {
		depth, capacity int
		want            rune
	}{
		{0, 3, '·'}, {1, 3, '▂'}, {2, 3, '▅'}, {3, 3, '█'}, {1, 1000, '▁'}, {999, 1000, '▇'}, {1000, 1000, '█'},
		{7, -1, '▁'}, {9, 3, '█'},
	} {
		require.Equal(t, string(tc.want), string(block(tc.depth, tc.capacity)), "%d of %d", tc.depth, tc.capacity)
	}
}

func TestTicksAreFewAndRound(t *testing.T) {
	for end, want := range map[time.Duration]time.Duration{
		20 * time.Millisecond: 5 * time.Millisecond,
		8 * time.Second:       time.Second,
		12 * time.Second:      2 * time.Second,
		2 * time.Minute:       20 * time.Second,
		24 * time.Hour:        10_000 * time.Second,
	} {
		ticks := timeTicks(end)
		require.LessOrEqual(t, len(ticks), mostTicks, end)
		require.Equal(t, want, ticks[1], end)
	}
	require.Equal(t, []int{0, 1, 2, 3}, depthTicks(3))
	require.Equal(t, []int{0, 3, 6, 9}, depthTicks(10))
}

// The same burst with sockets of this machine's kernel. The application starts
// late, so that all clients but the first find the queue full, twice.
func TestCompareLive(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  func(*exec.Cmd) error
	}{
		{"root", (*exec.Cmd).Run},
		{"plain user", netlab.AsPlainUser},
	} {
		t.Run(tc.name, func(t *testing.T) {
			netlab.RequireTUN(t)
			t.Parallel()
			var out, progress bytes.Buffer
			cmd := program("compare", "--live", "--json", "--clients", "4", "--backlog", "0", "--arrival", "uniform=200ms",
				"--accept-start", "1600ms", "--accept-every", "0s", "--server", "linux-6", "--client", "linux-6", "--duration", "30s")
			cmd.Stdout, cmd.Stderr = &out, &progress
			require.NoError(t, tc.run(cmd), progress.String())
			require.Contains(t, progress.String(), "playing the burst on Linux ")

			var c comparison
			require.NoError(t, json.Unmarshal(out.Bytes(), &c), out.String())
			require.Len(t, c.Live.Each, 4)
			for i, each := range c.Live.Each {
				require.Equal(t, sim.Served, each.Simulated.Fate)
				require.Equal(t, sim.Served, each.Measured.Fate, out.String())
				require.Equal(t, i > 0, each.Measured.Retransmissions > 0, "client %d: %s", i, out.String())
			}
		})
	}
}

// A machine without TUN is told so, and what to do.
func TestCompareLiveWithoutTUN(t *testing.T) {
	netlab.RequireNamespace(t)
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$0" compare --live --server linux-6`, self)
	cmd.Env = program().Env
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, exitFailure, exit.ExitCode())
	require.Empty(t, out.String())
	require.Regexp(t, "^ulisten compare: --live: .*/dev/net/tun does not exist.*modprobe tun.*\n$", progress.String())
}

// What differs and what does not.
func TestLiveDifferences(t *testing.T) {
	at := func(s float64) *float64 { return &s }
	served := liveFate{Fate: sim.Served, Connect: at(1), End: at(2)}
	for want, other := range map[string]liveFate{
		"":                    {Fate: sim.Served, Connect: at(1.1), End: at(2.3)},
		"fate":                {Fate: sim.Refused, Error: "ECONNREFUSED", End: at(2)},
		"SYN retransmissions": {Fate: sim.Served, Retransmissions: 1, Connect: at(1), End: at(2)},
		"time to connect":     {Fate: sim.Served, Connect: at(2), End: at(2)},
		"time to the end":     {Fate: sim.Served, Connect: at(1), End: at(5)},
	} {
		require.Equal(t, want, served.differs(other))
		require.Equal(t, want, other.differs(served))
	}
	// Two clients that changed places.
	first := sim.Client{Fate: sim.Served, SYNs: []time.Duration{0}, End: time.Second}
	last := sim.Client{Fate: sim.Served, SYNs: []time.Duration{0}, End: time.Minute}
	var l liveComparison
	l.compare([]sim.Client{first, last}, []sim.Client{last, first})
	require.Equal(t, 0, l.Agree)
	require.Equal(t, 2, l.AgreeInAnyOrder)
}
