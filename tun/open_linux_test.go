package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

func TestOpenNameTaken(t *testing.T) {
	needDevice(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "foreign0"
	// A persistent TUN that nobody holds: the kernel would let us attach.
	foreign := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(foreign); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(foreign)
	for _, mode := range []Offload{OffloadAuto, OffloadOn, OffloadOff} {
		for _, name := range []string{"foreign0", "lo"} {
			_, err := Open(Config{Name: name, Offload: mode})
			if !errors.Is(err, unix.EBUSY) || !strings.Contains(fmt.Sprint(err), `"`+name+`": the name is taken`) {
				t.Errorf("%v, %s: %v", mode, name, err)
			}
		}
	}
	if _, err := netlink.LinkByName("foreign0"); err != nil {
		t.Errorf("the foreign device: %v", err)
	}
}

func TestOpenAddressTaken(t *testing.T) {
	first := open(t, Config{HostAddresses: hostPrefixes})
	for _, p := range hostPrefixes {
		other := netip.PrefixFrom(p.Addr(), p.Bits()+4)
		_, err := Open(Config{Name: "second0", HostAddresses: []netip.Prefix{other}})
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "host address "+other.String()+": the host has it on "+first.Name()) {
			t.Errorf("%v: %v", other, err)
		}
	}
	if d := devices(t); d != first.Name() {
		t.Errorf("devices %q, want %q only", d, first.Name())
	}
}

// TestOpenCleansUp: what a failed Open created is gone, descriptors too.
func TestOpenCleansUp(t *testing.T) {
	needDevice(t)
	const sysctl = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	if err := os.WriteFile(sysctl, []byte("1"), 0); err != nil {
		t.Skip(err)
	}
	defer os.WriteFile(sysctl, []byte("0"), 0)
	descriptors := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	before := descriptors()
	for _, mode := range []Offload{OffloadOn, OffloadOff} {
		for _, cfg := range []Config{
			{Offload: mode, HostAddresses: hostPrefixes},
			{Offload: mode, Name: "lo"},
		} {
			_, err := Open(cfg)
			want := error(unix.EACCES)
			if cfg.Name != "" {
				want = unix.EBUSY
			}
			if !errors.Is(err, want) {
				t.Errorf("%v, %q: %v", mode, cfg.Name, err)
			}
		}
	}
	if d := devices(t); d != "" {
		t.Errorf("devices left: %s", d)
	}
	if n := descriptors(); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

func TestOpenWithoutPrivilege(t *testing.T) {
	needDevice(t)
	errs := make(chan error, 2)
	go func() {
		// The thread is not unlocked, so it ends with the goroutine and
		// takes its lack of capabilities along.
		runtime.LockOSThread()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			errs <- err
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		data[0].Permitted &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			errs <- err
			return
		}
		for _, mode := range []Offload{OffloadAuto, OffloadOff} {
			_, err := Open(Config{Offload: mode})
			errs <- err
		}
	}()
	for range 2 {
		err := <-errs
		if !errors.Is(err, unix.EPERM) || !strings.Contains(fmt.Sprint(err), "CAP_NET_ADMIN is missing") {
			t.Errorf("%v", err)
		}
	}
}

func TestExplainOpen(t *testing.T) {
	for _, tt := range []struct {
		errno  unix.Errno
		remedy string
	}{
		{unix.ENOENT, "modprobe tun"},
		{unix.ENODEV, "modprobe tun"},
		{unix.EACCES, "run as root"},
		{unix.EPERM, "unshare -Urn"},
		{unix.EBUSY, "choose another"},
		{unix.EINVAL, "try OffloadOff"},
		{unix.ENOMEM, "cannot allocate memory"},
	} {
		err := explainOpen("ul%d", os.NewSyscallError("TUNSETIFF", tt.errno))
		if s := err.Error(); !errors.Is(err, tt.errno) || !strings.Contains(s, tt.remedy) || strings.Contains(s, "\n") {
			t.Errorf("%v: %v", tt.errno, err)
		}
	}
}

func TestDeviceDeleted(t *testing.T) {
	for _, mode := range []Offload{OffloadOn, OffloadOff} {
		for _, how := range []string{"reading", "writing"} {
			t.Run(mode.String()+"/"+how, func(t *testing.T) {
				l := open(t, Config{Offload: mode, HostAddresses: hostPrefixes})
				if how == "reading" {
					l.Attach(newRecorder())
				}
				dev, err := netlink.LinkByName(l.Name())
				if err != nil {
					t.Fatal(err)
				}
				if err := netlink.LinkDel(dev); err != nil {
					t.Fatal(err)
				}
				if how == "writing" {
					writeOne(t, l)
				}
				waitDone(t, l.Done())
				l.Wait()
				if err := l.Err(); !errors.Is(err, unix.EBADFD) && !errors.Is(err, unix.EFAULT) || !strings.Contains(err.Error(), l.Name()+": device is gone") {
					t.Errorf("Err() = %v", err)
				}
			})
		}
	}
}

