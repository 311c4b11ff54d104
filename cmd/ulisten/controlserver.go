package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// controlClients bounds how many clients are served at once; more wait.
	controlClients = 16
	// controlIdle is how long a client may be silent.
	controlIdle = 10 * time.Second
)

// controlSocket is the listening end of a control socket.
type controlSocket struct {
	net.Listener
	path   string
	newDir string // the directory, if it was made for the socket
}

// Close removes the socket.
func (c *controlSocket) Close() error {
	err := c.Listener.Close()
	if c.newDir != "" {
		// It fails if another serve has put its socket there meanwhile.
		_ = os.Remove(c.newDir)
	}
	return err
}

// listenControl makes a control socket that only its owner may open. The socket
// of a process that has died is replaced.
func listenControl(path string) (*controlSocket, error) {
	fail := func(err error) (*controlSocket, error) {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	newDir, err := controlDir(filepath.Dir(path))
	if err != nil {
		return fail(err)
	}
	if err := removeStale(path); err != nil {
		return fail(err)
	}
	// The mode of the unbound socket becomes that of the file, so nobody else
	// can open it at any moment.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var modeErr error
		err := raw.Control(func(fd uintptr) { modeErr = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, modeErr)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if errors.Is(err, unix.EINVAL) {
		return fail(fmt.Errorf("%w: the path is too long (a socket's may have 107 bytes): choose another with --control", unix.EINVAL))
	}
	if err != nil {
		return fail(fmt.Errorf("%w: choose another place with --control", errnoIn(err)))
	}
	return &controlSocket{Listener: l, path: path, newDir: newDir}, nil
}

// controlDir makes the directory of a control socket and returns it, or "" if it
// exists. One in a place where everybody can write must be nobody else's.
func controlDir(dir string) (made string, err error) {
	err = os.Mkdir(dir, 0o700)
	if err == nil {
		return dir, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make its directory: %w: choose another place with --control", errnoIn(err))
	}
	if filepath.Dir(dir) != filepath.Clean(os.TempDir()) {
		return "", nil
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a directory of yours: remove it, or choose another place with --control", dir)
	}
	return "", nil
}

// removeStale removes the socket of a dead process, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something that is not a socket: remove it, or choose another place with --control")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("another serve answers there: stop it, or choose another place with --control")
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("%w: somebody else's socket: remove it, or choose another place with --control", errnoIn(err))
}

// errnoIn reduces an error to its errno, where the message around it says the
// rest already.
func errnoIn(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// serve answers requests until the socket is closed.
func (c *controlSocket) serve(handle func(request) response) {
	slots := make(chan struct{}, controlClients)
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		slots <- struct{}{}
		conn, err := c.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, as a rule: clients must go before others come.
			<-slots
			time.Sleep(100 * time.Millisecond)
			continue
		}
		clients.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			answer(conn, handle)
		})
	}
}

// answer serves one client.
func answer(conn net.Conn, handle func(request) response) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxRequest)
	out := json.NewEncoder(conn)
	for {
		_ = conn.SetDeadline(time.Now().Add(controlIdle))
		if !lines.Scan() {
			if errors.Is(lines.Err(), bufio.ErrTooLong) {
				_ = out.Encode(response{Error: fmt.Sprintf("request of more than %d bytes", maxRequest)})
			}
			return
		}
		var reply response
		if r, err := decodeRequest(lines.Bytes()); err != nil {
			reply = usageResponse(err)
		} else {
			reply = handle(r)
		}
		if out.Encode(reply) != nil {
			return
		}
	}
}
