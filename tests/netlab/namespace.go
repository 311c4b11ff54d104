//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Namespace is a network namespace inside the one of the process. Its loopback
// is up and it has no other device until it is given one. It is safe for
// concurrent use, except for Close.
type Namespace struct {
	fd netns.NsHandle

	mu       sync.Mutex
	commands []*exec.Cmd
}

// New returns a new namespace that lives as long as the test. It skips the test
// if namespaces cannot be had.
func New(t testing.TB) *Namespace {
	t.Helper()
	RequireNamespace(t)
	n, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Open returns a new namespace; the caller must Close it. It refuses to work
// outside a private network namespace, see Enter.
func Open() (*Namespace, error) {
	if err := Missing(); err != nil {
		return nil, fmt.Errorf("netlab: %w", err)
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("netlab: current namespace: %w", err)
	}
	defer home.Close()
	fd, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("netlab: new namespace: %w", err)
	}
	err = loopbackUp()
	goHome(home)
	if err != nil {
		fd.Close()
		return nil, fmt.Errorf("netlab: %w", err)
	}
	return &Namespace{fd: fd}, nil
}

// Close kills what Start started and lets go of the namespace, which the kernel
// removes, devices included, when the last socket and process in it are gone.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, cmd := range n.commands {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("netlab: kill %s: %w", cmd.Path, err))
		}
	}
	n.commands = nil
	if err := n.fd.Close(); err != nil {
		errs = append(errs, fmt.Errorf("netlab: close namespace: %w", err))
	}
	return errors.Join(errs...)
}

// Do calls f in the namespace, on the calling goroutine, which stays on its
// thread meanwhile. Sockets and devices that f itself opens belong to the
// namespace; goroutines that it starts do not run there. Calls nest, and f may
// end the test.
func (n *Namespace) Do(f func()) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		panic(fmt.Sprintf("netlab: current namespace: %v", err))
	}
	defer home.Close()
	if err := netns.Set(n.fd); err != nil {
		runtime.UnlockOSThread()
		panic(fmt.Sprintf("netlab: enter namespace: %v", err))
	}
	defer goHome(home)
	f()
}

// goHome ends what LockOSThread and a change of namespace began. A thread that
// cannot return stays locked, so that it ends with its goroutine and nobody
// else runs in the wrong namespace.
func goHome(home netns.NsHandle) {
	if netns.Set(home) == nil {
		runtime.UnlockOSThread()
	}
}

// Start starts cmd in the namespace. The process is killed by Close and when
// the test process dies. The caller waits for it as usual.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var err error
	n.Do(func() { err = cmd.Start() })
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.commands = append(n.commands, cmd)
	return nil
}

// Run starts cmd in the namespace and waits for its end, like exec.Cmd.Run.
func (n *Namespace) Run(cmd *exec.Cmd) error {
	if err := n.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Listen is net.Listen in the namespace. Names are not resolved: address holds
// an IP address or none.
func (n *Namespace) Listen(network, address string) (l net.Listener, err error) {
	n.Do(func() { l, err = net.Listen(network, address) })
	return l, err
}

// Dial is net.Dialer.DialContext in the namespace. Names are not resolved:
// address holds an IP address.
func (n *Namespace) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	n.Do(func() { c, err = new(net.Dialer).DialContext(ctx, network, address) })
	return c, err
}

// Connect is the function Connect in the namespace.
func (n *Namespace) Connect(config ConnectConfig) (s *Socket, err error) {
	n.Do(func() { s, err = Connect(config) })
	return s, err
}

// Netlink returns a netlink handle that configures the namespace. The caller
// closes it.
func (n *Namespace) Netlink() (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(n.fd)
	if err != nil {
		return nil, fmt.Errorf("netlab: netlink: %w", err)
	}
	return h, nil
}

// SetSysctl writes a network setting of the namespace, named as sysctl(8) does:
// "net.ipv4.tcp_syn_retries".
func (n *Namespace) SetSysctl(name, value string) (err error) {
	n.Do(func() { err = os.WriteFile(sysctlPath(name), []byte(value), 0) })
	return err
}

// Sysctl reads a network setting of the namespace.
func (n *Namespace) Sysctl(name string) (value string, err error) {
	var b []byte
	n.Do(func() { b, err = os.ReadFile(sysctlPath(name)) })
	return strings.TrimSpace(string(b)), err
}

func sysctlPath(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}
