package platforms

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/tests/netlab"
)

// scratch is where programs are built, for the time of the tests.
var scratch string

func TestMain(m *testing.M) {
	if code, done := netlab.Enter(); done {
		os.Exit(code)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "platforms"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// compareAll plays all scripts on a device and on listenq under a profile.
func compareAll(t *testing.T, name string, p *listenq.Profile, tolerance time.Duration, open func(*testing.T) Device) {
	scripts, err := LoadScripts(filepath.Join("testdata", "scripts"))
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	known, err := LoadDivergences(filepath.Join("testdata", "divergence.txt"))
	require.NoError(t, err)
	for _, s := range scripts {
		t.Run(s.Name, func(t *testing.T) {
			t.Log(s.Claim)
			found, err := Compare(s, p, open(t), tolerance)
			require.NoError(t, err)
			unexplained, idle := Unexplained(name, s.Name, found, known)
			for _, d := range unexplained {
				t.Errorf("%v", d)
			}
			for _, k := range idle {
				t.Errorf("no difference any more at %s:%d: take it out of divergence.txt", k.Script, k.Line)
			}
		})
	}
}

func profileNamed(t *testing.T, name string) *listenq.Profile {
	t.Helper()
	p, err := listenq.ProfileNamed(name)
	require.NoError(t, err)
	return p
}

// lwIP counts in ticks of 500 ms, from whenever it began.
const lwipTick = 500 * time.Millisecond

// lwIP's source, built with the limit, is what the profile describes.
func TestLwIPWithBacklog(t *testing.T) {
	program := lwipWithBacklog(t)
	compareAll(t, "lwip", profileNamed(t, "lwip"), lwipTick, func(t *testing.T) Device { return startLwIP(t, program) })
}

// The library as Debian builds it has no limit at all; everything else is as
// with one.
func TestPackagedLwIP(t *testing.T) {
	lib, err := PackagedLwIP()
	if err != nil {
		t.Skip(err)
	}
	program, err := lib.BuildListener(t.TempDir())
	require.NoError(t, err)
	p := profileNamed(t, "lwip")
	p.Name = "lwip-without-backlog"
	p.AcceptQueue.AtSYN = p.AcceptQueue.AtACK
	compareAll(t, "lwip-packaged", p, lwipTick, func(t *testing.T) Device { return startLwIP(t, program) })
}

// The mailbox of accept holds fewer than the largest backlog: the connection
// that finds it full is reset.
func TestLwIPMailbox(t *testing.T) {
	l := startLwIP(t, lwipWithBacklog(t))
	var names []string
	for i := range 130 {
		names = append(names, fmt.Sprintf("c%03d", i))
	}
	s, err := ParseScript("mailbox", "# The mailbox fills up.\nlisten 255\nopen "+strings.Join(names, " ")+"\naccept\nopen x y\n")
	require.NoError(t, err)
	differences, err := Compare(s, profileNamed(t, "lwip"), l, lwipTick)
	require.NoError(t, err)
	require.Empty(t, differences)
}

// The same program in real time on a TUN device, with the kernel's clients.
func TestLwIPOnATUN(t *testing.T) {
	netlab.RequireTUN(t)
	program := lwipWithBacklog(t)
	ns := netlab.New(t)
	device := openTUN(t, ns, netip.MustParsePrefix("192.0.2.1/24"))
	l, err := StartLwIPLive(program, device, ns.Start)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Stop()) })
	require.NoError(t, l.Listen(2))

	connect := func() *netlab.Socket {
		s, err := ns.Connect(netlab.ConnectConfig{Remote: server})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Abort() })
		return s
	}
	first, second := connect(), connect()
	require.NoError(t, first.Wait(patience))
	require.NoError(t, second.Wait(patience))
	third := connect()
	require.ErrorIs(t, third.Wait(100*time.Millisecond), os.ErrDeadlineExceeded, "its SYN is ignored, not answered by RST")
	state, err := third.State()
	require.NoError(t, err)
	require.Equal(t, netlab.SynSent, state)

	client, finds, err := l.Accept()
	require.NoError(t, err)
	local, err := first.LocalAddr()
	require.NoError(t, err)
	require.Equal(t, local, client, "first in, first out")
	require.Equal(t, "open", finds)
	require.NoError(t, third.Wait(patience), "the SYN comes again and finds room")
	retransmits, err := third.Retransmits()
	require.NoError(t, err)
	require.Positive(t, retransmits)

	_, _, err = l.Accept()
	require.NoError(t, err)
	conn, err := connect().Conn()
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	_, _, err = l.Accept() // the third
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		client, finds, err = l.Accept()
		return err == nil && client.IsValid()
	}, patience, 5*time.Millisecond)
	require.Equal(t, "5 bytes", finds)
}

