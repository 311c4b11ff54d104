package profile

import (
	"iter"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

// platforms is what reading must know of a type of profile.
type platforms[P any] struct {
	named    func(name string) (*P, error)
	clone    func(*P) *P
	fields   func(*P) iter.Seq2[string, any]
	validate func(*P) error
	parts    func(*P) parts
}

// parts are what a profile has besides its rules.
type parts struct {
	name, title *string
	citations   *map[string]listenq.Citation
}

var servers = platforms[listenq.Profile]{
	named:    listenq.ProfileNamed,
	clone:    (*listenq.Profile).Clone,
	fields:   (*listenq.Profile).Fields,
	validate: (*listenq.Profile).Validate,
	parts:    func(p *listenq.Profile) parts { return parts{&p.Name, &p.Title, &p.Citations} },
}

var clients = platforms[client.Profile]{
	named:    client.ProfileNamed,
	clone:    (*client.Profile).Clone,
	fields:   (*client.Profile).Fields,
	validate: (*client.Profile).Validate,
	parts:    func(p *client.Profile) parts { return parts{&p.Name, &p.Title, &p.Citations} },
}

// ChooseClient is Choose for the platform of a client.
func ChooseClient(nameOrFile string) (*client.Profile, error) { return choose(clients, nameOrFile) }

// LoadClient is Load for the platform of a client.
func LoadClient(path string) (*client.Profile, error) { return load(clients, path) }

// ParseClient is Parse for the platform of a client.
func ParseClient(name string, text []byte) (*client.Profile, error) {
	return parse(clients, name, text)
}
