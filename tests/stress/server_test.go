//go:build linux

package stress

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
	"github.com/ulisten/ulisten/tun"
)

var (
	kernel4 = netip.MustParsePrefix("192.0.2.1/24")
	stack4  = netip.MustParsePrefix("192.0.2.2/24")
	kernel6 = netip.MustParsePrefix("2001:db8::1/64")
	stack6  = netip.MustParsePrefix("2001:db8::2/64")
)

// port is where the server echoes.
const port = 7

// roleEnv tells a process of the test what it is: a serverConfig, or busy.
const roleEnv = "ULISTEN_STRESS_ROLE"

// busy is the role of a process that wants a core for itself.
const busy = "busy"

// serverConfig describes an echo server on a stack, in a process of its own.
type serverConfig struct {
	MTU     int
	Offload tun.Offload
	// Nice is the process's, 0 to 19.
	Nice int
	// Backlog is the listener's.
	Backlog int
}

// play does what a child process of the test is for, until its standard input ends.
func play(role string) {
	if role == busy {
		spin()
		return
	}
	var cfg serverConfig
	if err := json.Unmarshal([]byte(role), &cfg); err != nil {
		panic(err)
	}
	if err := echoServer(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "stress: server:", err)
		os.Exit(1)
	}
}

// busyLimit ends a busy process that nobody has ended.
const busyLimit = 10 * time.Minute

func spin() {
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	fmt.Println("ready")
	for began := time.Now(); time.Since(began) < busyLimit; {
		select {
		case <-done:
			return
		default:
			for range 1 << 16 { // a little work
			}
		}
	}
}

func echoServer(cfg serverConfig) error {
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, cfg.Nice); err != nil {
		return os.NewSyscallError("setpriority", err)
	}
	hosts, own := []netip.Prefix{kernel4}, []netip.Prefix{stack4}
	if cfg.MTU >= minIPv6MTU {
		hosts, own = append(hosts, kernel6), append(own, stack6)
	}
	link, err := tun.Open(tun.Config{Name: "tun0", MTU: cfg.MTU, Offload: cfg.Offload, HostAddresses: hosts})
	if err != nil {
		return err
	}
	s, err := stack.New(stack.Config{Link: link, Addresses: own})
	if err != nil {
		return err
	}
	defer s.Close()
	for _, name := range []string{"net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"} {
		if err := s.SetSysctl(name, fmt.Sprint(cfg.Backlog)); err != nil {
			return err
		}
	}
	l, err := s.Listen("tcp", fmt.Sprintf(":%d", port), cfg.Backlog, nil)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	counters, conns := s.Counters(), s.ConnCounters()
	fmt.Printf("link %+v\ndropped %+v\n%+v\n%+v\n", link.Stats(), s.Drops(), counters, conns)
	return err
}

// minIPv6MTU is the smallest that IPv6 allows (RFC 8200, section 5).
const minIPv6MTU = 1280

// startServer starts an echo server in a namespace and returns when it is ready.
// It ends with the test, which then shows what it has counted if it failed.
func startServer(t *testing.T, ns *netlab.Namespace, cfg serverConfig) {
	t.Helper()
	netlab.RequireTUN(t)
	if cfg.Backlog == 0 {
		cfg.Backlog = 128
	}
	role, err := json.Marshal(cfg)
	require.NoError(t, err)
	startRole(t, ns, string(role), max(1, runtime.NumCPU()/2))
}

// startRole starts this program as something else and returns when it says that it
// is ready.
func startRole(t *testing.T, ns *netlab.Namespace, role string, cores int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+role, fmt.Sprintf("GOMAXPROCS=%d", cores))
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, ns.Start(cmd))
	t.Cleanup(func() {
		stop.Close()
		said, err := io.ReadAll(out)
		if t.Failed() {
			t.Logf("%s %s%v", role, said, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	})
	ready := make([]byte, len("ready\n"))
	_, err = io.ReadFull(out, ready)
	require.NoError(t, err)
	require.Equal(t, "ready", strings.TrimSpace(string(ready)))
}
