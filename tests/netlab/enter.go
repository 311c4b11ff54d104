//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// envInside marks a process that already runs in a private namespace. Its value
// is insideRoot or insideUser. Child processes inherit it on purpose: the
// workers of a fuzzing test and re-executed helpers belong in the namespace of
// their parent.
const (
	envInside  = "ULISTEN_NETLAB"
	insideRoot = "root" // a network namespace only
	insideUser = "user" // a user namespace that owns a network namespace
)

// self is the running program, reachable even where its path is not.
const self = "/proc/self/exe"

// entered tells whether Enter ran in this process, and missing why it could not
// give a private namespace. Both are written before any test starts.
var (
	entered bool
	missing error
)

// Main is m.Run in a private network namespace with its loopback up, for use
// in TestMain. It returns the exit code of the tests. Flags, standard streams,
// coverage and fuzzing work as ever, because the process that runs the tests
// has the arguments of the one that was started.
func Main(m *testing.M) int {
	if code, done := Enter(); done {
		return code
	}
	return m.Run()
}

// Enter moves the program into a private network namespace by running it once
// more. In the outer process it waits for the inner one and returns its exit
// code and true: nothing is left to do but to exit. In the inner process it
// returns false at once. If no namespace can be made it returns false as well,
// and Missing says why.
//
// Call it first thing in main or TestMain, before other goroutines exist.
func Enter() (exitCode int, done bool) {
	entered = true
	if os.Getenv(envInside) != "" {
		missing = loopbackUp()
		return 0, false
	}
	var causes []error
	for _, how := range waysIn() {
		code, err := reexec(how)
		if err == nil {
			return code, true
		}
		causes = append(causes, err)
	}
	missing = fmt.Errorf("no private network namespace: %w", errors.Join(causes...))
	return 0, false
}

// Missing returns nil if the process runs in a private network namespace, and
// else the reason why it does not.
func Missing() error {
	if !entered {
		return errors.New("netlab.Enter or netlab.Main was not called")
	}
	return missing
}

// wayIn is one method to get a private network namespace.
type wayIn struct {
	mark string // value of envInside
	attr syscall.SysProcAttr
}

func waysIn() []wayIn {
	user := wayIn{mark: insideUser, attr: syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}}
	if os.Geteuid() != 0 {
		return []wayIn{user}
	}
	// Root in a container may lack CAP_SYS_ADMIN and still be allowed user
	// namespaces.
	root := wayIn{mark: insideRoot, attr: syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}}
	return []wayIn{root, user}
}

// reexec runs the program again with its own arguments and streams and returns
// its exit code. An error means that it could not be started.
func reexec(how wayIn) (int, error) {
	// Pdeathsig fires when the thread that forked ends, not when the process
	// does, so keep the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command(self)
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), envInside+"="+how.mark)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	attr := how.attr
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = &attr

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("as %s: %w", how.mark, err)
	}
	exited := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		for {
			select {
			case s := <-signals:
				// Fails only if the process has ended already.
				_ = cmd.Process.Signal(s)
			case <-exited:
				return
			}
		}
	}()
	// The exit state says it all; an error repeats it.
	_ = cmd.Wait()
	close(exited)
	<-forwarded
	return exitCode(cmd.ProcessState), nil
}

// exitCode follows the shell: a process ended by signal n counts as 128+n.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// loopbackUp brings up lo in the calling thread's namespace. Some systems let
// anybody make a user namespace and then withhold its capabilities; it shows
// here first.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo in the new namespace: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up in the new namespace: %w%s", err, appArmorHint())
	}
	return nil
}

// appArmorHint names the one setting known to grant a user namespace without
// the capabilities that belong to it.
func appArmorHint() string {
	const knob = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	if b, err := os.ReadFile(knob); err == nil && strings.TrimSpace(string(b)) != "0" {
		return " (kernel.apparmor_restrict_unprivileged_userns is on; run as root or switch it off)"
	}
	return ""
}
