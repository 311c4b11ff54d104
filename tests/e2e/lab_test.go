//go:build linux

package e2e

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
	"github.com/ulisten/ulisten/tun"
)

// patience is how long anything may take that must happen, on a machine that
// has other things to do.
const patience = 30 * time.Second

var (
	kernel4 = netip.MustParsePrefix("192.0.2.1/24")
	stack4  = netip.MustParsePrefix("192.0.2.2/24")
	other4  = netip.MustParsePrefix("192.0.2.3/24")
	kernel6 = netip.MustParsePrefix("2001:db8::1/64")
	stack6  = netip.MustParsePrefix("2001:db8::2/64")
	other6  = netip.MustParsePrefix("2001:db8::3/64")

	http4 = netip.AddrPortFrom(stack4.Addr(), 80)
	http6 = netip.AddrPortFrom(stack6.Addr(), 80)
)

// A lab is a stack behind a TUN device, and the kernel of a network namespace
// as its client.
type lab struct {
	t      testing.TB
	ns     *netlab.Namespace
	link   *tun.Link
	sluice *sluice
	s      *stack.Stack

	sockets map[*netlab.Socket]bool // to be closed at the end
}

type labConfig struct {
	offload tun.Offload
	sysctls map[string]string // of the stack
}

// newLab opens a stack with addresses of both IP versions.
func newLab(t testing.TB, cfg labConfig) *lab {
	t.Helper()
	netlab.RequireTUN(t)
	l := &lab{t: t, ns: netlab.New(t), sockets: make(map[*netlab.Socket]bool)}
	l.ns.Do(func() {
		var err error
		l.link, err = tun.Open(tun.Config{
			Name:          "tun0",
			Offload:       cfg.offload,
			HostAddresses: []netip.Prefix{kernel4, kernel6},
		})
		require.NoError(t, err)
	})
	l.sluice = newSluice(l.link)
	var err error
	l.s, err = stack.New(stack.Config{Link: l.sluice, Addresses: []netip.Prefix{stack4, other4, stack6, other6}})
	require.NoError(t, err)
	t.Cleanup(func() {
		l.sluice.open()
		if t.Failed() {
			t.Logf("link %+v", l.link.Stats())
			t.Logf("dropped %+v", l.s.Drops())
			t.Logf("counters %+v", l.s.Counters())
		}
		l.s.Close()
	})
	for name, value := range cfg.sysctls {
		require.NoError(t, l.s.SetSysctl(name, value))
	}
	return l
}

// bothVersions runs a test over IPv4 and IPv6, at the same time.
func bothVersions(t *testing.T, f func(t *testing.T, at netip.AddrPort)) {
	for name, at := range map[string]netip.AddrPort{"IPv4": http4, "IPv6": http6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, at)
		})
	}
}

// bothLinks runs a test over both kinds of device, one after the other.
func bothLinks(t *testing.T, f func(t *testing.T, offload tun.Offload)) {
	for _, offload := range []tun.Offload{tun.OffloadOn, tun.OffloadOff} {
		t.Run("offload "+offload.String(), func(t *testing.T) { f(t, offload) })
	}
}

// listen opens a listener of the stack.
func (l *lab) listen(at netip.AddrPort, backlog int, opts *stack.ListenOptions) *stack.Listener {
	l.t.Helper()
	ln, err := l.s.Listen("tcp", at.String(), backlog, opts)
	require.NoError(l.t, err)
	return ln
}

// connect starts to connect a kernel client.
func (l *lab) connect(cfg netlab.ConnectConfig) *netlab.Socket {
	l.t.Helper()
	c, err := l.ns.Connect(cfg)
	require.NoError(l.t, err)
	l.sockets[c] = true
	l.t.Cleanup(func() {
		if l.sockets[c] {
			c.Abort()
		}
	})
	return c
}

// connected returns a kernel client's established connection.
func (l *lab) connected(cfg netlab.ConnectConfig) net.Conn {
	l.t.Helper()
	return l.conn(l.connect(cfg))
}

// conn waits for a client to be connected and turns it into a net.Conn with a
// deadline.
func (l *lab) conn(c *netlab.Socket) net.Conn {
	l.t.Helper()
	require.NoError(l.t, c.Wait(patience))
	return l.take(c)
}

