package tun

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/refs"
)

// inNamespace is set in the environment of the copy of this binary that
// runs in a network namespace of its own.
const inNamespace = "ULISTEN_TUN_TEST_NETNS"

// noNamespace says why there is no such namespace, if there is none.
var noNamespace = "the test binary was not started again in a new network namespace"

// TestMain runs the tests in a new network namespace, as root or as a user
// who may create user namespaces, so that devices and addresses never meet
// those of the machine. Afterwards it looks for leaked packet buffers and
// goroutines.
func TestMain(m *testing.M) {
	flag.Parse()
	// A fuzzing coordinator talks to its workers through inherited
	// descriptors; what they fuzz needs no device.
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" ||
		flag.Lookup("test.fuzzworker").Value.String() == "true"
	switch {
	case os.Getenv(inNamespace) != "":
		noNamespace = ""
	case !fuzzing:
		if code, err := runInNamespace(); err == nil {
			os.Exit(code)
		} else {
			noNamespace = err.Error()
		}
	}
	if flag.Lookup("test.bench").Value.String() == "" {
		refs.SetLeakMode(refs.LeaksPanic) // costs a microsecond per packet
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !fuzzing {
		if err := waitGoroutines(before); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		refs.DoLeakCheck()
	}
	os.Exit(code)
}

// runInNamespace runs this binary again and returns its exit code, or says
// what is missing.
func runInNamespace() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("no new network namespace: %w (needs CAP_SYS_ADMIN, or user namespaces: user.max_user_namespaces)", err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// waitGoroutines waits until no more than want goroutines run.
func waitGoroutines(want int) error {
	for range 200 {
		if runtime.NumGoroutine() <= want {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	return fmt.Errorf("%d goroutines, want %d:\n%s", runtime.NumGoroutine(), want, buf[:runtime.Stack(buf, true)])
}

// needDevice skips a test where no TUN device can be created.
func needDevice(t testing.TB) {
	t.Helper()
	if noNamespace != "" {
		t.Skip(noNamespace)
	}
	fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("cannot open %s: %v", devicePath, err)
	}
	unix.Close(fd)
}

// devices lists the network devices of the namespace, without loopback.
func devices(t testing.TB) string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		switch l.Attrs().Name {
		case "lo", "sit0", "tunl0", "gre0", "gretap0", "erspan0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0":
			// Some kernels create these in every namespace.
		default:
			names = append(names, l.Attrs().Name)
		}
	}
	return strings.Join(names, " ")
}
