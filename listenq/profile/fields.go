package profile

import (
	"reflect"
	"strings"

	"github.com/ulisten/ulisten/listenq"
)

// A Field is one value of a profile.
type Field struct {
	// Path is how files and citations call it: "backlog.negative".
	Path string
	// Value is it as files write it.
	Value string
	// Citation says how it is known; false if nothing does.
	Citation listenq.Citation
	Cited    bool
}

// Fields returns the values of a profile in the order of listenq.Profile, all
// but its name and title.
func Fields(p *listenq.Profile) []Field {
	var all []Field
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		group := nameOf(v.Type().Field(i))
		if v.Field(i).Kind() != reflect.Struct {
			continue
		}
		for j := range v.Field(i).NumField() {
			f := Field{Path: group + "." + nameOf(v.Field(i).Type().Field(j)), Value: text(v.Field(i).Field(j))}
			f.Citation, f.Cited = p.Citations[f.Path]
			all = append(all, f)
		}
	}
	return all
}

// nameOf returns the name that a field has in files.
func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// names returns the names of the fields of a struct.
func names(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		all = append(all, nameOf(t.Field(i)))
	}
	return all
}

// fieldNamed returns the field with a name.
func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if nameOf(v.Type().Field(i)) == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}
