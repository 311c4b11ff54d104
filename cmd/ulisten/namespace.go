package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv marks a process that runs in a network namespace made for it.
const insideEnv = "ULISTEN_INSIDE"

// inside reports whether this process runs in a namespace that inNamespace made.
func inside() bool { return os.Getenv(insideEnv) != "" }

// inNamespace runs this program again, with the same arguments and streams, in a
// new network namespace, and in a new user namespace as well if that takes one.
// The namespace, and all in it, ends with that process; the process ends with
// this one. It returns the exit code, or an error, with the remedy, if no
// namespace can be had.
func inNamespace() (exitCode int, err error) {
	user := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if os.Geteuid() != 0 {
		code, err := again(user)
		return code, allowNamespaces(err)
	}
	code, err := again(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})
	if errors.Is(err, unix.EPERM) {
		// Root in a container may lack CAP_SYS_ADMIN and still be allowed this.
		code, err = again(user)
	}
	return code, allowNamespaces(err)
}

// allowNamespaces adds the remedy to the error of a namespace that could not be
// had.
func allowNamespaces(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: run as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)", err)
}

// again runs this program once more.
func again(attr *syscall.SysProcAttr) (exitCode int, err error) {
	// The death signal follows the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr.Pdeathsig = syscall.SIGKILL

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("new network namespace: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				// It fails only if the process has ended already.
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("wait for the process in the new namespace: %w", err)
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
