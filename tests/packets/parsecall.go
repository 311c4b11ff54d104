//go:build linux

package packets

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// A value is an argument of a call.
type value struct {
	kind   valueKind
	number int
	bytes  []byte         // of [1], {onoff=1, linger=0} and "text"
	fields map[string]int // of [{fd=4, events=POLLIN, revents=0}]
}

type valueKind string

const (
	anything     valueKind = "..."
	number       valueKind = "a number"
	onDescriptor valueKind = "a descriptor"
	contents     valueKind = `contents: [1], {onoff=1, linger=0} or "text"`
	length       valueKind = "[4]" // a number that a call may change
	pollSet      valueKind = "[{fd=4, events=POLLIN, revents=0}]"
)

// call reads NAME(ARGUMENTS) = RESULT [ERROR [(TEXT)]].
func (p *parser) call() *Call {
	c := &Call{Name: p.word()}
	def, known := calls[c.Name]
	if !known {
		p.rest = c.Name + p.rest
		p.wants("<, >, a backtick, %{ or a call of " + callNames(func(callDef) bool { return true }))
		return c
	}
	p.expect("(")
	for i, kind := range def.arguments {
		if i > 0 {
			p.expect(",")
		}
		c.Args = append(c.Args, p.value(kind))
	}
	p.expect(")")
	p.expect("=")
	if c.Result = p.signed(); c.Result != -1 {
		return c
	}
	name := p.word()
	e, ok := errnos[name]
	if !ok {
		p.rest = name + p.rest
		p.wants("the name of an error")
	}
	c.Error = e
	if p.accept("(") {
		p.until(")")
	}
	return c
}

// value reads an argument.
func (p *parser) value(kind valueKind) value {
	v := value{kind: kind}
	switch kind {
	case anything:
		p.expect("...")
	case number, onDescriptor:
		v.number = p.constant()
	case length:
		p.expect("[")
		v.number = p.constant()
		p.expect("]")
	case contents:
		v.bytes = p.contents()
	case pollSet:
		p.expect("[")
		v.fields = p.structure("fd", "events", "revents")
		p.expect("]")
	}
	return v
}

func (p *parser) contents() []byte {
	switch {
	case p.accept("["):
		n := p.constant()
		p.expect("]")
		return int32Bytes(n)
	case p.accept(`"`):
		return []byte(p.until(`"`))
	case p.rest != "" && p.rest[0] == '{':
		linger := p.structure("onoff", "linger")
		return append(int32Bytes(linger["onoff"]), int32Bytes(linger["linger"])...)
	}
	p.wants(string(contents))
	return nil
}

func int32Bytes(n int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// structure reads {name=value, ...} with fields of given names in their order.
func (p *parser) structure(names ...string) map[string]int {
	fields := make(map[string]int)
	p.expect("{")
	for i, name := range names {
		if i > 0 {
			p.expect(",")
		}
		if !p.acceptWord(name) {
			p.wants(name)
		}
		p.expect("=")
		fields[name] = p.constant()
	}
	p.expect("}")
	return fields
}

// constant reads a number, or words joined by |.
func (p *parser) constant() int {
	p.space()
	if p.rest != "" && !letter(p.rest[0]) {
		return p.signed()
	}
	sum := 0
	for {
		name := p.word()
		n, ok := words[name]
		if !ok {
			p.rest = name + p.rest
			p.wants("a number or a constant that words.go has")
		}
		if version, ok := versionWords[name]; ok {
			p.only(version, name)
		}
		sum |= n
		if !p.accept("|") {
			return sum
		}
	}
}

func (p *parser) signed() int {
	if p.accept("-") {
		return -int(p.number(math.MaxInt32))
	}
	return int(p.number(math.MaxUint32))
}

// callNames returns the names of the calls that fit.
func callNames(fits func(callDef) bool) string {
	var names []string
	for name, def := range calls {
		if fits(def) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
