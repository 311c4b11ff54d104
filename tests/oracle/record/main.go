//go:build linux

// Command record plays scenarios against the kernel that it runs on and writes
// what it observes as new recordings.
//
//	go run ./tests/oracle/record -o /tmp/recordings listenq/testdata/linux/backlog-*.json
//
// Only the steps of the given files matter, not what they say was observed. It
// needs network namespaces and TUN devices, as root or as anybody who may make
// them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ulisten/ulisten/tests/netlab"
	"github.com/ulisten/ulisten/tests/oracle"
)

// attempts is how often a scenario is played at most until nothing was late.
const attempts = 5

// calm is how late things may happen in a run that is kept.
const calm = 10 * time.Millisecond

func main() {
	if code, done := netlab.Enter(); done {
		os.Exit(code)
	}
	out := flag.String("o", ".", "`folder` for the recordings")
	hz := flag.Int("hz", 250, "timer frequency of the kernel (CONFIG_HZ)")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Example: go run ./tests/oracle/record -o recordings listenq/testdata/linux/backlog-*.json\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 || *hz <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*out, *hz, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(out string, hz int, files []string) error {
	if err := netlab.TUNMissing(); err != nil {
		return err
	}
	platform, err := oracle.Running()
	if err != nil {
		return err
	}
	platform.HZ = hz
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		if filepath.Base(file) == "index.json" {
			continue // of a folder of recordings
		}
		if err := record(out, platform, file); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func record(out string, platform oracle.Platform, file string) error {
	sc, err := oracle.Load(file)
	if err != nil {
		return err
	}
	var got *oracle.Played
	for range attempts {
		fmt.Fprintf(os.Stderr, "%s: %v\n", sc.ID, sc.Duration)
		if got, err = oracle.Play(sc); err != nil {
			return err
		}
		if got.Late <= calm {
			break
		}
	}
	if got.Late > calm {
		return fmt.Errorf("%s: late by %v in the last of %d attempts: the machine is too busy", sc.ID, got.Late, attempts)
	}
	data, err := sc.Record(got.Observed, platform).Write()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, sc.ID+".json"), data, 0o644)
}
