//go:build linux

package main

import (
	"os"
	"testing"

	"github.com/ulisten/ulisten/tests/netlab"
)

// TestMain lets the test binary play the client and the server of trials.
func TestMain(m *testing.M) {
	if handled, code := playRole(); handled {
		os.Exit(code)
	}
	os.Exit(netlab.Main(m))
}
