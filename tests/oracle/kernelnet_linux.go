package oracle

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// device is the TUN device of a scenario.
const device = "oracle0"

// configure makes the TUN device and applies the settings.
func (k *kernel) configure() error {
	// No router solicitations. A kernel without IPv6 needs no telling.
	if !k.sc.Server.IP.Is6() {
		if err := writeSysctl("net.ipv6.conf.default.disable_ipv6", 1); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, name := range k.sc.Sysctls.Names {
		if err := writeSysctl(name, k.sc.Sysctls.Of[name]); err != nil {
			return err
		}
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	k.tun = fd
	ifr, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make a TUN device: %w", err)
	}
	ip := k.sc.Server.IP
	if err := k.ns.AddAddress(device, netip.PrefixFrom(ip, ip.BitLen())); err != nil {
		return err
	}
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	everything := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if ip.Is6() {
		everything = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: everything})
	if err != nil {
		return fmt.Errorf("add a route: %w", err)
	}
	return k.ns.AwaitLocal(ip)
}

func writeSysctl(name string, value int64) error {
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	return os.WriteFile(path, []byte(strconv.FormatInt(value, 10)), 0)
}
