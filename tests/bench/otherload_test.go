//go:build linux

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBusyTimeLeavesOutIdleness(t *testing.T) {
	const text = "cpu  100 20 300 9999 888 4 50 6 70 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
	require.Equal(t, 4800*time.Millisecond, parseBusy(text), "user, nice, system, irq, softirq, steal")
	require.Zero(t, parseBusy("intr 12\n"))
}
