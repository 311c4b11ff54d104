package profile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/profile"
)

func TestLoad(t *testing.T) {
	p, err := profile.Load("testdata/appliance.yaml")
	require.NoError(t, err)
	linux, err := listenq.ProfileNamed("linux-6")
	require.NoError(t, err)

	require.Equal(t, "appliance", p.Name)
	require.Equal(t, "Appliance 7", p.Title)
	require.Equal(t, 1024, p.Backlog.Maximum)
	require.Equal(t, listenq.Formula{Times: 3, Over: 2, Plus: 1}, p.AcceptQueue.AtSYN)
	require.Equal(t, listenq.SYNReset, p.AcceptQueue.FullSYN)
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, p.SYNACK.Waits)
	require.Equal(t, 3, p.SYNACK.Retries)
	require.Equal(t, 250*time.Millisecond, p.HalfOpen.RateLimit)
	require.Equal(t, listenq.CookiesNever, p.Cookies.Use)
	require.Equal(t, linux.SYNQueue, p.SYNQueue, "what is not said is as in the base")

	require.Equal(t, listenq.Citation{Verified: listenq.Measured, Source: "the appliance, firmware 7"}, p.Citations["backlog.maximum"])
	require.Equal(t, listenq.Citation{Verified: listenq.Guess, Source: "appliance.yaml:9"}, p.Citations["accept-queue.full-syn"],
		"what a file says without a citation is a guess")
	require.Equal(t, linux.Citations["accept-queue.full-ack"], p.Citations["accept-queue.full-ack"])
}

// What Marshal writes is the same profile again, citations included.
func TestMarshalRoundTrip(t *testing.T) {
	for _, p := range listenq.Profiles() {
		text := profile.Marshal(p)
		again, err := profile.Parse(p.Name+".yaml", text)
		require.NoError(t, err, string(text))
		require.Equal(t, p, again)
		require.Equal(t, string(text), string(profile.Marshal(again)))

		// On another base, all values are said and nothing of the base is left.
		p.Name = "mine"
		text = profile.Marshal(p)
		require.Contains(t, string(text), "base: linux-6\nname: mine\n")
		again, err = profile.Parse("mine.yaml", text)
		require.NoError(t, err, string(text))
		require.Equal(t, p, again)
	}
}

// A type alone reads as one although YAML takes it for a number.
func TestICMPKinds(t *testing.T) {
	for text, want := range map[string]string{"12": "12", "none": "none", "3/1": "3/1", `"3/0-1 12"`: "3/0-1 12", "3 12": "3 12"} {
		p, err := profile.Parse("f.yaml", []byte("base: linux-6\nicmp: {ipv4: "+text+"}\n"))
		require.NoError(t, err)
		require.Equal(t, want, p.ICMP.IPv4.String())
	}
}

func TestMarshalCites(t *testing.T) {
	p, err := listenq.ProfileNamed("linux-6")
	require.NoError(t, err)
	p.Citations = map[string]listenq.Citation{
		"backlog.maximum": {Verified: listenq.Measured, Source: "recording backlog-huge", Note: strings.Repeat("long ", 30)},
	}
	text := string(profile.Marshal(p))
	require.Contains(t, text, "\n  # measured: recording backlog-huge (long long")
	values, _, _ := strings.Cut(text, "\ncitations:\n")
	for line := range strings.Lines(values) {
		require.LessOrEqual(t, len(line), 101, line)
	}
	_, err = profile.Parse("x.yaml", []byte(text))
	require.NoError(t, err)
}

