package tun

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

var (
	hostPrefixes = []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/24"),
		netip.MustParsePrefix("2001:db8::1/64"),
	}
	stackAddrs = []netip.Addr{
		netip.MustParseAddr("192.0.2.2"),
		netip.MustParseAddr("2001:db8::2"),
	}
)

// newStack builds a netstack with the given addresses on link. The link is
// closed first, then the stack.
func newStack(t testing.TB, link gstack.LinkEndpoint, addrs ...netip.Addr) *gstack.Stack {
	t.Helper()
	s := gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	t.Cleanup(func() {
		link.Close()
		s.Destroy()
	})
	sack := tcpip.TCPSACKEnabled(true)
	buf := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 1 << 20, Max: 8 << 20}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: 1 << 20, Max: 8 << 20}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &buf, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateNIC(1, link); err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		pa := tcpip.ProtocolAddress{
			Protocol:          protocolOf(a),
			AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix(),
		}
		if err := s.AddProtocolAddress(1, pa, gstack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"0.0.0.0/0", "::/0"} {
		n := netip.MustParsePrefix(p)
		subnet, err := tcpip.NewSubnet(tcpip.AddrFromSlice(n.Addr().AsSlice()), tcpip.MaskFromBytes(make([]byte, n.Addr().BitLen()/8)))
		if err != nil {
			t.Fatal(err)
		}
		s.AddRoute(tcpip.Route{Destination: subnet, NIC: 1})
	}
	return s
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func fullAddress(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port}
}

func open(t testing.TB, cfg Config) *Link {
	t.Helper()
	needDevice(t)
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestOpen(t *testing.T) {
	for _, mode := range []Offload{OffloadAuto, OffloadOn, OffloadOff} {
		t.Run(mode.String(), func(t *testing.T) {
			l := open(t, Config{Name: "uo%d", MTU: 9000, TxQueueLen: 3000, Offload: mode, HostAddresses: hostPrefixes})
			if got, want := l.Offload(), mode != OffloadOff; got != want {
				t.Errorf("Offload() = %v, want %v", got, want)
			}
			dev, err := netlink.LinkByName(l.Name())
			if err != nil {
				t.Fatal(err)
			}
			a := dev.Attrs()
			if !strings.HasPrefix(a.Name, "uo") || a.MTU != 9000 || a.TxQLen != 3000 || a.Flags&net.FlagUp == 0 {
				t.Errorf("device is %s, MTU %d, queue %d, flags %v", a.Name, a.MTU, a.TxQLen, a.Flags)
			}
			if l.MTU() != 9000 {
				t.Errorf("MTU() = %d", l.MTU())
			}
			addrs, err := netlink.AddrList(dev, netlink.FAMILY_ALL)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range addrs {
				got = append(got, a.IPNet.String())
				if a.Flags&unix.IFA_F_TENTATIVE != 0 {
					t.Errorf("%v is tentative", a.IPNet)
				}
			}
			if want := "192.0.2.1/24 2001:db8::1/64"; strings.Join(got, " ") != want {
				t.Errorf("addresses %v, want %s and no link-local one", got, want)
			}
			l.Close()
			if d := devices(t); d != "" {
				t.Errorf("devices after Close: %s", d)
			}
			l.Close()
			if !errors.Is(l.Err(), net.ErrClosed) {
				t.Errorf("Err() = %v", l.Err())
			}
			<-l.Done()
		})
	}
}

// TestTransfer moves data both ways between the kernel and netstack and
// compares digests.
func TestTransfer(t *testing.T) {
	size := int64(32 << 20)
	if testing.Short() || raceEnabled {
		size = 2 << 20
	}
	for _, mode := range []Offload{OffloadOn, OffloadOff} {
		for _, mtu := range []int{1500, 9000} {
			for i, addr := range stackAddrs {
				t.Run(fmt.Sprintf("offload=%v/mtu=%d/ip=%d", mode, mtu, 4+2*i), func(t *testing.T) {
					l := open(t, Config{MTU: mtu, Offload: mode, HostAddresses: hostPrefixes})
					w := &sizeWatch{Link: l}
					s := newStack(t, w, stackAddrs...)
					transfer(t, s, addr, size)
					st := l.Stats()
					if st.RxDropShort+st.RxDropVersion+st.RxDropLength+st.RxDropVirtio+st.RxDropChecksum+
						st.TxDropInvalid+st.TxDropDown+st.TxDropBusy != 0 {
						t.Errorf("drops: %+v", st)
					}
					if tc := s.Stats().TCP; tc.ChecksumErrors.Value() != 0 || tc.InvalidSegmentsReceived.Value() != 0 {
						t.Errorf("netstack: %d checksum errors, %d invalid segments", tc.ChecksumErrors.Value(), tc.InvalidSegmentsReceived.Value())
					}
					if got := w.rx.Load() > int64(2*mtu) && w.tx.Load() > int64(2*mtu); got != l.Offload() {
						t.Errorf("largest packets are %d in and %d out", w.rx.Load(), w.tx.Load())
					}
				})
			}
		}
	}
}

// sizeWatch wraps a link and notes the largest packet each way.
type sizeWatch struct {
	*Link
	up     gstack.NetworkDispatcher
	rx, tx atomic.Int64
}

func (w *sizeWatch) Attach(d gstack.NetworkDispatcher) {
	if d == nil {
		w.Link.Attach(nil)
		return
	}
	w.up = d
	w.Link.Attach(w)
}

func (w *sizeWatch) DeliverNetworkPacket(proto tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	w.rx.Store(max(w.rx.Load(), int64(pkt.Size())))
	w.up.DeliverNetworkPacket(proto, pkt)
}

func (w *sizeWatch) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

func (w *sizeWatch) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		w.tx.Store(max(w.tx.Load(), int64(pkt.Size())))
	}
	return w.Link.WritePackets(pkts)
}

func transfer(t testing.TB, s *gstack.Stack, addr netip.Addr, size int64) {
	t.Helper()
	ln, err := gonet.ListenTCP(s, fullAddress(addr, 7), protocolOf(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	type result struct {
		sum [32]byte
		err error
	}
	serverGot := make(chan result, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			serverGot <- result{err: err}
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		h := sha256.New()
		if _, err := io.CopyN(h, c, size); err != nil {
			serverGot <- result{err: fmt.Errorf("server read: %w", err)}
			return
		}
		serverGot <- result{sum: [32]byte(h.Sum(nil))}
		_, err = io.Copy(c, randomData(2, size))
		if err != nil {
			t.Errorf("server write: %v", err)
		}
	}()
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(addr, 7).String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.Copy(c, randomData(1, size)); err != nil {
		t.Fatal(err)
	}
	if r := <-serverGot; r.err != nil || r.sum != digest(1, size) {
		t.Fatalf("server: err %v, digest right: %v", r.err, r.sum == digest(1, size))
	}
	h := sha256.New()
	if n, err := io.Copy(h, c); err != nil || n != size || [32]byte(h.Sum(nil)) != digest(2, size) {
		t.Fatalf("client: read %d of %d bytes, err %v", n, size, err)
	}
}

func randomData(seed byte, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
}

func digest(seed byte, size int64) [32]byte {
	h := sha256.New()
	io.Copy(h, randomData(seed, size))
	return [32]byte(h.Sum(nil))
}
