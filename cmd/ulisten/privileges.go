package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dropPrivileges gives up all capabilities, on all threads and for good: once the
// device is open, nothing needs them any more.
func dropPrivileges() error {
	if err := dropOnAllThreads(); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	left, err := privileged()
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("threads %s keep some: is a security module in the way?", strings.Join(left, ", "))
	}
	if err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return nil
}

// privileged returns the threads of this process that have a capability, or
// might gain one.
func privileged() ([]string, error) {
	// The only error is a bad pattern.
	files, _ := filepath.Glob("/proc/self/task/*/status")
	if len(files) == 0 {
		return nil, fmt.Errorf("/proc/self/task: %w: mount /proc", os.ErrNotExist)
	}
	var found []string
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			capable := strings.HasPrefix(name, "Cap") && name != "CapBnd" && strings.Trim(value, "0") != ""
			if capable || name == "NoNewPrivs" && value != "1" {
				found = append(found, filepath.Base(filepath.Dir(path)))
				break
			}
		}
	}
	return found, nil
}