// writeOne writes one SYN and ignores what becomes of it.
func writeOne(t testing.TB, l *Link) {
	t.Helper()
	raw := synPacket()
	pkt := outbound(raw[:20], raw[20:], nil)
	defer pkt.DecRef()
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	l.WritePackets(list)
}

func TestDeviceDown(t *testing.T) {
	l := open(t, Config{HostAddresses: hostPrefixes})
	l.Attach(newRecorder())
	dev, err := netlink.LinkByName(l.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(dev); err != nil {
		t.Fatal(err)
	}
	writeOne(t, l)
	if err := netlink.LinkSetUp(dev); err != nil {
		t.Fatal(err)
	}
	writeOne(t, l)
	if st := l.Stats(); st.TxDropDown != 1 || st.TxPackets != 1 {
		t.Errorf("stats %+v", st)
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}

// TestQuiet: the kernel sends nothing by itself on a fresh device.
func TestQuiet(t *testing.T) {
	// Not the addresses of the other tests, whose sockets may still be
	// sending their last words.
	l := open(t, Config{HostAddresses: []netip.Prefix{
		netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("2001:db8:1::1/64"),
	}})
	r := newRecorder()
	l.Attach(r)
	time.Sleep(300 * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.got {
		t.Errorf("unasked: %x", b)
	}
}

// TestUDP sends datagrams both ways: their partial checksums, and fragments.
func TestUDP(t *testing.T) {
	for _, mode := range []Offload{OffloadOn, OffloadOff} {
		for i, addr := range stackAddrs {
			t.Run(fmt.Sprintf("offload=%v/ip=%d", mode, 4+2*i), func(t *testing.T) {
				l := open(t, Config{Offload: mode, HostAddresses: hostPrefixes})
				s := newStack(t, l, stackAddrs...)
				at := fullAddress(addr, 7)
				pc, err := gonet.DialUDP(s, &at, nil, protocolOf(addr))
				if err != nil {
					t.Fatal(err)
				}
				defer pc.Close()
				go func() {
					b := make([]byte, 1<<16)
					for {
						n, from, err := pc.ReadFrom(b)
						if err != nil {
							return
						}
						pc.WriteTo(b[:n], from)
					}
				}()
				c, err := net.Dial("udp", netip.AddrPortFrom(addr, 7).String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				for _, size := range []int{1, 1000, 20000} {
					b := make([]byte, size)
					for i := range b {
						b[i] = byte(i)
					}
					if _, err := c.Write(b); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, 1<<16)
					n, err := c.Read(got)
					if err != nil || string(got[:n]) != string(b) {
						t.Fatalf("%d bytes: %d came back, err %v; link %+v", size, n, err, l.Stats())
					}
				}
			})
		}
	}
}

// TestPing lets the kernel ping netstack.
func TestPing(t *testing.T) {
	for _, mode := range []Offload{OffloadOn, OffloadOff} {
		for i, addr := range stackAddrs {
			t.Run(fmt.Sprintf("offload=%v/ip=%d", mode, 4+2*i), func(t *testing.T) {
				l := open(t, Config{Offload: mode, HostAddresses: hostPrefixes})
				newStack(t, l, stackAddrs...)
				network, echo, reply := "ip4:icmp", byte(8), byte(0)
				if addr.Is6() {
					network, echo, reply = "ip6:ipv6-icmp", 128, 129
				}
				c, err := net.Dial(network, addr.String())
				if errors.Is(err, unix.EPERM) {
					t.Skip("no CAP_NET_RAW")
				} else if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				msg := append([]byte{echo, 0, 0, 0, 0x12, 0x34, 0, 1}, "ulisten"...)
				if addr.Is4() {
					// For IPv6 the kernel fills the checksum in.
					sum := 0
					for i, b := range msg {
						sum += int(b) << (8 * (1 - i&1))
					}
					sum = ^(sum&0xffff + sum>>16)
					msg[2], msg[3] = byte(sum>>8), byte(sum)
				}
				if _, err := c.Write(msg); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 1500)
				n, _, err := c.(*net.IPConn).ReadFrom(b) // without IP header
				if err != nil || n != len(msg) || b[0] != reply || string(b[8:n]) != "ulisten" {
					t.Fatalf("read %x, err %v; link %+v", b[:n], err, l.Stats())
				}
			})
		}
	}
}
