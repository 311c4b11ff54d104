package profile

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/ulisten/ulisten/listenq"
)

const (
	// MaxSize is the size of the largest file, in bytes.
	MaxSize = 64 << 10
	// maxDepth bounds what is inside of what.
	maxDepth = 8
	// maxText bounds a title, a citation and the like, in bytes.
	maxText = 1000
	// maxWaits bounds a list of durations.
	maxWaits = 64
)

// Choose returns the built-in profile with a name, or reads a file: what holds a
// slash or ends in .yaml or .yml.
func Choose(nameOrFile string) (*listenq.Profile, error) { return choose(servers, nameOrFile) }

// Load reads a file.
func Load(path string) (*listenq.Profile, error) { return load(servers, path) }

// Parse reads the text of a file. name is the file's, for errors and citations;
// a profile that does not say its own name gets the file's without extension.
func Parse(name string, text []byte) (*listenq.Profile, error) { return parse(servers, name, text) }

func choose[P any](k platforms[P], nameOrFile string) (*P, error) {
	ext := filepath.Ext(nameOrFile)
	if strings.ContainsRune(nameOrFile, '/') || ext == ".yaml" || ext == ".yml" {
		return load(k, nameOrFile)
	}
	p, err := k.named(nameOrFile)
	if err != nil {
		err = fmt.Errorf("%w, or a file that ends in .yaml", err)
	}
	return p, err
}

func load[P any](k platforms[P], path string) (*P, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return parse(k, path, text)
}

func parse[P any](k platforms[P], name string, text []byte) (*P, error) {
	r := &reader[P]{platforms: k, file: name, at: map[string]*token.Position{}}
	if len(text) > MaxSize {
		return nil, r.fail(nil, "", "more than %d bytes", MaxSize)
	}
	tokens := lexer.Tokenize(string(text))
	if deep := tooDeep(tokens); deep != nil {
		return nil, r.failAtPosition(deep.Position, "", fmt.Errorf("nested more than %d deep", maxDepth))
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, r.syntax(err)
	}
	var docs []*ast.DocumentNode
	for _, d := range file.Docs {
		if d.Body != nil {
			docs = append(docs, d)
		}
	}
	if len(docs) != 1 {
		return nil, r.fail(nil, "", "%d documents: need one", len(docs))
	}
	return r.profile(docs[0].Body)
}

// tooDeep returns the token that opens one bracket, or list entry of one line,
// too many; nil if none does. The parser takes quadratic time for such text.
func tooDeep(tokens token.Tokens) *token.Token {
	depth, line, entries := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			entries++
		}
		if depth > maxDepth || entries > maxDepth {
			return t
		}
	}
	return nil
}

// A reader builds a profile and remembers where its fields were said.
type reader[P any] struct {
	platforms[P]
	file string
	at   map[string]*token.Position
}

// fail makes an Error at a node, or at the top of the file without one.
func (r *reader[P]) fail(at ast.Node, field, format string, args ...any) *Error {
	var position *token.Position
	if at != nil && at.GetToken() != nil {
		position = at.GetToken().Position
	}
	return r.failAtPosition(position, field, fmt.Errorf(format, args...))
}

// failAtPosition makes an Error; nil is the top of the file.
func (r *reader[P]) failAtPosition(at *token.Position, field string, err error) *Error {
	e := &Error{File: r.file, Line: 1, Column: 1, Field: field, Err: err}
	if at != nil {
		e.Line, e.Column = at.Line, at.Column
	}
	return e
}

// syntax turns an error of the YAML parser into one of ours.
func (r *reader[P]) syntax(err error) *Error {
	var located interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &located) || located.GetToken() == nil {
		return r.fail(nil, "", "YAML: %w", err)
	}
	return r.failAtPosition(located.GetToken().Position, "", errors.New("YAML: "+located.GetMessage()))
}

// An entry is a key and its value in a mapping.
type entry struct {
	key   string
	node  ast.Node // the key
	value ast.Node
}

