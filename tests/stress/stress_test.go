//go:build linux

package stress

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/ulisten/ulisten/tests/netlab"
	"github.com/ulisten/ulisten/tun"
)

// echoSize is how many bytes an echo sends: more than all buffers on the way hold,
// so that both directions are blocked at times.
func echoSize() int64 {
	if whole {
		return 30 << 20
	}
	return 12 << 20
}

// at is where the server listens.
func at(ipv6 bool) netip.AddrPort {
	if ipv6 {
		return netip.AddrPortFrom(stack6.Addr(), port)
	}
	return netip.AddrPortFrom(stack4.Addr(), port)
}

// path is one way to the server.
type path struct {
	mtu     int
	offload tun.Offload
	ipv6    bool
}

func (p path) String() string {
	version := 4
	if p.ipv6 {
		version = 6
	}
	return fmt.Sprintf("MTU %d offload %v IPv%d", p.mtu, p.offload, version)
}

// paths returns all of them, or some that differ in every respect.
func paths() (some []path) {
	if !whole {
		return []path{
			{576, tun.OffloadOff, false},
			{576, tun.OffloadOn, false},
			{1280, tun.OffloadOff, true},
			{1500, tun.OffloadOff, false},
			{65520, tun.OffloadOn, true},
		}
	}
	for _, mtu := range []int{576, 600, 700, 900, 1280, 1500, 9000, 65520} {
		for _, offload := range []tun.Offload{tun.OffloadOff, tun.OffloadOn} {
			some = append(some, path{mtu, offload, false})
			if mtu >= minIPv6MTU {
				some = append(some, path{mtu, offload, true})
			}
		}
	}
	return some
}

// Full duplex at every packet size. Segments that cost the receiver far more memory
// than they carry were once refused inside of the window that it had told, and both
// directions stood still for ever: MTU 576 without offload, 6 of 6.
func TestEcho(t *testing.T) {
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			ns := netlab.New(t)
			startServer(t, ns, serverConfig{MTU: p.mtu, Offload: p.offload})
			echo(t, ns, at(p.ipv6), echoSize())
		})
	}
}

// The same with a router in between whose line to the client is narrower than both
// ends think.
func TestEchoBehindANarrowerHop(t *testing.T) {
	some := []path{{1500, tun.OffloadOff, false}, {1500, tun.OffloadOn, true}}
	if whole {
		some = nil
		for _, p := range paths() {
			if p.mtu >= 1500 {
				some = append(some, p)
			}
		}
	}
	for _, p := range some {
		t.Run(p.String(), func(t *testing.T) {
			router, client := netlab.New(t), netlab.New(t)
			startServer(t, router, serverConfig{MTU: p.mtu, Offload: p.offload})
			narrowHop(t, client, router, p.ipv6)
			echo(t, client, at(p.ipv6), echoSize())
		})
	}
}

// narrowHop puts a client behind a router. The client keeps to the line's MTU but
// tells the server an MSS for 1500; so does the server, and the router has to tell
// it better.
func narrowHop(t *testing.T, client, router *netlab.Namespace, ipv6 bool) {
	t.Helper()
	mtu, mss := 576, 1460
	here, there := netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("198.51.100.2/24")
	forwarding, network := "net.ipv4.ip_forward", stack4.Masked()
	if ipv6 {
		mtu, mss = minIPv6MTU, 1440
		here, there = netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("2001:db8:1::2/64")
		forwarding, network = "net.ipv6.conf.all.forwarding", stack6.Masked()
	}
	netlab.Veth(t, client, router, here, there)
	require.NoError(t, router.SetSysctl(forwarding, "1"))
	setMTU(t, router, mtu)

	h, err := client.Netlink()
	require.NoError(t, err)
	defer h.Close()
	link, err := h.LinkByName(netlab.VethName)
	require.NoError(t, err)
	require.NoError(t, h.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       &net.IPNet{IP: network.Addr().AsSlice(), Mask: net.CIDRMask(network.Bits(), network.Addr().BitLen())},
		Gw:        there.Addr().AsSlice(),
		MTU:       mtu,
		MTULock:   true,
		AdvMSS:    mss,
	}))
}

func setMTU(t *testing.T, ns *netlab.Namespace, mtu int) {
	t.Helper()
	h, err := ns.Netlink()
	require.NoError(t, err)
	defer h.Close()
	link, err := h.LinkByName(netlab.VethName)
	require.NoError(t, err)
	require.NoError(t, h.LinkSetMTU(link, mtu))
}

// nice19 is the lowest priority of a process.
const nice19 = 19

// makeBusy occupies two cores for the rest of the test.
func makeBusy(t *testing.T, ns *netlab.Namespace) {
	for range 2 {
		startRole(t, ns, busy, 1)
	}
}

// A server that hardly gets a processor is slow, and nothing else.
func TestEchoOnABusyMachine(t *testing.T) {
	some := []path{{1500, tun.OffloadOn, false}}
	if whole {
		some = []path{{576, tun.OffloadOff, false}, {1500, tun.OffloadOff, true}, {1500, tun.OffloadOn, false}, {65520, tun.OffloadOn, true}}
	}
	for _, p := range some {
		t.Run(p.String(), func(t *testing.T) {
			ns := netlab.New(t)
			startServer(t, ns, serverConfig{MTU: p.mtu, Offload: p.offload, Nice: nice19})
			makeBusy(t, ns)
			echo(t, ns, at(p.ipv6), echoSize())
		})
	}
}

// Many clients at once, on a machine with nothing else to do and on a busy one.
// Whoever is connected is served: a slow processor is no reason to lose a
// connection.
func TestManyClients(t *testing.T) {
	clients := 1000
	if whole {
		clients = 5000
	}
	for _, nice := range []int{0, nice19} {
		t.Run(fmt.Sprintf("nice %d", nice), func(t *testing.T) {
			ns := netlab.New(t)
			startServer(t, ns, serverConfig{MTU: 1500, Offload: tun.OffloadAuto, Nice: nice, Backlog: 2 * clients})
			if nice != 0 {
				makeBusy(t, ns)
			}
			crowd(t, ns, at(false), clients)
			crowd(t, ns, at(true), clients)
		})
	}
}
