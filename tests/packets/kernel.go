//go:build linux

package packets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tests/netlab"
)

const (
	// KernelTolerance is how far the kernel's packets may be off their time: its
	// timers are, on a busy machine.
	KernelTolerance = 20 * time.Millisecond
	// wheel is the part of its delay by which a timer of the kernel may be late,
	// since its wheel turns in steps (kernel/time/timer.c, LVL_CLK_SHIFT).
	wheel = 8
)

// deviceName is the kernel's device towards the peer.
const deviceName = "packets0"

// given are the settings that our stack behaves by and does not have as settings.
var given = Settings{
	{"net.ipv4.tcp_congestion_control", "reno"},
	{"net.ipv4.tcp_rmem", "4096 131072 6291456"},
}

// A kernel is the kernel of this machine in a network namespace, with a TUN device
// between it and the peer. What it sends is read beside the device, where the
// kernel notes the time: how late this program runs does not matter.
type kernel struct {
	tun, tap int
	start    time.Time
	err      error // of the tap
}

// PlayOnKernel plays a script on the kernel that the program runs on, in a network
// namespace of its own and in real time. The program must have entered a private
// namespace; see netlab.Enter.
func PlayOnKernel(s *Script, version int) error {
	ns, err := netlab.Open()
	if err != nil {
		return err
	}
	defer ns.Close()
	ns.Do(func() {
		m := new(kernel)
		if err = m.open(version); err != nil {
			return
		}
		defer unix.Close(m.tun)
		defer unix.Close(m.tap)
		err = errors.Join(Play(m, s, version), m.err)
	})
	return err
}

// open makes the device and the tap.
func (m *kernel) open(version int) error {
	for _, s := range given {
		if err := m.SetSysctl(s.Name, s.Value); err != nil {
			return err
		}
	}
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	m.tun = tun
	ifr, err := unix.NewIfreq(deviceName)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make a TUN device: %w", err)
	}
	link, err := netlink.LinkByName(deviceName)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, mtu(version)); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	own, addr := stack4, &netlink.Addr{}
	if version == 6 {
		own, addr.Flags = stack6, unix.IFA_F_NODAD
	}
	addr.IPNet = &net.IPNet{IP: own.Addr().AsSlice(), Mask: net.CIDRMask(own.Bits(), own.Addr().BitLen())}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("add %v: %w", own, err)
	}
	if err := usable(own.Addr()); err != nil {
		return err
	}
	m.tap, err = openTap(link.Attrs().Index)
	m.start = time.Now()
	return err
}

// usable waits until the kernel takes packets to an address of its own: for IPv6 it
// does something in the background first.
func usable(a netip.Addr) error {
	const patience = 5 * time.Second
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		routes, err := netlink.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Since(begun) > patience {
			return fmt.Errorf("%v is not usable: route %v, %w", a, routes, err)
		}
	}
}

// openTap returns a socket that gets what crosses a device, with times.
func openTap(device int) (int, error) {
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return -1, fmt.Errorf("SO_TIMESTAMPNS: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: device}); err != nil {
		return -1, fmt.Errorf("bind a packet socket: %w", err)
	}
	return fd, nil
}

func (m *kernel) Now() time.Duration { return time.Since(m.start) }

func (m *kernel) AdvanceTo(t time.Duration) { time.Sleep(t - m.Now()) }

func (m *kernel) Await(t time.Duration) {
	left := unix.NsecToTimespec(max(t-m.Now(), 0).Nanoseconds())
	// Woken too early or not, the caller looks.
	_, _ = unix.Ppoll([]unix.PollFd{{Fd: int32(m.tap), Events: unix.POLLIN}}, &left, nil)
}

func (m *kernel) Inject(packet []byte) error {
	_, err := unix.Write(m.tun, packet)
	return err
}

// Sent implements Machine: it reads what the tap has got.
func (m *kernel) Sent() []Sent {
	var sent []Sent
	b, oob := make([]byte, 1<<16), make([]byte, 128)
	for {
		n, oobn, _, from, err := unix.Recvmsg(m.tap, b, oob, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				m.err = fmt.Errorf("read the tap: %w", err)
			}
			return sent
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype != unix.PACKET_OUTGOING {
			continue
		}
		at := m.Now()
		if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 && len(messages[0].Data) >= 16 {
			d := messages[0].Data
			stamp := time.Unix(int64(binary.NativeEndian.Uint64(d)), int64(binary.NativeEndian.Uint64(d[8:])))
			at = stamp.Sub(m.start.Round(0)) // the wall clock of both
		}
		sent = append(sent, Sent{at, append([]byte(nil), b[:n]...)})
	}
}

func (m *kernel) Early() time.Duration { return KernelTolerance }

func (m *kernel) Late(delay time.Duration) time.Duration { return KernelTolerance + delay/wheel }

func (m *kernel) SetSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	return os.WriteFile(path, []byte(value), 0)
}

// The calls, without the help of golang.org/x/sys/unix where that has none.

func (*kernel) Socket(domain, typ, protocol int) (int, error) {
	return unix.Socket(domain, typ, protocol)
}

func (*kernel) Bind(fd int, addr unix.Sockaddr) error { return unix.Bind(fd, addr) }

func (*kernel) Listen(fd, backlog int) error { return unix.Listen(fd, backlog) }

func (*kernel) Accept4(fd, flags int) (int, unix.Sockaddr, error) { return unix.Accept4(fd, flags) }

func (*kernel) Connect(fd int, addr unix.Sockaddr) error { return unix.Connect(fd, addr) }

func (*kernel) Shutdown(fd, how int) error { return unix.Shutdown(fd, how) }

func (*kernel) Close(fd int) error { return unix.Close(fd) }

func (*kernel) Read(fd int, b []byte) (int, error) { return unix.Read(fd, b) }

func (*kernel) Write(fd int, b []byte) (int, error) { return unix.Write(fd, b) }

func (*kernel) Recv(fd int, b []byte, flags int) (int, error) {
	n, _, err := unix.Recvfrom(fd, b, flags)
	return n, err
}

func (*kernel) Send(fd int, b []byte, flags int) (int, error) {
	return unix.SendmsgN(fd, b, nil, nil, flags)
}

func (*kernel) Ioctl(fd int, request uint) (int, error) { return unix.IoctlGetInt(fd, request) }

func (*kernel) Poll(fds []unix.PollFd, timeout int) (int, error) { return unix.Poll(fds, timeout) }

func (*kernel) Setsockopt(fd, level, name int, value []byte) error {
	return unix.SetsockoptString(fd, level, name, string(value))
}

func (*kernel) Getsockopt(fd, level, name int, value []byte) (int, error) {
	length := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(length), nil
}
