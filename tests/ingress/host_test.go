//go:build linux

package ingress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/tests/netlab"
)

// The addresses of both hosts, the ports they listen on, and somebody at the other
// end.
var (
	prefix4 = netip.MustParsePrefix("192.0.2.1/24")
	prefix6 = netip.MustParsePrefix("2001:db8::1/64")
	host4   = prefix4.Addr()
	host6   = prefix6.Addr()
	peer4   = addr("192.0.2.77")
	peer6   = addr("2001:db8::77")
)

const (
	tcpPort, udpPort = 80, 53
	closedPort       = 9
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

// A host takes packets and says what came of them, sorted.
type host interface {
	answers(packets ...[]byte) []string
	set(sysctl, value string)
}

// describe says what matters about a packet that a host has sent; "" is what a host
// sends on its own.
func describe(b []byte) string {
	var src, dst netip.Addr
	var protocol uint8
	switch b[0] >> 4 {
	case 4:
		src, _ = netip.AddrFromSlice(b[12:16])
		dst, _ = netip.AddrFromSlice(b[16:20])
		protocol, b = b[9], b[header.IPv4(b).HeaderLength():]
	case 6:
		src, _ = netip.AddrFromSlice(b[8:24])
		dst, _ = netip.AddrFromSlice(b[24:40])
		protocol, b = b[6], b[header.IPv6MinimumSize:]
	}
	what := fmt.Sprintf("protocol %d", protocol)
	switch protocol {
	case unix.IPPROTO_TCP:
		what = fmt.Sprintf("TCP %v", header.TCP(b).Flags())
	case unix.IPPROTO_ICMP:
		what = fmt.Sprintf("ICMP %d/%d", b[0], b[1])
		if b[0] == byte(header.ICMPv4ParamProblem) {
			what += fmt.Sprintf(" at %d", b[4])
		}
	case unix.IPPROTO_ICMPV6:
		switch header.ICMPv6Type(b[0]) {
		case header.ICMPv6RouterSolicit, header.ICMPv6NeighborSolicit, header.ICMPv6MulticastListenerV2Report:
			return ""
		case header.ICMPv6ParamProblem:
			what = fmt.Sprintf("ICMPv6 %d/%d at %d", b[0], b[1], header.ICMPv6(b).TypeSpecific())
		default:
			what = fmt.Sprintf("ICMPv6 %d/%d", b[0], b[1])
		}
	case unix.IPPROTO_HOPOPTS, unix.IPPROTO_IGMP: // a multicast listener's report
		return ""
	}
	return fmt.Sprintf("%s %v > %v", what, src, dst)
}

// A kernelHost is the machine's kernel behind a TUN device, in a namespace.
type kernelHost struct {
	t           testing.TB
	ns          *netlab.Namespace
	tun, socket int
	probes      uint16
}

func newKernel(t testing.TB) *kernelHost {
	netlab.RequireTUN(t)
	netlab.RequireKernel(t, "6.18")
	k := &kernelHost{t: t, ns: netlab.New(t)}
	k.ns.Do(func() {
		var err error
		k.tun, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(k.tun) })
		ifr, err := unix.NewIfreq("tun0")
		require.NoError(t, err)
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		require.NoError(t, unix.IoctlIfreq(k.tun, unix.TUNSETIFF, ifr))
		link, err := netlink.LinkByName("tun0")
		require.NoError(t, err)
		for _, p := range []netip.Prefix{prefix4, prefix6} {
			network := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
			a := &netlink.Addr{IPNet: network}
			if p.Addr().Is4() {
				a.Broadcast = net.IP{192, 0, 2, 255}
			} else {
				a.Flags = unix.IFA_F_NODAD
			}
			require.NoError(t, netlink.AddrAdd(link, a))
		}
		require.NoError(t, netlink.LinkSetUp(link))
		for _, all := range []net.IP{net.IPv4zero.To4(), net.IPv6zero} {
			dst := &net.IPNet{IP: all, Mask: net.CIDRMask(0, 8*len(all))}
			require.NoError(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: dst}))
		}
		listener, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(listener) })
		require.NoError(t, unix.Bind(listener, &unix.SockaddrInet6{Port: tcpPort}))
		require.NoError(t, unix.Listen(listener, 4096))
		k.socket, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(k.socket) })
		require.NoError(t, unix.Bind(k.socket, &unix.SockaddrInet6{Port: udpPort}))
	})
	// It takes a moment until the IPv6 address is good for anything.
	require.Eventually(t, func() bool { return len(k.answers(ip(echo(peer6, host6, 0)))) == 1 }, 30*time.Second, time.Millisecond)
	return k
}

func (k *kernelHost) set(name, value string) {
	k.t.Helper()
	require.NoError(k.t, k.ns.SetSysctl(name, value))
}

