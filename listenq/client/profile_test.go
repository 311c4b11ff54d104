package client_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(p *client.Profile)
		want   string
	}{
		"no name":              {func(p *client.Profile) { p.Name = "" }, `profile "": name: use small letters, digits, dots and hyphens`},
		"bad name":             {func(p *client.Profile) { p.Name = "My Client" }, `name: use small letters, digits, dots and hyphens`},
		"not increasing":       {func(p *client.Profile) { p.Repeats = seconds(1, 3, 3) }, `repeats: 3s is not after 3s`},
		"at the start":         {func(p *client.Profile) { p.Repeats = seconds(0) }, `repeats: 0s is not after 0s`},
		"negative":             {func(p *client.Profile) { p.Repeats = seconds(-1) }, `repeats: -1s is not after 0s`},
		"too many":             {func(p *client.Profile) { p.Repeats = make([]time.Duration, 256) }, `repeats: 256 of them; use at most 255`},
		"ends before":          {func(p *client.Profile) { p.GiveUp = 15 * time.Second }, `give-up: 15s is not after the last SYN at 15s`},
		"ends at once":         {func(p *client.Profile) { p.Repeats, p.GiveUp = nil, 0 }, `give-up: 0s is not after the last SYN at 0s`},
		"never ends":           {func(p *client.Profile) { p.GiveUp = math.MaxInt64 }, `give-up: 2562047h47m16.854775807s; use at most 24h0m0s`},
		"negative retries":     {func(p *client.Profile) { p.ResetRetries = -1 }, `reset-retries: -1; use 0 to 255`},
		"too many retries":     {func(p *client.Profile) { p.ResetRetries = 256 }, `reset-retries: 256; use 0 to 255`},
		"negative delay":       {func(p *client.Profile) { p.ResetDelay = -1 }, `reset-delay: -1ns; use 0s to 24h0m0s`},
		"endless delay":        {func(p *client.Profile) { p.ResetDelay = math.MaxInt64 }, `reset-delay: 2562047h47m16.854775807s; use 0s to 24h0m0s`},
		"retries without time": {func(p *client.Profile) { p.ResetDelay = 0 }, `reset-delay: 0s; with reset-retries 4 the SYN needs a time`},
		"retries too long":     {func(p *client.Profile) { p.ResetDelay = 6 * time.Second }, `reset-retries: 4, 6s apart, take until 24s, and connect gives up at 21s`},
		"no refusal":           {func(p *client.Profile) { p.Refused = "" }, `refused: empty; name the error, such as ECONNREFUSED`},
		"no timeout":           {func(p *client.Profile) { p.TimedOut = "" }, `timed-out: empty; name the error, such as ETIMEDOUT`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := client.ProfileNamed("windows")
			require.NoError(t, err)
			test.change(p)
			err = p.Validate()
			require.ErrorContains(t, err, test.want)
			var field *listenq.ProfileError
			require.ErrorAs(t, err, &field)
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := (&client.Profile{}).Validate()
	for _, field := range []string{"name:", "give-up:", "refused:", "timed-out:"} {
		require.ErrorContains(t, err, field)
	}
}

func TestClone(t *testing.T) {
	p, err := client.ProfileNamed("windows")
	require.NoError(t, err)
	c := p.Clone()
	require.Equal(t, p, c)
	c.Repeats[0]++
	delete(c.Citations, "repeats")
	again, err := client.ProfileNamed("windows")
	require.NoError(t, err)
	require.Equal(t, again, p)
}
