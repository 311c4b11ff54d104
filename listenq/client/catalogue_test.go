package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq/client"
)

// fields are the names under which a profile's values are cited and stand in
// files.
var fields = []string{"repeats", "give-up", "reset-retries", "reset-delay", "refused", "timed-out"}

func TestEveryBuiltInProfileIsValidAndCited(t *testing.T) {
	for _, p := range client.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			require.NoError(t, p.Validate())
			require.NotEmpty(t, p.Title)
			require.Len(t, p.Citations, len(fields))
			for _, field := range fields {
				c, ok := p.Citations[field]
				require.True(t, ok, field)
				require.NotEmpty(t, c.Source, field)
			}
		})
	}
}

func TestProfilesAreFreshCopies(t *testing.T) {
	p, err := client.ProfileNamed("linux-6")
	require.NoError(t, err)
	p.Repeats[0] = 0
	delete(p.Citations, "repeats")
	again, err := client.ProfileNamed("linux-6")
	require.NoError(t, err)
	require.NoError(t, again.Validate())
	require.Contains(t, again.Citations, "repeats")
	other, err := client.ProfileNamed("linux-5")
	require.NoError(t, err)
	require.Contains(t, other.Citations, "repeats")
}

func TestUnknownProfile(t *testing.T) {
	_, err := client.ProfileNamed("widnows")
	require.EqualError(t, err, `unknown client profile "widnows": did you mean "windows"? use one of linux-6, linux-5, windows, windows-7, macos, freebsd`)
}
