package listenq

import (
	"fmt"
	"strings"
)

// UnknownName is the error for a name that is none of those known; it suggests
// the nearest, if one is near, and lists all.
func UnknownName(kind, name string, known []string) error {
	suggestion := ""
	if n := nearest(name, known); n != "" {
		suggestion = fmt.Sprintf("did you mean %q? ", n)
	}
	return fmt.Errorf("unknown %s %q: %suse one of %s", kind, clip(name), suggestion, strings.Join(known, ", "))
}

// clip shortens a name that somebody may have made up to flood a terminal.
func clip(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "..."
}

// nearest returns the known name that is the fewest edits away from a name; ""
// if that is more than half of its letters. If none is near as it stands, what
// follows its last hyphen does not count: "linux" is near "linux-6".
func nearest(name string, known []string) string {
	const longest = 64
	if len(name) > longest {
		return ""
	}
	name = strings.ToLower(name)
	near := func(spelled func(k string) string) string {
		best, most := "", max(1, len(name)/2)
		for _, k := range known {
			if d := editDistance(name, spelled(k)); d <= most {
				best, most = k, d-1
			}
		}
		return best
	}
	if k := near(func(k string) string { return k }); k != "" {
		return k
	}
	return near(func(k string) string {
		if i := strings.LastIndexByte(k, '-'); i > 0 {
			return k[:i]
		}
		return k
	})
}

// editDistance counts the letters to insert, delete or replace that turn a into
// b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
