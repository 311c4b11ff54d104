package profile

import (
	"fmt"
	"strings"

	"github.com/ulisten/ulisten/listenq"
)

// Marshal writes a profile whole, with what each value comes from as a comment
// above it. base is the built-in profile that the file names.
func Marshal(p *listenq.Profile, base string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "base: %s\nname: %s\ntitle: %q\n", base, p.Name, p.Title)
	group := ""
	for path, value := range p.Fields() {
		g, name, _ := strings.Cut(path, ".")
		if g != group {
			fmt.Fprintf(&b, "\n%s:\n", g)
			group = g
		}
		if c, ok := p.Citations[path]; ok {
			b.WriteString(comment(c))
		}
		fmt.Fprintf(&b, "  %s: %s\n", name, Text(value))
	}
	return []byte(b.String())
}

// comment is a citation in lines of at most 100 letters.
func comment(c listenq.Citation) string {
	words := c.Verified.String() + ": " + c.Source
	if c.Note != "" {
		words += " (" + c.Note + ")"
	}
	const width, indent = 100, "  #"
	var b strings.Builder
	line := indent
	for _, w := range strings.Fields(words) {
		if len(line)+1+len(w) > width && line != indent {
			b.WriteString(line + "\n")
			line = indent
		}
		line += " " + w
	}
	b.WriteString(line + "\n")
	return b.String()
}
