package main

import (
	"bufio"
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
	return nil
}

// privileged returns the threads of this process that have a capability, or
// might gain one.
func privileged() ([]string, error) {
	// The only error is a bad pattern.
	files, _ := filepath.Glob("/proc/self/task/*/status")
	var found []string
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			continue // the thread has ended
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimSpace(value)
			capability := strings.HasPrefix(name, "Cap") && name != "CapBnd" && strings.Trim(value, "0") != ""
			if capability || name == "NoNewPrivs" && value != "1" {
				found = append(found, filepath.Base(filepath.Dir(path)))
				break
			}
		}
		err = lines.Err()
		file.Close()
		if err != nil && len(found) == 0 {
			continue // the thread has ended
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("look at /proc/self/task: %w", os.ErrNotExist)
	}
	return found, nil
}
