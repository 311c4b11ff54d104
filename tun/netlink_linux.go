package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of include/uapi/linux/if_link.h:
// no automatic link-local address.
const addrGenModeNone = 1

// configure gives the kernel's side of the device its MTU, queue length and
// addresses and brings it up.
func configure(cfg Config, name string) error {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return explainNetlink("find", name, err)
	}
	if err := netlink.LinkSetMTU(dev, cfg.MTU); err != nil {
		return explainNetlink(fmt.Sprintf("set MTU %d on", cfg.MTU), name, err)
	}
	if err := netlink.LinkSetTxQLen(dev, cfg.TxQueueLen); err != nil {
		return explainNetlink(fmt.Sprintf("set transmit queue length %d on", cfg.TxQueueLen), name, err)
	}
	// Without a link-local address the kernel solicits no routers on the
	// device, and so sends nothing that nobody asked for. A kernel without
	// IPv6 refuses and has nothing to silence.
	_ = netlink.LinkSetIP6AddrGenMode(dev, addrGenModeNone)

	if len(cfg.HostAddresses) > 0 {
		if err := checkAddressesFree(cfg.HostAddresses); err != nil {
			return err
		}
	}
	for _, p := range cfg.HostAddresses {
		if err := netlink.AddrAdd(dev, hostAddr(p)); err != nil {
			return explainNetlink(fmt.Sprintf("add address %v to", p), name, err)
		}
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return explainNetlink("bring up", name, err)
	}
	for _, p := range cfg.HostAddresses {
		if err := waitLocal(p.Addr()); err != nil {
			return explainNetlink(fmt.Sprintf("wait for address %v on", p.Addr()), name, err)
		}
	}
	return nil
}

// waitLocal waits until the kernel accepts packets for a. For an IPv6
// address, even one without duplicate address detection, it decides so in a
// work queue a little after it was added to a device that is up
// (net/ipv6/addrconf.c, addrconf_dad_work); what comes earlier is lost.
func waitLocal(a netip.Addr) error {
	if a.Is4() {
		return nil
	}
	for deadline := time.Now().Add(localTimeout); ; time.Sleep(localPoll) {
		routes, err := netlink.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = unix.ETIMEDOUT
			}
			return err
		}
	}
}

const (
	localTimeout = 2 * time.Second
	localPoll    = time.Millisecond
)

// hostAddr is p in netlink's form.
func hostAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr().Is6() {
		// Usable at once: nobody on a TUN answers duplicate address
		// detection.
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// checkAddressesFree refuses an address that some device has: the kernel
// would accept it twice and then answer for it itself, or not, by route.
func checkAddressesFree(want []netip.Prefix) error {
	have, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("tun: list the host's addresses: %w", netlinkErr(err))
	}
	for _, h := range have {
		a, ok := netip.AddrFromSlice(h.IP)
		if !ok {
			continue
		}
		for _, p := range want {
			if a.Unmap() != p.Addr() {
				continue
			}
			on := fmt.Sprintf("device number %d", h.LinkIndex)
			if dev, err := netlink.LinkByIndex(h.LinkIndex); err == nil {
				on = dev.Attrs().Name
			}
			return fmt.Errorf("tun: host address %v: the host has it on %s: %w: choose another, or remove that one", p, on, unix.EADDRINUSE)
		}
	}
	return nil
}

// explainNetlink names the operation and the device of a netlink failure,
// and a remedy if there is one.
func explainNetlink(op, name string, err error) error {
	err = netlinkErr(err)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("tun: %s %s: CAP_NET_ADMIN is missing: %w: run as root, or under `unshare -Urn`", op, name, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EACCES):
		return fmt.Errorf("tun: %s %s: %w: if it is an IPv6 address, see that net.ipv6.conf.all.disable_ipv6 is 0", op, name, err)
	}
	return fmt.Errorf("tun: %s %s: %w", op, name, err)
}

// netlinkErr says where a bare errno came from.
func netlinkErr(err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError("netlink", errno)
	}
	return err
}
