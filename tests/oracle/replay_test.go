package oracle

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// foldersEnv lists further folders with scenarios, separated by colons.
const foldersEnv = "ULISTEN_ORACLE"

// replayTwice plays a scenario and makes sure that it goes the same way again.
func replayTwice(t *testing.T, sc *Scenario) *Replayed {
	t.Helper()
	first, err := Replay(sc)
	require.NoError(t, err)
	second, err := Replay(sc)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first.Pcap, second.Pcap), "%s: two runs send different packets", sc.ID)
	require.Equal(t, first.Ladder, second.Ladder)
	require.Equal(t, first.Observed, second.Observed)
	return first
}

// report lists differences, and shows the first step that has one side by side.
func report(sc *Scenario, differences []Difference, got []Observed, gotName string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d differences\n", sc.ID, len(differences))
	for i, d := range differences {
		if i == 12 {
			fmt.Fprintf(&b, "  and %d more\n", len(differences)-i)
			break
		}
		fmt.Fprintf(&b, "  %v\n", d)
	}
	first := differences[0].Step
	var o Observed
	if first <= len(got) {
		o = got[first-1]
	}
	b.WriteString(SideBySide(&sc.Steps[first-1], &o, gotName))
	return b.String()
}

func TestRecordingsOnTheFullStack(t *testing.T) {
	known, err := LoadDivergences("divergence.txt")
	require.NoError(t, err)
	start := time.Now()
	ids := make(map[string]bool)
	for _, file := range scenarioFiles(t, recordings) {
		sc, err := Load(file)
		require.NoError(t, err)
		ids[sc.ID] = true
		t.Run(sc.ID, func(t *testing.T) {
			got := replayTwice(t, sc)
			differences, idle := Explained(sc.ID, Compare(sc, got.Observed, Virtual), known)
			if len(differences) > 0 {
				t.Errorf("%s\n%s", report(sc, differences, got.Observed, "ulisten"), got.Ladder)
			}
			for _, d := range idle {
				t.Errorf("divergence.txt: %s step %d does not differ in %s any more: remove the line", d.Scenario, d.Step, d.Field)
			}
		})
	}
	require.NotEmpty(t, ids)
	for _, d := range known {
		require.True(t, ids[d.Scenario], "divergence.txt: there is no scenario %s", d.Scenario)
	}
	t.Logf("%d scenarios, each twice, in %v", len(ids), time.Since(start).Round(time.Millisecond))
}

// Further folders are named by the environment, separated by colons; the one of the
// recordings stands in for them.
func TestAdditionalFolders(t *testing.T) {
	list := os.Getenv(foldersEnv)
	if list == "" {
		list = recordings
	}
	known, err := LoadDivergences("divergence.txt")
	require.NoError(t, err)
	for dir := range strings.SplitSeq(list, ":") {
		if dir == "" {
			continue
		}
		replayFolder(t, dir, known)
	}
}

func replayFolder(t *testing.T, dir string, known []Divergence) {
	files := scenarioFiles(t, dir)
	if len(files) == 0 {
		t.Errorf("%s: %s holds no *.json", foldersEnv, dir)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sc, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replayTwice(t, sc)
			if differences, _ := Explained(sc.ID, Compare(sc, got.Observed, Virtual), known); len(differences) > 0 {
				t.Errorf("%s\n%s", report(sc, differences, got.Observed, "ulisten"), got.Ladder)
			}
		})
	}
}