func TestText(t *testing.T) {
	p, err := listenq.ProfileNamed("linux-6")
	require.NoError(t, err)
	seen := map[string]string{}
	for path, value := range p.Fields() {
		seen[path] = profile.Text(value)
	}
	require.Equal(t, "maximum", seen["backlog.negative"])
	require.Equal(t, "n+1", seen["accept-queue.at-ack"])
	require.Equal(t, "false", seen["cookies.in-every-syn-ack"])
	require.Equal(t, `"net.core.somaxconn"`, seen["backlog.setting"])
	require.Contains(t, seen["syn-ack.waits"], "[1s, 2s, ")
	require.Equal(t, "1/1 1/4-255 4", seen["icmp.ipv6"])
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "f.yaml:1:1: 0 documents: need one"},
		{"comment only", "# nothing\n", "f.yaml:1:1: 0 documents: need one"},
		{"two documents", "base: linux-6\n---\nbase: linux-6\n", "f.yaml:1:1: 2 documents: need one"},
		{"not a mapping", "linux-6\n", "f.yaml:1:1: need fields and values, not a single value"},
		{"no base", "name: a\n", "base: missing: name the profile to start from, as in base: linux-6"},
		{"unknown base", "base: linux-66\n", `f.yaml:1:7: base: unknown profile "linux-66": did you mean "linux-6"?`},
		{"unknown group", "base: linux-6\nbaklog: {}\n", `f.yaml:2:1: unknown field "baklog": did you mean "backlog"?`},
		{"unknown field", "base: linux-6\nbacklog:\n  negativ: zero\n", `f.yaml:3:3: backlog: unknown field "negativ": did you mean "negative"?`},
		{"unknown value", "base: linux-6\nbacklog:\n  negative: zeroo\n", `f.yaml:3:13: backlog.negative: unknown value "zeroo": did you mean "zero"?`},
		{"twice", "base: linux-6\nbacklog:\n  zero: one\n  zero: one\n", "f.yaml:4:3: "},
		{"group twice", "base: linux-6\ncookies: {use: never}\ncookies: {use: always}\n", "f.yaml:3:1: "},
		{"no value", "base: linux-6\nbacklog:\n  maximum:\n", "f.yaml:3:12: backlog.maximum: need a single value, not nothing"},
		{"no group", "base: linux-6\nbacklog:\n", "backlog: need fields and values, not nothing"},
		{"list for number", "base: linux-6\nbacklog: {maximum: [1]}\n", "backlog.maximum: need a single value, not a list"},
		{"word for number", "base: linux-6\nbacklog:\n  maximum: many\n", `f.yaml:3:12: backlog.maximum: "many" is no whole number`},
		{"huge number", "base: linux-6\nbacklog:\n  maximum: 99999999999999999999\n", "f.yaml:3:12: backlog.maximum: "},
		{"fraction", "base: linux-6\nbacklog:\n  maximum: 1.5\n", `f.yaml:3:12: backlog.maximum: "1.5" is no whole number`},
		{"hexadecimal", "base: linux-6\nbacklog:\n  maximum: 0x10\n", `f.yaml:3:12: backlog.maximum: "0x10" is no whole number`},
		{"formula", "base: linux-6\naccept-queue:\n  at-syn: n*2\n", "f.yaml:3:11: accept-queue.at-syn: formula"},
		{"ICMP kinds", "base: linux-6\nicmp:\n  ipv4: 3/1 4/x\n", `f.yaml:3:9: icmp.ipv4: kind of ICMP error "4/x" is not understood`},
		{"no ICMP kinds", "base: linux-6\nicmp:\n  ipv4: \"\"\n", `f.yaml:3:9: icmp.ipv4: 0 kinds of ICMP error: use types and codes like "3/0-1 11/0 12", or "none"`},
		{"list of ICMP kinds", "base: linux-6\nicmp: {ipv4: [3/1]}\n", "icmp.ipv4: need a single value, not a list"},
		{"ICMP errors", "base: linux-6\nicmp:\n  errors: 0\n", "f.yaml:3:11: icmp.errors: 0: use 1 or 2"},
		{"duration without unit", "base: linux-6\nhalf-open:\n  rate-limit: 3\n", `f.yaml:3:15: half-open.rate-limit: "3" is no duration: use one like 500ms or 3s`},
		{"duration for list", "base: linux-6\nsyn-ack:\n  waits: 1s\n", "f.yaml:3:10: syn-ack.waits: need a list of durations like [1s, 2s], not a single value"},
		{"bad duration in list", "base: linux-6\nsyn-ack:\n  waits: [1s, soon]\n", `f.yaml:3:15: syn-ack.waits: "soon" is no duration`},
		{"bool", "base: linux-6\nsyn-queue:\n  last-quarter: yes\n", `f.yaml:3:17: syn-queue.last-quarter: "yes": use true or false`},
		{"built-in name", "base: linux-6\nname: linux-6\nbacklog:\n  zero: one\n", "f.yaml:2:7: name: linux-6 is a built-in profile with another backlog.zero: choose another name"},
		{"bad name", "base: linux-6\nname: My Server\n", `f.yaml:2:7: name: use small letters, digits, dots and hyphens`},
		{"contradiction", "base: linux-6\nsyn-ack:\n  retries: 1\n  waits: []\n", "f.yaml:4:10: syn-ack.waits: 0 waits: use 1 to"},
		{"capacity below zero", "base: linux-6\naccept-queue:\n  at-ack: n-5\n", "f.yaml:3:11: accept-queue.at-ack: capacity below zero: n-5 is -4"},
		{"contradiction with the base", "base: linux-6\nbacklog: {minimum: 5000}\n", "f.yaml:2:20: backlog.minimum: 5000 is more than backlog.maximum, 4096"},
		{"schedule that never ends", "base: linux-6\nsyn-ack: {retries: -1}\n", "f.yaml:2:20: syn-ack.retries: -1: the schedule never ends"},
		{"citation of nothing", "base: linux-6\ncitations:\n  backlog.minus: {source: x}\n", `f.yaml:3:3: citations: unknown field "backlog.minus": did you mean "backlog.minimum"? use one of backlog.negative, `},
		{"citation of no group", "base: linux-6\ncitations:\n  baklog.zero: {source: x}\n", `unknown field "baklog.zero": use one of backlog, accept-queue, `},
		{"citation verified how", "base: linux-6\ncitations:\n  backlog.zero: {verified: surely}\n", `f.yaml:3:28: citations.backlog.zero.verified: unknown value "surely"`},
		{"anchor", "base: &b linux-6\n", "an anchor, alias, tag or merge key"},
		{"merge", "base: linux-6\n<<: {backlog: {}}\n", "is no name of a field"},
		{"syntax", "base: linux-6\nbacklog: {maximum: 1\n", "f.yaml:2:"},
		{"tab", "base: linux-6\nbacklog:\n\tmaximum: 1\n", "f.yaml:3:"},
		{"deep", "base: linux-6\nbacklog: " + strings.Repeat("[", 30000), "f.yaml:2:18: nested more than 8 deep"},
		{"deep list", "base: linux-6\nbacklog: \n " + strings.Repeat("- ", 30000), "nested more than 8 deep"},
		{"large", "base: linux-6\n" + strings.Repeat("#\n", profile.MaxSize/2), "f.yaml:1:1: more than 65536 bytes"},
		{"long text", "base: linux-6\ntitle: " + strings.Repeat("x", 2000), "title: more than 1000 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := profile.Parse("f.yaml", []byte(tc.text))
			require.Error(t, err)
			require.Contains(t, err.Error(), tc.want)
			var e *profile.Error
			require.True(t, errors.As(err, &e))
			require.Equal(t, "f.yaml", e.File)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestChoose(t *testing.T) {
	p, err := profile.Choose("linux-6")
	require.NoError(t, err)
	require.Equal(t, "linux-6", p.Name)
	p, err = profile.Choose("testdata/appliance.yaml")
	require.NoError(t, err)
	require.Equal(t, "appliance", p.Name)
	_, err = profile.Choose("linux-7")
	require.ErrorContains(t, err, `did you mean "linux-6"?`)
	require.ErrorContains(t, err, "or a file that ends in .yaml")
	_, err = profile.Choose("./nothing")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = profile.Choose(t.TempDir() + "/")
	require.Error(t, err)
}

func FuzzParse(f *testing.F) {
	for _, p := range listenq.Profiles() {
		f.Add(profile.Marshal(p))
	}
	for _, seed := range []string{
		"", "base: linux-6", "base: &a linux-6\nname: *a", "? [a]\n: b", "{", "[[[[[[", "base: linux-6\nsyn-ack: {waits: [1s]}",
		"base: linux-6\n<<: *x", "--- |\n a\n...\n", "%YAML 1.2\n---\n", "base: !!str linux-6", "base: \"\\ud800\"", "a:\n- b\n -c",
	} {
		f.Add([]byte(seed))
	}
	text, err := os.ReadFile(filepath.Join("testdata", "appliance.yaml"))
	require.NoError(f, err)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := profile.Parse("f.yaml", text)
		if err != nil {
			var e *profile.Error
			require.True(t, errors.As(err, &e), "%v", err)
			require.Positive(t, e.Line)
			require.Positive(t, e.Column)
			return
		}
		require.NoError(t, p.Validate())
		again, err := profile.Parse("f.yaml", profile.Marshal(p))
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

func ExampleParse() {
	p, err := profile.Parse("mine.yaml", []byte(`
base: linux-6
accept-queue:
  full-syn: reset
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Name, p.AcceptQueue.FullSYN, p.AcceptQueue.AtSYN)
	_, err = profile.Parse("mine.yaml", []byte("base: linux-6\nbacklog:\n  zero: first\n"))
	fmt.Println(err)
	// Output:
	// mine reset n+1
	// mine.yaml:3:9: backlog.zero: unknown value "first": use one of maximum, zero, one, hint, refuse
}
