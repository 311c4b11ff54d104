//go:build linux

package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// VethName is the name of the device at either end of a pair.
const VethName = "veth0"

// Veth joins two namespaces with a pair of Ethernet devices, both named
// VethName, up, with MTU 1500 and the given addresses. The ends know each
// other's hardware address, so no neighbour discovery delays or clutters the
// first packet. A namespace can be joined once.
func Veth(t testing.TB, a, b *Namespace, addrA, addrB netip.Prefix) {
	t.Helper()
	if err := Join(a, b, addrA, addrB); err != nil {
		t.Fatal(err)
	}
}

// Join is Veth for programs.
func Join(a, b *Namespace, addrA, addrB netip.Prefix) error {
	h, err := a.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: VethName, MTU: 1500})
	pair.PeerName = VethName
	pair.PeerNamespace = netlink.NsFd(b.fd)
	if err := h.LinkAdd(pair); err != nil {
		return fmt.Errorf("netlab: add veth pair: %w", err)
	}
	if err := a.AddAddress(VethName, addrA); err != nil {
		return err
	}
	if err := b.AddAddress(VethName, addrB); err != nil {
		return err
	}
	if err := introduce(a, b, addrB.Addr()); err != nil {
		return err
	}
	if err := introduce(b, a, addrA.Addr()); err != nil {
		return err
	}
	if err := a.AwaitLocal(addrA.Addr()); err != nil {
		return err
	}
	return b.AwaitLocal(addrB.Addr())
}

// AwaitLocal waits until the namespace takes packets for an address of its own. The
// kernel enters the route of an IPv6 address from a work queue, and a SYN that
// comes earlier is lost for a second.
func (n *Namespace) AwaitLocal(addr netip.Addr) error {
	h, err := n.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	const patience = 5 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		routes, err := h.RouteGet(addr.AsSlice())
		if err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("netlab: %v is not local after %v: routes %v, %v", addr, patience, routes, err)
		}
	}
}

// introduce tells n the hardware address of its peer for good.
func introduce(n, peer *Namespace, addr netip.Addr) error {
	there, err := peer.Netlink()
	if err != nil {
		return err
	}
	defer there.Close()
	far, err := there.LinkByName(VethName)
	if err != nil {
		return fmt.Errorf("netlab: device %s: %w", VethName, err)
	}
	here, err := n.Netlink()
	if err != nil {
		return err
	}
	defer here.Close()
	near, err := here.LinkByName(VethName)
	if err != nil {
		return fmt.Errorf("netlab: device %s: %w", VethName, err)
	}
	neighbour := &netlink.Neigh{
		LinkIndex:    near.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           addr.AsSlice(),
		HardwareAddr: far.Attrs().HardwareAddr,
	}
	if err := here.NeighSet(neighbour); err != nil {
		return fmt.Errorf("netlab: neighbour %v: %w", addr, err)
	}
	return nil
}

// AddAddress gives an address to a device of the namespace and sets the device
// up. Duplicate address detection is skipped, so an IPv6 address is usable at
// once.
func (n *Namespace) AddAddress(device string, addr netip.Prefix) error {
	h, err := n.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("netlab: device %s: %w", device, err)
	}
	a := &netlink.Addr{IPNet: ipNet(addr)}
	if addr.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(link, a); err != nil {
		return fmt.Errorf("netlab: address %v on %s: %w", addr, device, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("netlab: set %s up: %w", device, err)
	}
	return nil
}

// AddRoute sends packets for dst to a device of the namespace, through the
// gateway via if that is valid.
func (n *Namespace) AddRoute(device string, dst netip.Prefix, via netip.Addr) error {
	h, err := n.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("netlab: device %s: %w", device, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst.Masked())}
	if via.IsValid() {
		route.Gw = via.AsSlice()
	}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("netlab: route %v to %s: %w", dst, device, err)
	}
	return nil
}

// OwnRange makes every address of a range local to the namespace, so that
// sockets can bind to any of them without each being assigned.
func (n *Namespace) OwnRange(addrs netip.Prefix) error {
	h, err := n.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("netlab: device lo: %w", err)
	}
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       ipNet(addrs.Masked()),
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Scope:     netlink.SCOPE_HOST,
	}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("netlab: local range %v: %w", addrs, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
