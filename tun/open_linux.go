package tun

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// devicePath is where the kernel's TUN driver is opened.
const devicePath = "/dev/net/tun"

// Open creates a TUN device in the network namespace of the calling thread,
// configures it and brings it up. What it created is removed again if it
// fails.
//
// An error is one line that names the operation, the value, the cause and,
// where there is one, the remedy. It wraps the errno of the system call that
// failed: EPERM or EACCES without privilege, ENOENT or ENODEV without the
// driver, EBUSY if the name is taken, EADDRINUSE if an address is, EINVAL
// or ENOTTY if OffloadOn is refused.
func Open(cfg Config) (*Link, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	file, name, offload, err := openDevice(cfg)
	if err != nil {
		return nil, err
	}
	// Not persistent: closing the descriptor removes the device, with all
	// that is configured on it.
	if err := configure(cfg, name); err != nil {
		file.Close()
		return nil, err
	}
	l, err := newLink(file, name, cfg.MTU, offload)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("tun: %s: %w", name, err)
	}
	return l, nil
}

// openDevice creates the device in the mode that cfg asks for.
func openDevice(cfg Config) (file *os.File, name string, offload bool, err error) {
	if cfg.Offload != OffloadOff {
		file, name, err = openOffload(cfg.Name)
		if err == nil {
			return file, name, true, nil
		}
		if cfg.Offload == OffloadOn || !refusedOffload(err) {
			return nil, "", false, explainOpen(cfg.Name, err)
		}
	}
	file, name, err = openPlain(cfg.Name)
	if err != nil {
		return nil, "", false, explainOpen(cfg.Name, err)
	}
	return file, name, false, nil
}

// refusedOffload tells "the kernel has no offload" from failures that a
// plain device would meet as well.
func refusedOffload(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP)
}

// offloadFeatures is what the kernel may leave undone in packets for us:
// checksums and TCP segmentation. Not TUN_F_TSO_ECN, since netstack never
// negotiates ECN; not TUN_F_USO4 and 6, since netstack would take several
// datagrams for one.
const offloadFeatures = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6

// openOffload opens a device whose frames carry a virtio header.
func openOffload(pattern string) (*os.File, string, error) {
	fd, name, err := createExclusive(pattern, unix.IFF_VNET_HDR)
	if err != nil {
		return nil, "", err
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadFeatures); err != nil {
		unix.Close(fd)
		return nil, "", os.NewSyscallError("TUNSETOFFLOAD", err)
	}
	// Only now: the runtime's poller finds an error on a descriptor that
	// has no device yet.
	return os.NewFile(uintptr(fd), devicePath), name, nil
}

// createExclusive creates a device that must not be there already:
// without IFF_TUN_EXCL the kernel attaches to a persistent one.
func createExclusive(pattern string, flags uint16) (fd int, name string, err error) {
	fd, err = unix.Open(devicePath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", os.NewSyscallError("open", err)
	}
	ifr, err := unix.NewIfreq(pattern)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL | flags)
		err = os.NewSyscallError("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	}
	if err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	return fd, ifr.Name(), nil
}

// openPlain opens a device without virtio headers.
func openPlain(pattern string) (*os.File, string, error) {
	// water cannot ask for IFF_TUN_EXCL, and leaks a descriptor when it
	// fails. So find out first, with a device of the same name that is
	// removed at once, whether and under which name it would succeed.
	fd, name, err := createExclusive(pattern, 0)
	if err != nil {
		return nil, "", err
	}
	unix.Close(fd)
	cfg := water.Config{DeviceType: water.TUN}
	cfg.Name = name
	ifce, err := water.New(cfg)
	if err != nil {
		return nil, "", err
	}
	file, ok := ifce.ReadWriteCloser.(*os.File)
	if !ok {
		ifce.Close()
		return nil, "", fmt.Errorf("water opened a %T instead of a file", ifce.ReadWriteCloser)
	}
	return file, ifce.Name(), nil
}

// explainOpen adds the value and a remedy to a failure to create a device.
func explainOpen(pattern string, err error) error {
	var errno syscall.Errno
	errors.As(err, &errno)
	switch errno {
	case unix.ENOENT:
		return fmt.Errorf("tun: %s does not exist: %w: load the driver with `modprobe tun`, or in a container create the node with `mkdir -p /dev/net && mknod /dev/net/tun c 10 200`", devicePath, err)
	case unix.ENODEV, unix.ENXIO:
		return fmt.Errorf("tun: %s has no driver behind it: %w: load it with `modprobe tun`", devicePath, err)
	case unix.EACCES:
		return fmt.Errorf("tun: no permission to open %s: %w: run as root, or `chmod 666 %s`, which is its usual mode", devicePath, err, devicePath)
	case unix.EPERM:
		return fmt.Errorf("tun: create device %q: CAP_NET_ADMIN is missing: %w: run as root, `setcap cap_net_admin=ep` the program, or run it under `unshare -Urn`", pattern, err)
	case unix.EBUSY:
		return fmt.Errorf("tun: create device %q: the name is taken: %w: choose another, or a pattern like \"ul%%d\"", pattern, err)
	case unix.EINVAL, unix.ENOTTY, unix.EOPNOTSUPP:
		return fmt.Errorf("tun: create device %q: the kernel refuses this kind of device: %w: try OffloadOff", pattern, err)
	}
	return fmt.Errorf("tun: create device %q: %w", pattern, err)
}
