package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// compact encodes a value without changing characters that HTML cares about.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// spaced encodes a value on one line, with a space behind commas and colons.
func spaced(v any) ([]byte, error) {
	in, err := compact(v)
	if err != nil {
		return nil, err
	}
	var out []byte
	inString, escaped := false, false
	for _, c := range in {
		out = append(out, c)
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == ':'):
			out = append(out, ' ')
		}
	}
	return out, nil
}

// counted lists counters in the order of CounterNames.
func counted(counters map[string]int64) ordered[int64] {
	var o ordered[int64]
	for _, name := range CounterNames {
		if v, ok := counters[name]; ok {
			o.set(name, v)
		}
	}
	return o
}

// Write returns the scenario as a file, laid out for reading and for diff.
func (sc *Scenario) Write() ([]byte, error) {
	w := writer{}
	w.raw("{\n")
	for _, member := range []struct {
		name  string
		value any
	}{
		{"format", sc.Format}, {"id", sc.ID}, {"title", sc.Title}, {"rules", sc.Rules},
		{"description", sc.Description}, {"platform", sc.Platform}, {"server", sc.Server},
		{"conns", sc.Conns}, {"sysctls", sc.Sysctls}, {"duration", sc.Duration},
	} {
		w.raw(" %q: ", member.name)
		w.value(member.value)
		w.raw(",\n")
	}
	w.raw(" \"steps\": [")
	for i := range sc.Steps {
		if i > 0 {
			w.raw(",")
		}
		w.raw("\n  ")
		w.step(&sc.Steps[i])
	}
	w.raw("\n ],\n \"totals\": ")
	w.value(struct {
		Counters ordered[int64] `json:"counters"`
		Final    State          `json:"final"`
	}{counted(sc.Totals.Counters), sc.Totals.Final})
	w.raw("\n}\n")
	return w.b, w.err
}

type writer struct {
	b   []byte
	err error
}

func (w *writer) raw(format string, args ...any) { w.b = fmt.Appendf(w.b, format, args...) }

func (w *writer) value(v any) {
	b, err := spaced(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.b = append(w.b, b...)
}

// step writes the operation, what was emitted, the state and the counters on
// lines of their own.
func (w *writer) step(s *Step) {
	input := struct {
		*Step
		Emitted  *struct{} `json:"emitted,omitempty"`
		After    *struct{} `json:"after,omitempty"`
		Counters *struct{} `json:"counters,omitempty"`
	}{Step: s}
	w.value(input)
	if w.err != nil {
		return
	}
	w.b = w.b[:len(w.b)-1] // the closing brace
	if len(s.Emitted) == 0 {
		w.raw(`, "emitted": [],`)
	} else {
		w.raw(",\n   \"emitted\": [\n    ")
		for i := range s.Emitted {
			if i > 0 {
				w.raw(",\n    ")
			}
			w.value(s.Emitted[i])
		}
		w.raw("],")
	}
	w.raw("\n   \"after\": ")
	w.value(s.After)
	w.raw(",\n   \"counters\": ")
	w.value(counted(s.Counters))
	w.raw("}")
}