func TestDifferencesAreFoundAndShown(t *testing.T) {
	sc, err := Load(filepath.Join(recordings, "final-ack-full-drop.json"))
	require.NoError(t, err)
	got, err := Replay(sc)
	require.NoError(t, err)
	require.Empty(t, Compare(sc, got.Observed, Virtual))

	spoil := func(change func([]Observed)) []Difference {
		copied := slices.Clone(got.Observed)
		for i := range copied {
			copied[i].Emitted = slices.Clone(copied[i].Emitted)
		}
		change(copied)
		return Compare(sc, copied, Virtual)
	}
	// The step with a SYN-ACK that a timer sends.
	timer := slices.IndexFunc(sc.Steps, func(s Step) bool {
		return slices.ContainsFunc(s.Emitted, func(e Emitted) bool { return e.When == "timer" })
	})
	require.Positive(t, timer)
	for want, change := range map[string]func([]Observed){
		"emitted[0]":             func(o []Observed) { o[timer].Emitted[0].Flags = "R" },
		"emitted[0].t":           func(o []Observed) { o[timer].Emitted[0].T += Seconds(time.Millisecond) },
		"listen":                 func(o []Observed) { o[timer].After.Listen = nil },
		"half_open":              func(o []Observed) { o[timer].After.HalfOpen = []string{"nobody"} },
		"counters.OutRsts":       func(o []Observed) { o[timer].Counters = map[string]int64{"OutRsts": 1} },
		"result":                 func(o []Observed) { o[0].Result = &Result{Error: "EADDRINUSE"} },
		"counters.EmbryonicRsts": func(o []Observed) { o[1].Counters = map[string]int64{"EmbryonicRsts": 2} },
	} {
		found := spoil(change)
		require.NotEmpty(t, found, want)
		require.True(t, slices.ContainsFunc(found, func(d Difference) bool { return d.Field == want }), "%s: %v", want, found)
	}

	late := spoil(func(o []Observed) { o[timer].Emitted[0].T += Seconds(5 * time.Second) })
	text := report(sc, late, got.Observed, "ulisten")
	require.Contains(t, text, "final-ack-full-drop: 1 differences")
	require.Contains(t, text, fmt.Sprintf("step %d at ", timer+1))
	require.Contains(t, text, "recorded")
	require.Contains(t, text, "| ulisten")
}

func TestAFolderThatDiffersIsNamed(t *testing.T) {
	sc, err := Load(filepath.Join(recordings, "backlog-0.json"))
	require.NoError(t, err)
	sc.Steps[0].After.Listen.SendQ = 3
	got, err := Replay(sc)
	require.NoError(t, err)
	differences, _ := Explained(sc.ID, Compare(sc, got.Observed, Virtual), nil)
	require.Len(t, differences, 1)
	text := report(sc, differences, got.Observed, "ulisten")
	require.Contains(t, text, `step 1 (listen): listen: recorded {"recv_q":0,"send_q":3}, got {"recv_q":0,"send_q":0}`)
	require.Contains(t, text, `* listen {"recv_q":0,"send_q":3} | listen {"recv_q":0,"send_q":0}`)
}

func TestDivergences(t *testing.T) {
	known, err := parseDivergences("d", "# comment\n\nqueued-syn 4 result some  reason\nother 1 listen another reason\n")
	require.NoError(t, err)
	require.Equal(t, []Divergence{{"queued-syn", 4, "result", "some reason"}, {"other", 1, "listen", "another reason"}}, known)
	for text, want := range map[string]string{
		"a 1 result":   "d:1: need scenario, step, field and reason",
		"\na 0 b why":  "d:2: \"0\" is no step",
		"a four b why": "d:1: \"four\" is no step",
	} {
		_, err := parseDivergences("d", text)
		require.ErrorContains(t, err, want)
	}
	_, err = LoadDivergences("missing.txt")
	require.Error(t, err)

	unexplained, idle := Explained("queued-syn", []Difference{{Step: 4, Field: "listen"}}, known)
	require.Len(t, unexplained, 1)
	require.Equal(t, known[:1], idle)
	unexplained, idle = Explained("queued-syn", []Difference{{Step: 4, Field: "result"}}, known)
	require.Empty(t, unexplained)
	require.Empty(t, idle)
}

// Scenarios that cannot be played say why.
func TestReplayRefusesWhatMakesNoSense(t *testing.T) {
	for _, tc := range []struct{ old, new, want string }{
		{`"op": "inject", "conn": "c1", "flags": "S", "seq": 0, "len": 0, "win": 65535, "opts": {"mss": 1460, "ts": [7, "echo"]},`,
			`"op": "recv", "sock": "L", "result": {"eof": true},`, `example: step 2: sock: "L" is no connection here`},
		{`"net.core.somaxconn": 4096`, `"net.ipv4.tcp_syncookies": 7`, `use a whole number from 0 to 2`},
	} {
		require.Contains(t, example, tc.old)
		sc, err := Parse("x.json", []byte(strings.Replace(example, tc.old, tc.new, 1)))
		require.NoError(t, err)
		_, err = Replay(sc)
		require.ErrorContains(t, err, tc.want)
	}
}