// answers ends with a SYN to a port where nobody listens: when its RST is there, all
// that went before has been dealt with.
func (k *kernelHost) answers(packets ...[]byte) (all []string) {
	k.t.Helper()
	for _, p := range packets {
		// The kernel refuses what is no IP at all.
		if _, err := unix.Write(k.tun, p); err != nil && !errors.Is(err, unix.EINVAL) {
			require.NoError(k.t, err)
		}
	}
	k.probes++
	probe := netip.MustParseAddr("192.0.2.200")
	_, err := unix.Write(k.tun, ip4(syn(probe, host4, 1000+k.probes, closedPort, 0)))
	require.NoError(k.t, err)
	buf := make([]byte, 1<<16)
	for deadline := time.Now().Add(30 * time.Second); ; {
		require.True(k.t, time.Now().Before(deadline), "no answer to the probe")
		n, err := unix.Read(k.tun, buf)
		if errors.Is(err, unix.EAGAIN) {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(k.tun), Events: unix.POLLIN}}, 1000)
			require.True(k.t, err == nil || errors.Is(err, unix.EINTR), err)
			continue
		}
		require.NoError(k.t, err)
		what := describe(buf[:n])
		if what == fmt.Sprintf("TCP %v %v > %v", header.TCPFlagRst|header.TCPFlagAck, host4, probe) {
			break
		}
		if what != "" {
			all = append(all, what)
		}
	}
	for {
		n, from, err := unix.Recvfrom(k.socket, buf, 0)
		if err != nil {
			require.ErrorIs(k.t, err, unix.EAGAIN)
			break
		}
		all = append(all, received(n, from))
	}
	slices.Sort(all)
	return all
}

func received(n int, from unix.Sockaddr) string {
	a := netip.AddrFrom16(from.(*unix.SockaddrInet6).Addr).Unmap()
	return fmt.Sprintf("UDP %d bytes from %v", n, a)
}

// A stackHost is a stack in virtual time.
type stackHost struct {
	*channel.Endpoint
	t          testing.TB
	s          *stack.Stack
	clock      *stack.VirtualClock
	p          *socket.Process
	fd         int
	dispatcher gstack.NetworkDispatcher
	sent       []string
}

func newStack(t testing.TB, seed byte) *stackHost {
	h := &stackHost{Endpoint: channel.New(0, 1500, ""), t: t, clock: stack.NewVirtualClock()}
	var err error
	addresses := []netip.Prefix{prefix4, prefix6, netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}
	h.s, err = stack.New(stack.Config{Link: h, Addresses: addresses, Clock: h.clock, Random: rand.NewChaCha8([32]byte{seed})})
	require.NoError(t, err)
	t.Cleanup(func() { h.s.Close() })
	_, err = h.s.Listen("tcp", fmt.Sprintf(":%d", tcpPort), 4096, nil)
	require.NoError(t, err)
	h.p = socket.NewNamespace(h.s).Process(16)
	t.Cleanup(h.p.CloseAll)
	h.fd, err = h.p.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	require.NoError(t, h.p.Bind(h.fd, &unix.SockaddrInet6{Port: udpPort}))
	return h
}

func (h *stackHost) set(name, value string) {
	h.t.Helper()
	require.NoError(h.t, h.s.SetSysctl(name, value))
}

// Attach implements gstack.NetworkLinkEndpoint.
func (h *stackHost) Attach(d gstack.NetworkDispatcher) { h.dispatcher = d }

// IsAttached implements gstack.NetworkLinkEndpoint.
func (h *stackHost) IsAttached() bool { return h.dispatcher != nil }

// WritePackets implements gstack.LinkWriter.
func (h *stackHost) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		b := pkt.ToBuffer()
		if what := describe(b.Flatten()); what != "" {
			h.sent = append(h.sent, what)
		}
		b.Release()
	}
	return pkts.Len(), nil
}

func (h *stackHost) answers(packets ...[]byte) (all []string) {
	h.t.Helper()
	for _, p := range packets {
		protocol := header.IPv4ProtocolNumber
		if p[0]>>4 == 6 {
			protocol = header.IPv6ProtocolNumber
		}
		pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(p)})
		h.dispatcher.DeliverNetworkPacket(protocol, pkt)
		pkt.DecRef()
		h.clock.Settle()
	}
	all, h.sent = h.sent, nil
	buf := make([]byte, 1<<16)
	for {
		n, from, err := h.p.Recvfrom(h.fd, buf, 0)
		if err != nil {
			require.ErrorIs(h.t, err, unix.EAGAIN)
			break
		}
		all = append(all, received(n, from))
	}
	slices.Sort(all)
	return all
}
