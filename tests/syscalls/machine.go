//go:build linux

package syscalls

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tests/netlab"
)

// The addresses of both sides. What they send to others vanishes.
var (
	address4 = netip.MustParsePrefix("192.0.2.1/24")
	second4  = netip.MustParsePrefix("192.0.2.2/32")
	address6 = netip.MustParsePrefix("2001:db8::1/64")

	loopback4 = netip.MustParsePrefix("127.0.0.1/8")
	loopback6 = netip.MustParsePrefix("::1/128")

	void4 = netip.MustParsePrefix("192.0.2.254/24")
	void6 = netip.MustParsePrefix("2001:db8::254/64")
)

const (
	// firstPort and lastPort bound the agreed ports. They are below the
	// ephemeral ports of both sides.
	firstPort = 1024
	lastPort  = 32000
)

// A Machine plays scripts, each as if nothing had been before.
type Machine interface {
	// Play plays a script. If it is patient, the machine leaves more time for
	// what calls set off.
	Play(script Script, patient bool) ([]Observed, error)
}

// A kernelMachine is the kernel in a network namespace. Unix sockets are in a
// folder of the machine's own.
type kernelMachine struct {
	t testing.TB
	// tasks run on a thread in the namespace: entering one takes longer than a
	// script.
	tasks chan func()
	// device is the index of the one network device.
	device uint32
	// port is the last one that was used: each script has ports of its own, so
	// that connections in TIME-WAIT are nobody's concern. When all are used up
	// there is a new namespace.
	port int
}

// newKernelMachine returns a machine that lives as long as the test.
func newKernelMachine(t testing.TB) *kernelMachine {
	t.Helper()
	m := &kernelMachine{t: t}
	m.renew()
	return m
}

// renew makes a namespace.
func (m *kernelMachine) renew() {
	m.t.Helper()
	fatal := func(err error) {
		if err != nil {
			m.t.Helper()
			m.t.Fatal(err)
		}
	}
	ns, void := netlab.New(m.t), netlab.New(m.t)
	netlab.Veth(m.t, ns, void, address4, void4)
	fatal(ns.AddAddress(netlab.VethName, second4))
	fatal(ns.AddAddress(netlab.VethName, address6))
	fatal(void.AddAddress(netlab.VethName, void6))
	fatal(ns.AddRoute(netlab.VethName, netip.MustParsePrefix("0.0.0.0/0"), void4.Addr()))
	fatal(ns.AddRoute(netlab.VethName, netip.MustParsePrefix("::/0"), void6.Addr()))
	// With a way to go on it says nothing about what it does not forward.
	fatal(void.AddRoute(netlab.VethName, netip.MustParsePrefix("::/0"), address6.Addr()))
	h, err := ns.Netlink()
	fatal(err)
	defer h.Close()
	lo, err := h.LinkByName("lo")
	fatal(err)
	fatal(h.LinkSetMTU(lo, 1500)) // as our link has
	root, err := os.MkdirTemp("", "")
	fatal(err)
	tasks, ended := make(chan func()), make(chan struct{})
	m.tasks, m.device, m.port = tasks, deviceIndex(m.t, ns), firstPort
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for ever: the thread has a working directory of its own
		ns.Do(func() {
			if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chdir(root)); err != nil {
				panic(err) // nothing needed for it can be missing
			}
			for task := range tasks {
				task()
			}
		})
	}()
	m.t.Cleanup(func() {
		close(tasks)
		<-ended
		fatal(os.RemoveAll(root))
	})
}

func deviceIndex(t testing.TB, ns *netlab.Namespace) uint32 {
	t.Helper()
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	device, err := h.LinkByName(netlab.VethName)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(device.Attrs().Index)
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
func (m *kernelMachine) play(script Script, settle func(), wrap func(Sockets) Sockets) (observed []Observed, err error) {
	m.port += agreedPorts
	if m.port > lastPort {
		m.renew()
	}
	done := make(chan struct{})
	m.tasks <- func() {
		defer close(done)
		defer emptyFolder()
		k := newKernelProcess()
		defer k.CloseAll()
		observed, err = Play(newSide(wrap(k), settle, m.port, m.device), script)
	}
	<-done
	return observed, err
}

// emptyFolder removes the unix sockets that a script has left in the thread's
// working directory.
func emptyFolder() {
	left, err := os.ReadDir(".")
	if err != nil {
		panic(err) // nobody else removes the folder
	}
	for _, socket := range left {
		_ = os.Remove(socket.Name())
	}
}

// patience is longer than the kernel delays an ACK.
const patience = 50 * time.Millisecond
