package profile

import "fmt"

// An Error is what is wrong with a file, and where.
type Error struct {
	File         string
	Line, Column int    // from 1
	Field        string // path, or "" if it is about the file
	Err          error
}

// Error prints file:line:column, the field and the mistake.
func (e *Error) Error() string {
	at := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Field != "" {
		at += e.Field + ": "
	}
	return at + e.Err.Error()
}

// Unwrap returns the mistake.
func (e *Error) Unwrap() error { return e.Err }