const patience = 20 * time.Second

// openTUN makes a TUN device in a namespace, with an address of the kernel's.
func openTUN(t *testing.T, ns *netlab.Namespace, address netip.Prefix) *os.File {
	t.Helper()
	fd := -1
	ns.Do(func() {
		var err error
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		ifr, err := unix.NewIfreq("lwip0")
		require.NoError(t, err)
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		require.NoError(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	})
	device := os.NewFile(uintptr(fd), "lwip0")
	t.Cleanup(func() { device.Close() })
	h, err := ns.Netlink()
	require.NoError(t, err)
	defer h.Close()
	link, err := h.LinkByName("lwip0")
	require.NoError(t, err)
	ip := &net.IPNet{IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), 32)}
	require.NoError(t, h.AddrAdd(link, &netlink.Addr{IPNet: ip}))
	require.NoError(t, h.LinkSetUp(link))
	return device
}

// buildLwIP builds lwIP and the listener on it, once.
var buildLwIP = sync.OnceValues(func() (program string, err error) {
	source, err := LwIPSource()
	if err != nil {
		return "", err
	}
	lib, err := BuildLwIP(source, scratch)
	if err != nil {
		return "", err
	}
	return lib.BuildListener(scratch)
})

// lwipWithBacklog returns the program, or skips the test without its source.
func lwipWithBacklog(t *testing.T) string {
	t.Helper()
	if _, err := LwIPSource(); err != nil {
		t.Skip(err)
	}
	program, err := buildLwIP()
	require.NoError(t, err)
	return program
}

func startLwIP(t *testing.T, program string) *LwIP {
	t.Helper()
	l, err := StartLwIP(program)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Stop()) })
	return l
}

// netstack's times are off by what its virtual clock adds.
func TestNetstack(t *testing.T) {
	for _, tc := range []struct {
		profile string
		sentry  bool
	}{{"gvisor", true}, {"netstack", false}} {
		t.Run(tc.profile, func(t *testing.T) {
			compareAll(t, tc.profile, profileNamed(t, tc.profile), netstackStep, func(t *testing.T) Device {
				n, err := NewNetstack()
				require.NoError(t, err)
				n.Sentry = tc.sentry
				t.Cleanup(n.Stop)
				return n
			})
		})
	}
}

func TestScriptMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"listen 2\n":                         "no claim",
		"# x\n":                              "the first command must be listen",
		"# x\nsyn a\n":                       "the first command must be listen",
		"# x\nlisten\n":                      "s:2: listen: need 1 arguments",
		"# x\nlisten many\n":                 "s:2: ",
		"# x\nlisten 1\nwait -1s\n":          "s:3: ",
		"# x\nlisten 1\ndance\n":             "s:3: dance: unknown command",
		"# x\nlisten 1\nsend a SIN\n":        `unknown flag "SIN"`,
		"# x\nlisten 1\nsend a SYN port=1\n": "use seq, ack and len",
	} {
		_, err := ParseScript("s", text)
		require.ErrorContains(t, err, want, text)
	}
}

// The comparison finds what it is for.
func TestCompareFinds(t *testing.T) {
	s, err := ParseScript("s", "# x\nlisten 1\nopen a b c\nwait 1m\naccept\n")
	require.NoError(t, err)
	linux := profileNamed(t, "linux-6")
	same, err := Compare(s, linux, NewQueue(linux), 0)
	require.NoError(t, err)
	require.Empty(t, same)

	other := linux.Clone()
	other.AcceptQueue.AtSYN = listenq.Formula{Times: 1}
	other.SYNACK.Retries = 2
	found, err := Compare(s, linux, NewQueue(other), 0)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, 3, found[0].Line)
	require.Contains(t, found[0].String(), "b gets SYN-ACK")

	unexplained, idle := Unexplained("d", "s", found, []Divergence{{"d", "s", 3, "so"}, {"d", "s", 5, "no more"}, {"e", "s", 3, "another"}})
	require.Empty(t, unexplained)
	require.Equal(t, []Divergence{{"d", "s", 5, "no more"}}, idle)

	require.True(t, strings.HasPrefix(found[0].String(), "s:3: "))
}
