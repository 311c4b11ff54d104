package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
)

// What the stack dropped crosses the control socket and stands below the listeners.
func TestSSShowsDrops(t *testing.T) {
	reply := response{Listeners: []listenerInfo{{Address: "*:80"}}, Drops: stack.Drops{GraftFailures: 3, Strays: 1}}
	var b strings.Builder
	(&ssCmd{Extended: true}).ss(&b, reply)
	require.True(t, strings.HasSuffix(b.String(), "\nDropped GraftFailures:3 Strays:1\n"), b.String())
	b.Reset()
	(&ssCmd{}).ss(&b, reply)
	require.NotContains(t, b.String(), "Dropped")
}
