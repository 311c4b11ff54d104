//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// againstEnv hands the program of the other revision to the process that netlab.Enter
// starts in a namespace, where nothing can be built.
const againstEnv = "ULISTEN_BENCH_AGAINST"

// against is ulisten as of another revision: that revision's own benchmark plays the
// server, so that both are measured in one run.
func against(revision, program string) contestant {
	return contestant{
		name:    "ulisten@" + revision,
		about:   "ulisten over a TUN with offload, as of " + revision,
		network: overTUN,
		program: program,
		plays:   "ulisten",
	}
}

// buildRevision builds the benchmark of another revision of the repository that the
// working directory is in. The program is in a directory of its own, which remove
// deletes.
func buildRevision(revision string) (program string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "ulisten-bench-")
	if err != nil {
		return "", nil, err
	}
	tree := filepath.Join(dir, "tree")
	clean := func() {
		_ = exec.Command("git", "worktree", "remove", "--force", tree).Run()
		_ = os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			clean()
		}
	}()
	commit, err := output("", "git", "rev-parse", "--verify", "--quiet", revision+"^{commit}")
	if err != nil {
		return "", nil, fmt.Errorf("--against %s: no such revision here: name a commit of this repository, as git log does, and run inside it", revision)
	}
	if _, err := output("", "git", "worktree", "add", "--detach", tree, commit); err != nil {
		return "", nil, fmt.Errorf("--against %s: check it out: %w", revision, err)
	}
	program = filepath.Join(dir, "bench")
	if _, err := output(tree, "go", "build", "-o", program, "./tests/bench"); err != nil {
		return "", nil, fmt.Errorf("--against %s: build its tests/bench: %w", revision, err)
	}
	return program, clean, nil
}

// output runs a command in a directory and returns what it prints; what it complains
// of is in the error.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) && len(failed.Stderr) > 0 {
		err = errors.New(strings.TrimSpace(string(failed.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}
