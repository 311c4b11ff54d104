package profile

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// Marshal writes a profile whole, with what each value comes from as a comment
// above it. base is the built-in profile that the file names.
func Marshal(p *listenq.Profile, base string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "base: %s\nname: %s\ntitle: %q\n", base, p.Name, p.Title)
	group := ""
	for _, f := range Fields(p) {
		g, name, _ := strings.Cut(f.Path, ".")
		if g != group {
			fmt.Fprintf(&b, "\n%s:\n", g)
			group = g
		}
		if f.Cited {
			b.WriteString(comment(f.Citation))
		}
		fmt.Fprintf(&b, "  %s: %s\n", name, f.Value)
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

// text is a value as files write it.
func text(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case []time.Duration:
		var all []string
		for _, d := range x {
			all = append(all, d.String())
		}
		return "[" + strings.Join(all, ", ") + "]"
	case encoding.TextMarshaler:
		t, err := x.MarshalText()
		if err != nil {
			return fmt.Sprintf("%q", err)
		}
		return string(t)
	case string:
		return fmt.Sprintf("%q", x)
	}
	return fmt.Sprint(v.Interface())
}