// entries takes a mapping apart. path is the mapping's own.
func (r *reader[P]) entries(n ast.Node, path string) ([]entry, error) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		return nil, r.fail(n, path, "need fields and values, not %s", kind(n))
	}
	var all []entry
	for _, p := range pairs {
		key, ok := p.Key.(*ast.StringNode)
		if !ok {
			return nil, r.fail(p.Key, path, "%s is no name of a field", kind(p.Key))
		}
		e := entry{key.Value, p.Key, p.Value}
		if slices.ContainsFunc(all, func(other entry) bool { return other.key == e.key }) {
			return nil, r.fail(e.node, join(path, e.key), "given twice")
		}
		all = append(all, e)
	}
	return all, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func kind(n ast.Node) string {
	if n == nil {
		return "nothing"
	}
	switch n.Type() {
	case ast.NullType:
		return "nothing"
	case ast.SequenceType:
		return "a list"
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.AnchorType, ast.AliasType, ast.TagType, ast.MergeKeyType:
		return "an anchor, alias, tag or merge key"
	}
	return "a single value"
}

func (r *reader[P]) profile(body ast.Node) (*P, error) {
	top, err := r.entries(body, "")
	if err != nil {
		return nil, err
	}
	p, err := r.base(body, top)
	if err != nil {
		return nil, err
	}
	base := r.clone(p)
	its, after := r.parts(p), r.parts(base)
	*its.name = strings.TrimSuffix(filepath.Base(r.file), filepath.Ext(r.file))
	*its.title = *its.name + ", after " + *after.title
	v := reflect.ValueOf(p).Elem()
	var citations *entry
	for _, e := range top {
		switch e.key {
		case "base":
		case "citations":
			citations = &e
		default:
			field, ok := fieldNamed(v, e.key)
			if !ok {
				return nil, r.fail(e.node, "", "%w", listenq.UnknownName("field", e.key, append([]string{"base"}, names(v.Type())...)))
			}
			if err := r.set(field, e, e.key); err != nil {
				return nil, err
			}
		}
	}
	if err := r.checkName(p); err != nil {
		return nil, err
	}
	r.cite(p, base)
	if citations != nil {
		if err := r.readCitations(p, *citations); err != nil {
			return nil, err
		}
	}
	if err := r.validate(p); err != nil {
		return nil, r.contradiction(err)
	}
	return p, nil
}

// base returns the profile that the file starts from.
func (r *reader[P]) base(body ast.Node, top []entry) (*P, error) {
	i := slices.IndexFunc(top, func(e entry) bool { return e.key == "base" })
	if i < 0 {
		return nil, r.fail(body, "base", "missing: name the profile to start from, as in base: linux-6")
	}
	name, err := r.scalar(top[i].value, "base")
	if err != nil {
		return nil, err
	}
	p, err := r.named(name)
	if err != nil {
		return nil, r.fail(top[i].value, "base", "%w", err)
	}
	return p, nil
}

// set reads a field, or a group of fields.
func (r *reader[P]) set(field reflect.Value, e entry, path string) error {
	r.at[path] = e.value.GetToken().Position
	if field.Kind() == reflect.Struct && !isText(field) {
		r.at[path] = e.node.GetToken().Position
		entries, err := r.entries(e.value, path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			inner, ok := fieldNamed(field, e.key)
			if !ok {
				return r.fail(e.node, path, "%w", listenq.UnknownName("field", e.key, names(field.Type())))
			}
			if err := r.set(inner, e, join(path, e.key)); err != nil {
				return err
			}
		}
		return nil
	}
	if waits, ok := field.Addr().Interface().(*[]time.Duration); ok {
		return r.durations(waits, e.value, path)
	}
	text, err := r.scalar(e.value, path)
	if err != nil {
		return err
	}
	if err := read(field, text); err != nil {
		return r.fail(e.value, path, "%w", err)
	}
	return nil
}

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// read sets a field from the text of a scalar.
func read(field reflect.Value, text string) error {
	switch f := field.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return f.UnmarshalText([]byte(text))
	case *time.Duration:
		d, err := duration(text)
		*f = d
		return err
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no whole number", clip(text))
		}
		*f = n
		return nil
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q: use true or false", clip(text))
		}
		*f = text == "true"
		return nil
	case *string:
		*f = text
		return nil
	}
	return fmt.Errorf("a field of type %v cannot be read", field.Type())
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: use one like 500ms or 3s", clip(text))
	}
	return d, nil
}

