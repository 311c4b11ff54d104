//go:build linux

package netlab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is the user and group that AsPlainUser runs programs as.
const nobody = 65534

// AsPlainUser runs cmd to its end the way an ordinary user would on a machine
// where everybody may open /dev/net/tun: as user 65534 without capabilities.
// Root may use it even where the real node is for root only, because cmd gets a
// private mount namespace with a node of its own; nothing outside changes. The
// program of cmd need not lie in a directory that the user may search.
//
// The environment of cmd loses the mark of Enter: a test binary run this way
// makes namespaces for itself. A process that is not the real root is an
// ordinary user already and runs cmd as it is, with the node the machine has.
func AsPlainUser(cmd *exec.Cmd) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	cmd.Env = withoutMark(cmd.Environ())
	if !realRoot() {
		return cmd.Run()
	}

	// exec of a descriptor asks for no permission on the directories above.
	program, err := os.Open(cmd.Path)
	if err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	defer program.Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, program)
	cmd.Path = fmt.Sprintf("/proc/self/fd/%d", 2+len(cmd.ExtraFiles))

	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}

	onLostThread(func() {
		if err = privateTUNNode(); err == nil {
			err = cmd.Run()
		}
	})
	return err
}

// privateTUNNode gives the calling thread, and children it forks, a mount
// namespace in which everybody may open /dev/net/tun.
func privateTUNNode() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("netlab: new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("netlab: make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("netlab: mount over /dev/net: %w", err)
	}
	const major, minor = 10, 200 // misc device "tun", Linux Documentation/admin-guide/devices.txt
	if err := unix.Mknod(tunNode, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("netlab: make %s: %w", tunNode, err)
	}
	// The umask of the process has its say in mknod, not here.
	if err := unix.Chmod(tunNode, 0o666); err != nil {
		return fmt.Errorf("netlab: open up %s: %w", tunNode, err)
	}
	return nil
}

// onLostThread calls f on a thread that ends afterwards, with whatever f
// changed about it. It is never the main thread, which could not end and whose
// namespaces are those that /proc shows for the process.
func onLostThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onLostThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// realRoot tells whether the process is root of the machine, not merely of a
// user namespace.
func realRoot() bool {
	if os.Geteuid() != 0 {
		return false
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	const whole = "0 0 4294967295" // the initial namespace maps every user to itself
	return err == nil && strings.Join(strings.Fields(string(b)), " ") == whole
}

// withoutMark removes the mark of Enter from an environment.
func withoutMark(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, e := range env {
		if !strings.HasPrefix(e, envInside+"=") {
			kept = append(kept, e)
		}
	}
	return kept
}
