//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// tunNode is the device through which TUN interfaces are made.
const tunNode = "/dev/net/tun"

// RequireNamespace skips the test, with the cause, unless it runs in a private
// network namespace.
func RequireNamespace(t testing.TB) {
	t.Helper()
	if !entered {
		t.Fatal("netlab: TestMain of this package must call netlab.Main")
	}
	if missing != nil {
		t.Skipf("netlab: %v", missing)
	}
}

// RequireTUN skips the test, with the cause, unless it runs in a private
// network namespace where a TUN device can be made.
func RequireTUN(t testing.TB) {
	t.Helper()
	RequireNamespace(t)
	if err := probeTUN(); err != nil {
		t.Skipf("netlab: %v", err)
	}
}

// TUNMissing returns nil if a TUN device can be made in a private network
// namespace, and else what is missing. It is RequireTUN for programs.
func TUNMissing() error {
	if err := Missing(); err != nil {
		return err
	}
	return probeTUN()
}

// probeTUN makes a TUN device in the thread's namespace and drops it.
func probeTUN() error {
	fd, err := unix.Open(tunNode, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("open %s: %w: load the tun module, or hand the device to the container", tunNode, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("open %s: %w: %s; run as root or allow access to the node", tunNode, err, describeNode(tunNode))
	case err != nil:
		return fmt.Errorf("open %s: %w", tunNode, err)
	}
	defer unix.Close(fd)

	ifr, err := unix.NewIfreq("probe%d")
	if err != nil {
		return fmt.Errorf("name a TUN device: %w", err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make a TUN device: %w: CAP_NET_ADMIN in the network namespace is needed", err)
	}
	return nil
}

func describeNode(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("its mode is %04o, the user is %d", info.Mode().Perm(), os.Geteuid())
}
