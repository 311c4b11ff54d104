package main

import (
	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/profile"
)

// profileFlag is a profile, by name or from a file.
type profileFlag struct{ *listenq.Profile }

// UnmarshalText reads the file, if it is one.
func (p *profileFlag) UnmarshalText(text []byte) (err error) {
	p.Profile, err = profile.Choose(string(text))
	return err
}
