//go:build linux

package netlab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOlder(t *testing.T) {
	require.True(t, Older("6.8.0-45-generic", "6.18.44"))
	require.True(t, Older("5.15.0", "6.1.0"))
	require.False(t, Older("6.18.1", "6.18.44"))
	require.False(t, Older("7.1.5", "6.18.44"))
}
