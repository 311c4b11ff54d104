package stacktest

import (
	"errors"
	"fmt"
	"testing"
)

// Play runs a script in a lab outside of a test, for programs and examples. What
// would have failed the test is returned as an error.
func Play(cfg Config, script func(*Lab)) (err error) {
	p := new(player)
	defer func() {
		if r := recover(); r != nil && r != any(p) {
			panic(r) // not a failed expectation
		}
		for i := len(p.cleanups) - 1; i >= 0; i-- {
			p.cleanups[i]()
		}
		err = errors.Join(p.failures...)
	}()
	script(New(p, cfg))
	return nil
}

// A player stands in for a test.
type player struct {
	testing.TB // for its private method
	cleanups   []func()
	failures   []error
}

func (p *player) Helper()          {}
func (p *player) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }
func (p *player) Errorf(format string, args ...any) {
	p.failures = append(p.failures, fmt.Errorf(format, args...))
}

// Fatalf ends the script.
func (p *player) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	panic(p)
}
