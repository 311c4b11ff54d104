package profile

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Text is a value of listenq.Profile.Fields as files write it: "maximum",
// "3n/2+1", [1s, 2s], or a string in quotes.
func Text(value any) string {
	switch x := value.(type) {
	case time.Duration:
		return x.String()
	case []time.Duration:
		var all []string
		for _, d := range x {
			all = append(all, d.String())
		}
		return "[" + strings.Join(all, ", ") + "]"
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			return fmt.Sprintf("%q", err)
		}
		return string(text)
	case string:
		return fmt.Sprintf("%q", x)
	}
	return fmt.Sprint(value)
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
