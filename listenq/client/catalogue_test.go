package client_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq/client"
)

func TestEveryBuiltInProfileIsValidAndCited(t *testing.T) {
	for _, p := range client.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			require.NoError(t, p.Validate())
			require.NotEmpty(t, p.Title)
			fields := 0
			for field := range p.Fields() {
				fields++
				require.Contains(t, p.Citations, field)
				require.NotEmpty(t, p.Citations[field].Source, field)
			}
			require.Len(t, p.Citations, fields)
		})
	}
}

// Every field but name, title and citations is a rule, under its name in files.
func TestFields(t *testing.T) {
	p, err := client.ProfileNamed("windows")
	require.NoError(t, err)
	v := reflect.ValueOf(p).Elem()
	var want, got []any
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "name" && name != "title" && name != "citations" {
			want = append(want, name, v.Field(i).Interface())
		}
	}
	for name, value := range p.Fields() {
		got = append(got, name, value)
	}
	require.Equal(t, want, got)
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
