//go:build linux

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// progress is a status line that overwrites itself. It is silent unless it is
// shown on a terminal.
type progress struct {
	terminal *os.File
}

func newProgress(f *os.File) progress {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return progress{}
	}
	return progress{f}
}

const eraseLine = "\r\033[K"

func (p progress) show(format string, args ...any) {
	if p.terminal != nil {
		fmt.Fprintf(p.terminal, eraseLine+format, args...)
	}
}

func (p progress) clear() { p.show("") }
