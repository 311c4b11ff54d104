package listenq

import "strings"

// citations say where the values of a profile come from: by field, or by group
// for all fields of it that are not named.
type citations map[string]Citation

// cite gives every field of the profile its citation. Fields that c does not
// speak of keep what they have.
func (p *Profile) cite(c citations) {
	all := make(map[string]Citation)
	for path := range p.Fields() {
		group, _, _ := strings.Cut(path, ".")
		for _, from := range []struct {
			known map[string]Citation
			at    string
		}{{p.Citations, path}, {c, group}, {c, path}} {
			if known, ok := from.known[from.at]; ok {
				all[path] = known
			}
		}
	}
	p.Citations = all
}