func clip(text string) string {
	if len(text) > 64 {
		return strings.ToValidUTF8(text[:64], "") + "..."
	}
	return text
}

// scalar returns the text of a single value as it is written, without quotes.
func (r *reader[P]) scalar(n ast.Node, path string) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		if len(n.Value) > maxText {
			return "", r.fail(n, path, "more than %d bytes", maxText)
		}
		return n.Value, nil
	case *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode:
		return n.GetToken().Value, nil
	}
	return "", r.fail(n, path, "need a single value, not %s", kind(n))
}

func (r *reader[P]) durations(to *[]time.Duration, n ast.Node, path string) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return r.fail(n, path, "need a list of durations like [1s, 2s], not %s", kind(n))
	}
	if len(list.Values) > maxWaits {
		return r.fail(n, path, "more than %d durations", maxWaits)
	}
	var all []time.Duration
	for _, item := range list.Values {
		text, err := r.scalar(item, path)
		if err != nil {
			return err
		}
		d, err := duration(text)
		if err != nil {
			return r.fail(item, path, "%w", err)
		}
		all = append(all, d)
	}
	*to = all
	return nil
}

// checkName refuses the name of a built-in profile for anything else.
func (r *reader[P]) checkName(p *P) error {
	name := *r.parts(p).name
	builtIn, err := r.named(name)
	if err != nil {
		return nil
	}
	if paths := r.differing(p, builtIn); len(paths) > 0 {
		return r.failAt("name", fmt.Errorf("%s is a built-in profile with another %s: choose another name", name, paths[0]))
	}
	return nil
}

// differing returns the paths of the fields that two profiles differ in.
func (r *reader[P]) differing(p, q *P) []string {
	var paths []string
	next, stop := iter.Pull2(r.fields(q))
	defer stop()
	for path, value := range r.fields(p) {
		if _, other, _ := next(); Text(value) != Text(other) {
			paths = append(paths, path)
		}
	}
	return paths
}

// cite gives values that differ from the base's the file as their citation.
func (r *reader[P]) cite(p, base *P) {
	for _, path := range r.differing(p, base) {
		source := fmt.Sprintf("%s:%d", filepath.Base(r.file), r.at[path].Line)
		r.setCitation(p, path, listenq.Citation{Verified: listenq.Guess, Source: source})
	}
}

func (r *reader[P]) setCitation(p *P, path string, c listenq.Citation) {
	citations := r.parts(p).citations
	if *citations == nil {
		*citations = map[string]listenq.Citation{}
	}
	(*citations)[path] = c
}

// readCitations reads the file's own.
func (r *reader[P]) readCitations(p *P, e entry) error {
	entries, err := r.entries(e.value, "citations")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := r.knownPath(p, e.key); err != nil {
			return r.fail(e.node, "citations", "%w", err)
		}
		c := listenq.Citation{Verified: listenq.Guess}
		if err := r.set(reflect.ValueOf(&c).Elem(), e, "citations."+e.key); err != nil {
			return err
		}
		r.setCitation(p, e.key, c)
	}
	return nil
}

// knownPath refuses what is no path of a field. The error lists the fields of
// the group that is meant.
func (r *reader[P]) knownPath(p *P, path string) error {
	group, _, _ := strings.Cut(path, ".")
	var groups, paths []string
	for known := range r.fields(p) {
		if known == path {
			return nil
		}
		g, _, _ := strings.Cut(known, ".")
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
		if g == group {
			paths = append(paths, known)
		}
	}
	if paths == nil {
		paths = groups
	}
	return listenq.UnknownName("field", path, paths)
}

// failAt makes an Error where a field was said.
func (r *reader[P]) failAt(field string, err error) *Error {
	return r.failAtPosition(r.at[field], field, err)
}

// contradiction gives an error of Validate its place: where the field was said,
// or the top of the file if the value is the base's.
func (r *reader[P]) contradiction(err error) *Error {
	var wrong *listenq.ProfileError
	if errors.As(err, &wrong) {
		return r.failAt(wrong.Field, errors.New(wrong.Reason))
	}
	return r.failAt("", err)
}
