package profile

import (
	"fmt"
	"strings"

	"github.com/ulisten/ulisten/listenq"
)

// Marshal writes a profile whole, with what each value comes from as a comment
// above it. Its base is the built-in profile of its name, or else the first.
// Citations that are not the base's own are at the end.
func Marshal(p *listenq.Profile) []byte {
	base, err := listenq.ProfileNamed(p.Name)
	if err != nil {
		base = listenq.Profiles()[0]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "base: %s\nname: %s\ntitle: %q\n", base.Name, p.Name, p.Title)
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
	header := "\ncitations:\n"
	for path := range p.Fields() {
		if c, ok := p.Citations[path]; ok && c != base.Citations[path] {
			fmt.Fprintf(&b, "%s  %s: {verified: %v, source: %q, note: %q}\n", header, path, c.Verified, c.Source, c.Note)
			header = ""
		}
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