// take turns a client for which connect has succeeded into a net.Conn with a
// deadline, whatever has become of it meanwhile.
func (l *lab) take(c *netlab.Socket) net.Conn {
	l.t.Helper()
	delete(l.sockets, c)
	conn, err := c.Conn()
	require.NoError(l.t, err)
	l.t.Cleanup(func() { conn.Close() })
	require.NoError(l.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// accept takes the next connection, which must come, and gives it a deadline.
func (l *lab) accept(ln *stack.Listener) net.Conn {
	l.t.Helper()
	require.NoError(l.t, ln.SetDeadline(time.Now().Add(patience)))
	c, err := ln.Accept()
	require.NoError(l.t, err)
	l.t.Cleanup(func() { c.Close() })
	require.NoError(l.t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// depths waits until the queues of a listener are so long.
func (l *lab) depths(ln *stack.Listener, synQueue, acceptQueue int) {
	l.t.Helper()
	type depths struct{ SYNQueue, AcceptQueue int }
	l.until(func() (want, got any) {
		s := ln.Stats()
		return depths{synQueue, acceptQueue}, depths{s.SYNQueue, s.AcceptQueue}
	})
}

// until polls until two values are equal.
func (l *lab) until(f func() (want, got any)) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		want, got := f()
		if want == got {
			return
		}
		if time.Now().After(deadline) {
			require.Equal(l.t, want, got, "after %v", patience)
		}
	}
}

// isTrue polls until a condition holds.
func (l *lab) isTrue(what string, f func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(l.t, "never: "+what)
		}
	}
}

// talk checks that what one side writes the other reads, both ways.
func talk(t testing.TB, a, b net.Conn) {
	t.Helper()
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		_, err := pair[0].Write([]byte("hello"))
		require.NoError(t, err)
		expect(t, pair[1], "hello")
	}
}

// expect reads a text.
func expect(t testing.TB, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// expectError reads, which must fail.
func expectError(t testing.TB, c net.Conn, want error) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, want)
	require.Zero(t, n)
}

// serve answers every connection with what it sends.
func serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a deadline of another test step
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

// port is a client's address and port.
func (l *lab) port(at netip.AddrPort, port uint16) netip.AddrPort {
	if at.Addr().Is4() {
		return netip.AddrPortFrom(kernel4.Addr(), port)
	}
	return netip.AddrPortFrom(kernel6.Addr(), port)
}

// A sluice is a link that can hold back what comes from the kernel.
type sluice struct {
	nested.Endpoint
	mu    sync.Mutex
	holds func(header.TCP) bool // nil: nothing
	held  []heldPacket
}

type heldPacket struct {
	protocol tcpip.NetworkProtocolNumber
	pkt      *gstack.PacketBuffer
}

func newSluice(child gstack.LinkEndpoint) *sluice {
	s := new(sluice)
	s.Init(child, s)
	return s
}

// DeliverNetworkPacket implements gstack.NetworkDispatcher.
func (s *sluice) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	s.mu.Lock()
	if s.holds != nil {
		if t := tcpOf(pkt.Data().AsRange().ToSlice()); t != nil && s.holds(t) {
			s.held = append(s.held, heldPacket{protocol, pkt.IncRef()})
			s.mu.Unlock()
			return
		}
	}
	s.mu.Unlock()
	s.Endpoint.DeliverNetworkPacket(protocol, pkt)
}

// hold holds segments back from now on: those that f says.
func (s *sluice) hold(f func(header.TCP) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = f
}

// open lets through what was held, and what comes from now on.
func (s *sluice) open() {
	s.mu.Lock()
	held := s.held
	s.holds, s.held = nil, nil
	s.mu.Unlock()
	for _, p := range held {
		s.Endpoint.DeliverNetworkPacket(p.protocol, p.pkt)
		p.pkt.DecRef()
	}
}

// tcpOf returns the TCP segment in an IP packet, nil if there is none.
func tcpOf(packet []byte) header.TCP {
	var t header.TCP
	switch header.IPVersion(packet) {
	case header.IPv4Version:
		if h := header.IPv4(packet); len(packet) > header.IPv4MinimumSize && h.TransportProtocol() == header.TCPProtocolNumber {
			t = header.TCP(packet[h.HeaderLength():])
		}
	case header.IPv6Version:
		if h := header.IPv6(packet); len(packet) > header.IPv6MinimumSize && h.NextHeader() == uint8(header.TCPProtocolNumber) {
			t = header.TCP(packet[header.IPv6MinimumSize:])
		}
	}
	if len(t) < header.TCPMinimumSize {
		return nil
	}
	return t
}

// waitForState waits until a kernel connection is in a TCP state.
func (l *lab) waitForState(c *net.TCPConn, want netlab.TCPState) {
	l.t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(l.t, err)
	l.until(func() (any, any) {
		var got netlab.TCPState
		err := raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			require.NoError(l.t, err)
			got = netlab.TCPState(info.State)
		})
		require.NoError(l.t, err)
		return want, got
	})
}
