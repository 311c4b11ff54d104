//go:build linux

package main

import (
	"errors"
	"os"
	"runtime/pprof"
)

// startProfile writes a CPU profile of the process to a file until the
// function that it returns is called. It does nothing if path is empty.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
