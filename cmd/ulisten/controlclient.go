package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// controlFlag selects a running serve.
type controlFlag struct {
	Control string `placeholder:"PATH" help:"The control socket of the serve to talk to. Without it, the only one that runs."`
}

// controlTimeout bounds one request.
const controlTimeout = 5 * time.Second

// runDir is where serve puts its control socket.
func runDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "ulisten")
	}
	if unix.Access("/run", unix.W_OK) == nil {
		return "/run/ulisten"
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("ulisten-%d", os.Geteuid()))
}

// socketName is the name of a device's control socket.
func socketName(device string) string { return device + ".sock" }

// findSockets returns the control sockets in all the places where serve may have
// put them, those with a process behind them and those without.
func findSockets() (alive, dead, places []string) {
	places = []string{"/run/ulisten", filepath.Join(os.TempDir(), "ulisten-*")}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		places = append([]string{filepath.Join(dir, "ulisten")}, places...)
	}
	for _, place := range places {
		// The only error is a bad pattern.
		found, _ := filepath.Glob(filepath.Join(place, socketName("*")))
		for _, path := range found {
			conn, err := net.DialTimeout("unix", path, time.Second)
			switch {
			case err == nil:
				conn.Close()
				alive = append(alive, path)
			case errors.Is(err, unix.ECONNREFUSED):
				dead = append(dead, path)
			}
		}
	}
	return alive, dead, places
}

// path is the socket to talk to.
func (f *controlFlag) path() (string, error) {
	if f.Control != "" {
		return f.Control, nil
	}
	alive, dead, places := findSockets()
	switch {
	case len(alive) == 1:
		return alive[0], nil
	case len(alive) > 1:
		return "", fmt.Errorf("%d serve processes run: choose one with --control: %s", len(alive), strings.Join(alive, ", "))
	case len(dead) > 0:
		return "", fmt.Errorf("no serve runs; %s was left by a process that is gone: start `ulisten serve`, or remove the file", join(dead))
	}
	return "", fmt.Errorf("no serve runs: no control socket in %s: start `ulisten serve`, or name its socket with --control", strings.Join(places, ", "))
}

// ask sends one request.
func (f *controlFlag) ask(r request) (response, error) {
	path, err := f.path()
	if err != nil {
		return response{}, err
	}
	conn, err := net.DialTimeout("unix", path, controlTimeout)
	if err != nil {
		return response{}, fmt.Errorf("control socket %s: %w", path, explainDial(err))
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(controlTimeout))
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return response{}, fmt.Errorf("control socket %s: %w: did the serve just end?", path, errnoIn(err))
	}
	var reply response
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&reply); err != nil {
		return response{}, fmt.Errorf("control socket %s: no answer: %w: did the serve just end?", path, errnoIn(err))
	}
	switch {
	case reply.Error != "" && reply.Usage:
		return response{}, usageError{errors.New(reply.Error)}
	case reply.Error != "":
		return response{}, errors.New(reply.Error)
	}
	return reply, nil
}

// explainDial adds a remedy.
func explainDial(err error) error {
	errno := errnoIn(err)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: its process is gone: start `ulisten serve` again, or remove the file", errno)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no serve uses it: start `ulisten serve`, or see its ready line for the path", errno)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: it belongs to another user: run as that user or as root", errno)
	}
	return err
}

// join lists names for a sentence.
func join(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
