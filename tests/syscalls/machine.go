//go:build linux

package syscalls

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ulisten/ulisten/tests/netlab"
)

// The addresses of both sides. What they send to others vanishes.
var (
	address4 = netip.MustParsePrefix("192.0.2.1/24")
	second4  = netip.MustParsePrefix("192.0.2.2/24")
	address6 = netip.MustParsePrefix("2001:db8::1/64")

	void4 = netip.MustParsePrefix("192.0.2.254/24")
	void6 = netip.MustParsePrefix("2001:db8::254/64")
)

const (
	// firstPort and lastPort bound the agreed ports. They are below the
	// ephemeral ports of both sides.
	firstPort = 1024
	lastPort  = 15000
)

// A Machine plays scripts, each as if nothing had been before.
type Machine interface {
	// Play plays a script. If it is patient, the machine leaves more time for
	// what calls set off.
	Play(script Script, patient bool) ([]Observed, error)
}

// A kernelMachine is the kernel in a network namespace.
type kernelMachine struct {
	ns   *netlab.Namespace
	root string
	// port is the last one that was used: each script has ports of its own, so
	// that connections in TIME-WAIT are nobody's concern.
	port    int
	scripts int
}

// newKernelMachine returns a machine that lives as long as the test.
func newKernelMachine(t testing.TB) *kernelMachine {
	t.Helper()
	ns, void := netlab.New(t), netlab.New(t)
	netlab.Veth(t, ns, void, address4, void4)
	for _, a := range []netip.Prefix{second4, address6} {
		if err := ns.AddAddress(netlab.VethName, a); err != nil {
			t.Fatal(err)
		}
	}
	if err := void.AddAddress(netlab.VethName, void6); err != nil {
		t.Fatal(err)
	}
	for to, via := range map[string]netip.Prefix{"0.0.0.0/0": void4, "::/0": void6} {
		if err := ns.AddRoute(netlab.VethName, netip.MustParsePrefix(to), via.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return &kernelMachine{ns: ns, root: root, port: firstPort}
}

// Play implements Machine.
func (m *kernelMachine) Play(script Script, patient bool) ([]Observed, error) {
	settle := func() {}
	if patient {
		settle = func() { time.Sleep(patience) }
	}
	return m.play(script, settle, func(s Sockets) Sockets { return s })
}

// play plays a script on what wrap makes of the kernel's calls.
func (m *kernelMachine) play(script Script, settle func(), wrap func(Sockets) Sockets) ([]Observed, error) {
	m.scripts++
	m.port += agreedPorts
	if m.port > lastPort {
		m.port = firstPort
	}
	root := filepath.Join(m.root, fmt.Sprint(m.scripts))
	if err := os.Mkdir(root, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	k := newKernelProcess(m.ns)
	defer k.CloseAll()
	return Play(newSide(wrap(k), settle, m.port, root), script)
}

// patience is longer than the kernel delays an ACK.
const patience = 50 * time.Millisecond
