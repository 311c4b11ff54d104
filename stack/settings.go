package stack

import (
	"maps"
	"slices"
	"strings"

	"github.com/ulisten/ulisten/listenq"
)

// settings are the sysctls of a stack: those that it began with, if any, and what
// was changed since. Where neither says anything, a listener has those of its
// profile.
type settings struct {
	base    *listenq.Sysctls
	changed map[string]string // by name
}

func newSettings(base *listenq.Sysctls) settings {
	s := settings{changed: make(map[string]string)}
	if base != nil {
		own := *base
		s.base = &own
	}
	return s
}

// set changes one setting; an error changes nothing.
func (s *settings) set(name, value string) error {
	var scratch listenq.Sysctls
	if err := scratch.Set(name, value); err != nil {
		return err
	}
	s.changed[strings.ReplaceAll(name, "/", ".")] = value
	return nil
}

// of returns the settings of listeners that follow a profile.
func (s *settings) of(p *listenq.Profile) listenq.Sysctls {
	sysctls := p.Sysctls()
	if s.base != nil {
		sysctls = *s.base
	}
	for _, name := range slices.Sorted(maps.Keys(s.changed)) {
		if err := sysctls.Set(name, s.changed[name]); err != nil {
			panic(err) // set has taken it
		}
	}
	return sysctls
}
