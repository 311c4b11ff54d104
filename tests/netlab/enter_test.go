//go:build linux

package netlab_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

// actor returns the test binary in a role, as if freshly started by a user.
func actor(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "ULISTEN_NETLAB=")
	return cmd
}

func TestTestsRunInAPrivateNamespace(t *testing.T) {
	netlab.RequireNamespace(t)
	inner, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	require.NotEmpty(t, os.Getenv(outerEnv))
	require.NotEqual(t, os.Getenv(outerEnv), inner)

	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, l := range links {
		require.NotEqual(t, "eth0", l.Name, "a device of the machine is in sight")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err, "loopback is up")
	require.NoError(t, l.Close())
}

func TestExitCodePassesThrough(t *testing.T) {
	netlab.RequireNamespace(t)
	var exit *exec.ExitError
	require.ErrorAs(t, actor("exit 7").Run(), &exit)
	require.Equal(t, 7, exit.ExitCode())
	require.NoError(t, actor("exit 0").Run())
	require.ErrorAs(t, actor("die").Run(), &exit)
	require.Equal(t, 128+int(syscall.SIGKILL), exit.ExitCode(), "killed, as a shell tells it")
}

func TestSignalsPassThrough(t *testing.T) {
	netlab.RequireNamespace(t)
	cmd := actor("trap")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "the inner process is ready")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.True(t, lines.Scan())
	require.Equal(t, "terminated", lines.Text())
	require.NoError(t, cmd.Wait())
}

func TestInnerProcessDiesWithTheOuter(t *testing.T) {
	netlab.RequireNamespace(t)
	cmd := actor("linger")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "the inner process is ready")
	var pid int
	_, err = fmt.Sscanf(lines.Text(), "ready %d", &pid)
	require.NoError(t, err)
	require.NotEqual(t, cmd.Process.Pid, pid)

	require.NoError(t, cmd.Process.Kill())
	// Its end closes the pipe, which is seen as the end of the output.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() {
		}
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatalf("process %d outlives its parent", pid)
	}
	require.Error(t, cmd.Wait())
}

func TestOrdinaryUserGetsANamespaceAndTUN(t *testing.T) {
	netlab.RequireTUN(t)
	cmd := actor("report")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, netlab.AsPlainUser(cmd), out.String())
	if strings.Contains(out.String(), "no private network namespace") {
		t.Skip("this machine gives ordinary users no namespaces: " + out.String())
	}
	require.Contains(t, out.String(), "\nmissing: <nil>\n")
	require.Contains(t, out.String(), "\ntun missing: <nil>\n")
	mine, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	require.NotContains(t, out.String(), mine)
}

func TestPlainUserChangesNothingOutside(t *testing.T) {
	netlab.RequireTUN(t)
	before, err := os.Stat("/dev/net/tun")
	require.NoError(t, err)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)

	cmd := exec.Command("/bin/sh", "-c", "id -u; stat -c %a /dev/net/tun")
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, netlab.AsPlainUser(cmd), out.String())
	if os.Getenv("ULISTEN_NETLAB") == "root" {
		require.Equal(t, "65534\n666\n", out.String())
	}

	after, err := os.Stat("/dev/net/tun")
	require.NoError(t, err)
	require.Equal(t, before.Mode(), after.Mode())
	mountsAfter, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Equal(t, string(mounts), string(mountsAfter))
}

func TestImpossibleNamespacesAreExplained(t *testing.T) {
	netlab.RequireNamespace(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("unshare(1) is missing")
	}
	program, err := os.Executable()
	require.NoError(t, err)
	// A user namespace may forbid itself to make more of them.
	script := `cd /proc/sys/user && echo 0 >max_user_namespaces && echo 0 >max_net_namespaces && exec "$0"`
	cmd := exec.Command(unshare, "--user", "--map-root-user", "sh", "-c", script, program)
	cmd.Env = actor("report").Env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "\nmissing: no private network namespace: as root: ")
	require.Contains(t, string(out), "no space left on device")
	require.Contains(t, string(out), "\ntun missing: no private network namespace: ")
}
