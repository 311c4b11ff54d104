package profile_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/profile"
)

func TestParseClient(t *testing.T) {
	p, err := profile.ParseClient("lab/eager.yaml", []byte(`
base: windows
repeats: [500ms, 1s]
give-up: 10s
reset-retries: 1
timed-out: ETIMEDOUT
citations:
  give-up: {verified: measured, source: "a watch"}
`))
	require.NoError(t, err)
	require.Equal(t, "eager", p.Name)
	require.Equal(t, "eager, after Windows 10, Server 2019 and later", p.Title)
	require.Equal(t, []time.Duration{500 * time.Millisecond, time.Second}, p.Repeats)
	require.Equal(t, 10*time.Second, p.GiveUp)
	require.Equal(t, 1, p.ResetRetries)
	require.Equal(t, 500*time.Millisecond, p.ResetDelay, "the base's")
	require.Equal(t, "ETIMEDOUT", p.TimedOut)
	require.Equal(t, listenq.Citation{Verified: listenq.Measured, Source: "a watch"}, p.Citations["give-up"])
	require.Equal(t, listenq.Citation{Verified: listenq.Guess, Source: "eager.yaml:3"}, p.Citations["repeats"])
	base, err := client.ProfileNamed("windows")
	require.NoError(t, err)
	require.Equal(t, base.Citations["reset-delay"], p.Citations["reset-delay"])
}

func TestClientMistakes(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown base", "base: linux-7\n", `f.yaml:1:7: base: unknown client profile "linux-7": did you mean "linux-6"?`},
		{"server's base", "base: illumos\n", `f.yaml:1:7: base: unknown client profile "illumos": use one of linux-6, `},
		{"unknown field", "base: linux-6\nrepeat: [1s]\n", `f.yaml:2:1: unknown field "repeat": did you mean "repeats"?`},
		{"no list", "base: linux-6\nrepeats: 1s\n", "f.yaml:2:10: repeats: need a list of durations like [1s, 2s], not a single value"},
		{"ends before its last SYN", "base: linux-6\ngive-up: 60s\n", "f.yaml:2:10: give-up: 1m0s is not after the last SYN at 1m7s"},
		{"schedule that never ends", "base: linux-6\ngive-up: 100000h\n", "f.yaml:2:10: give-up: 100000h0m0s; use at most 24h0m0s"},
		{"built-in name", "base: linux-6\nname: linux-5\n", "f.yaml:2:7: name: linux-5 is a built-in profile with another repeats: choose another name"},
		{"bad name", "base: linux-6\nname: My Client\n", "f.yaml:2:7: name: use small letters, digits, dots and hyphens"},
		{"citation of nothing", "base: linux-6\ncitations:\n  give-upp: {source: x}\n", `f.yaml:3:3: citations: unknown field "give-upp": did you mean "give-up"?`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := profile.ParseClient("f.yaml", []byte(tc.text))
			require.ErrorContains(t, err, tc.want)
			var e *profile.Error
			require.True(t, errors.As(err, &e))
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestChooseClient(t *testing.T) {
	p, err := profile.ChooseClient("macos")
	require.NoError(t, err)
	require.Equal(t, "macos", p.Name)
	p, err = profile.ChooseClient("testdata/impatient.yaml")
	require.NoError(t, err)
	require.Equal(t, "impatient", p.Name)
	_, err = profile.ChooseClient("mac")
	require.ErrorContains(t, err, "or a file that ends in .yaml")
	_, err = profile.LoadClient("testdata/appliance.yaml")
	require.ErrorContains(t, err, "testdata/appliance.yaml:")
}

// Whatever the text, reading ends with a valid profile or an Error with a place.
func FuzzParseClient(f *testing.F) {
	f.Add("base: linux-6\nrepeats: [1s, 3s]\ngive-up: 4s\n")
	f.Add("base: windows\nreset-retries: 2\nreset-delay: 1s\ncitations: {refused: {verified: guess}}\n")
	f.Add("base: freebsd\nrepeats: []\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := profile.ParseClient("f.yaml", []byte(text))
		if err != nil {
			var e *profile.Error
			require.True(t, errors.As(err, &e), "%v", err)
			require.Positive(t, e.Line)
			return
		}
		require.NoError(t, p.Validate())
		a := client.NewAttempt(p, 0)
		for a.Advance(client.MaxGiveUp) == client.SendSYN {
			require.LessOrEqual(t, a.SYNs(), 1+len(p.Repeats))
		}
		_, ok := a.NextTimeout()
		require.False(t, ok)
	})
}
