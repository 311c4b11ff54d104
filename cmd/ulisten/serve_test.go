package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tests/netlab"
)

// patience bounds everything that a test waits for.
const patience = 15 * time.Second

// running is a serve that runs, in the namespace of the tests.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	ready ready
	addr  string // of the stack
	log   syncBuffer
	ended chan struct{}
}

// syncBuffer is a buffer that a process writes while a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var networks atomic.Int32

// start runs serve on a network and a device of its own, whose name no other test
// takes as soon as it is free. ADDR in args stands for the stack's address.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	netlab.RequireTUN(t)
	dir, err := os.MkdirTemp("", "ul") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	network := networks.Add(1)
	r := &running{t: t, addr: fmt.Sprintf("10.11.%d.2", network), ended: make(chan struct{})}
	all := []string{"serve", "--json", "--tun", fmt.Sprintf("test%d", network), "--address", r.addr + "/24", "--control", filepath.Join(dir, "c.sock")}
	for _, a := range args {
		all = append(all, strings.ReplaceAll(a, "ADDR", r.addr))
	}
	r.cmd = program(all...)
	r.cmd.Stderr = &r.log
	stdout, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait() // the exit code says it all
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.ended
	})
	require.NoError(t, err, r.log.String())
	require.NoError(t, json.Unmarshal(line, &r.ready), string(line))
	return r
}

// signal sends a signal.
func (r *running) signal(s os.Signal) { require.NoError(r.t, r.cmd.Process.Signal(s)) }

// exit waits for the end and returns the exit code. Nothing may be left.
func (r *running) exit() int {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatalf("serve does not end:\n%s", r.log.String())
	}
	_, err := net.InterfaceByName(r.ready.Device)
	require.Error(r.t, err, "device left behind")
	_, err = os.Lstat(r.ready.Control)
	require.ErrorIs(r.t, err, os.ErrNotExist, "control socket left behind")
	return r.cmd.ProcessState.ExitCode()
}

// ulisten runs another command on this serve.
func (r *running) ulisten(args ...string) string {
	r.t.Helper()
	stdout, stderr, code := outcome(r.t, append(args, "--control", r.ready.Control)...)
	require.Zero(r.t, code, stderr)
	return stdout
}

// listener returns what ss says about a listener.
func (r *running) listener(port int) listenerInfo {
	r.t.Helper()
	var reply response
	require.NoError(r.t, json.Unmarshal([]byte(r.ulisten("ss", "--json")), &reply))
	for _, l := range reply.Listeners {
		if strings.HasSuffix(l.Address, fmt.Sprintf(":%d", port)) {
			return l
		}
	}
	r.t.Fatalf("no listener on port %d", port)
	return listenerInfo{}
}

// connect begins a connection of a kernel socket.
func (r *running) connect(port int) *netlab.Socket {
	r.t.Helper()
	s, err := netlab.Connect(netlab.ConnectConfig{
		Remote: netip.AddrPortFrom(netip.MustParseAddr(r.addr), uint16(port)), SYNRetries: 3, Abort: true,
	})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { s.Close() })
	return s
}

// dial connects.
func (r *running) dial(port int) net.Conn {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", r.addr, port), patience)
	require.NoError(r.t, err, r.log.String())
	require.NoError(r.t, c.SetDeadline(time.Now().Add(patience)))
	r.t.Cleanup(func() { c.Close() })
	return c
}

// says sends a line and expects one back.
func says(t *testing.T, c net.Conn, line string) {
	t.Helper()
	_, err := io.WriteString(c, line)
	require.NoError(t, err)
	got := make([]byte, len(line))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, line, string(got))
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, 5*time.Millisecond, what)
}

func TestServeEndsWithGrace(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "ADDR:7", "--listen", ":80,app=http", "--listen", ":99,app=hold")
	require.Equal(t, r.addr+"/24", r.ready.Addresses[0])
	require.Len(t, r.ready.Listeners, 3)
	require.Equal(t, 4096, r.ready.Listeners[0].Limit)
	busy := r.dial(7)
	says(t, busy, "before\n")
	waiting := r.dial(99)
	eventually(t, "the connection is queued", func() bool { return r.listener(99).AcceptQueue == 1 })

	r.signal(syscall.SIGTERM)
	_, err := waiting.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET, "nobody will accept it")
	eventually(t, "no listener", func() bool {
		return errors.Is(r.connect(7).Wait(patience), syscall.ECONNREFUSED)
	})
	says(t, busy, "after\n")
	require.NoError(t, busy.(*net.TCPConn).CloseWrite())
	rest, err := io.ReadAll(busy)
	require.NoError(t, err, "it ends in order")
	require.Empty(t, rest)
	busy.Close()
	require.Zero(t, r.exit(), r.log.String())
	require.Contains(t, r.log.String(), "closing the listeners")
}

func TestServeGraceIsOver(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "ADDR:7", "--grace", "100ms")
	c := r.dial(7)
	says(t, c, "hello\n")
	r.signal(os.Interrupt)
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Zero(t, r.exit())
	require.Contains(t, r.log.String(), "the grace time is over")
}

func TestServeSecondSignal(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "ADDR:7", "--grace", "1h")
	says(t, r.dial(7), "hello\n")
	r.signal(syscall.SIGTERM)
	eventually(t, "the first signal is seen", func() bool { return strings.Contains(r.log.String(), "closing") })
	r.signal(syscall.SIGTERM)
	require.Equal(t, 128+int(syscall.SIGTERM), r.exit())
}

func TestServeLosesItsDevice(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "ADDR:7")
	device, err := netlink.LinkByName(r.ready.Device)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkDel(device))
	require.Equal(t, exitFailure, r.exit())
	require.Contains(t, r.log.String(), "ulisten serve: device lost: tun: "+r.ready.Device+": device is gone")
}

func TestServeKeepsNoPrivilege(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "ADDR:7")
	says(t, r.dial(7), "threads were made meanwhile\n")
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.cmd.Process.Pid))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		require.NoError(t, err)
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			require.Contains(t, string(text), set+":\t0000000000000000\n", name)
		}
		require.Contains(t, string(text), "NoNewPrivs:\t1\n", name)
	}
}

// What the next client sees follows from what the command line changed last.
func TestChangesWhileItRuns(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "ADDR:80,backlog=0,app=hold", "--sysctl", "net.core.somaxconn=4")
	first := r.connect(80)
	require.NoError(t, first.Wait(patience))
	eventually(t, "the accept queue is full", func() bool { return r.listener(80).AcceptQueue == 1 })

	ignored := r.connect(80)
	require.ErrorIs(t, ignored.Wait(300*time.Millisecond), os.ErrDeadlineExceeded, "policy drop")
	require.EqualValues(t, 1, r.listener(80).Counters.ListenOverflows)

	out := r.ulisten("set", r.addr+":80", "policy=reset")
	require.Contains(t, out, "reset")
	require.Equal(t, syscall.ECONNREFUSED, r.connect(80).Wait(patience), "policy reset")
	require.Equal(t, syscall.ECONNREFUSED, ignored.Wait(patience), "its SYN comes again")

	require.Contains(t, r.ulisten("set", r.addr+":80", "backlog=9"), "LISTEN")
	require.Equal(t, 4, r.listener(80).Limit, "cut to somaxconn")
	require.NoError(t, r.connect(80).Wait(patience), "there is room")

	require.Equal(t, "net.core.somaxconn = 6\n", r.ulisten("sysctl", "-w", "net.core.somaxconn=6"))
	require.Equal(t, 4, r.listener(80).Limit, "counts from the next listen on")
	r.ulisten("set", r.addr+":80", "backlog=9")
	require.Equal(t, 6, r.listener(80).Limit)
	require.Equal(t, "{\"net.core.somaxconn\":\"6\"}\n", r.ulisten("sysctl", "--json", "net.core.somaxconn"))
	for _, name := range stack.SysctlNames() { // each by its name, and not only in the list of all
		require.Regexp(t, "^"+regexp.QuoteMeta(name)+" = \\d+\n$", r.ulisten("sysctl", name))
	}
	require.Equal(t, "net.ipv4.tcp_fin_timeout = 5\n", r.ulisten("sysctl", "-w", "net.ipv4.tcp_fin_timeout=5"))
	require.Equal(t, len(stack.SysctlNames()), strings.Count(r.ulisten("sysctl"), "\n"))

	eventually(t, "two are queued", func() bool { return r.listener(80).AcceptQueue == 2 })
	require.Regexp(t, `(?m)^LISTEN +2 +6 +`+r.addr+`:80 +0 +linux-6 +reset +9 +hold\n +ListenOverflows:\d`, r.ulisten("ss", "-e"))
	require.Regexp(t, fmt.Sprintf(`(?m)^tcp +2 +6 +%s:80 +0\.0\.0\.0:\* +LISTEN +%d/ulisten$`, r.addr, r.cmd.Process.Pid), r.ulisten("ss", "--netstat"))

	for args, message := range map[string]string{
		":81 policy=drop":                      "no listener on *:81: there is " + r.addr + ":80",
		r.addr + ":80 policy=bounce":           `unknown overflow policy "bounce"`,
		r.addr + ":80 backlog=x":               `backlog "x" is not a number`,
		r.addr + ":80 app=echo":                "the app of a listener cannot change",
		r.addr + ":80 profile=windows":         "the profile of a listener cannot change",
		r.addr + ":80 backlog=1 policy=bounce": `unknown overflow policy`,
	} {
		_, stderr, code := outcome(t, append([]string{"set", "--control", r.ready.Control}, strings.Fields(args)...)...)
		require.NotZero(t, code)
		require.Contains(t, stderr, message)
		require.Equal(t, 1, strings.Count(stderr, "\n"))
	}
	require.Equal(t, 9, r.listener(80).Backlog, "all changes are made, or none")
}

// Two platforms side by side: the second client of Windows is refused, the
// second of illumos waits, and a backlog of 0 is no number for illumos.
func TestServeProfiles(t *testing.T) {
	t.Parallel()
	r := start(t, "--profile", "illumos", "--listen", "ADDR:80,backlog=1,app=hold",
		"--listen", "ADDR:81,backlog=1,app=hold,profile=windows", "--sysctl", "net.core.somaxconn=50")
	require.Equal(t, "illumos", r.ready.Listeners[0].Profile)
	for _, port := range []int{80, 81} {
		require.NoError(t, r.connect(port).Wait(patience))
	}
	require.Equal(t, syscall.ECONNREFUSED, r.connect(81).Wait(patience))
	late := r.connect(80)
	require.ErrorIs(t, late.Wait(300*time.Millisecond), os.ErrDeadlineExceeded)
	require.Equal(t, []string{"illumos", "windows"}, []string{r.listener(80).Profile, r.listener(81).Profile})
	require.Regexp(t, `(?m)^LISTEN +1 +1 +`+r.addr+`:81 +0 +windows +drop +1 +hold$`, r.ulisten("ss"))

	r.ulisten("set", r.addr+":80", "backlog=1000")
	r.ulisten("set", r.addr+":81", "backlog=1000")
	require.Equal(t, []int{50, 1}, []int{r.listener(80).Limit, r.listener(81).Limit}, "Windows changes nothing")
	require.NoError(t, late.Wait(patience), "its SYN comes again")
	_, stderr, code := outcome(t, "set", "--control", r.ready.Control, r.addr+":80", "backlog=0")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "backlog 0: invalid argument: profile illumos refuses it")
}

func TestAcceptPace(t *testing.T) {
	t.Parallel()
	r := start(t, "--accept-delay", "1h", "--listen", "ADDR:7,backlog=5", "--listen", "ADDR:8,backlog=5,accept-delay=0s")
	says(t, r.dial(8), "at once\n")
	c := r.dial(7)
	eventually(t, "it waits", func() bool { return r.listener(7).AcceptQueue == 1 })
	require.Equal(t, "1h0m0s", r.listener(7).AcceptDelay)
	r.ulisten("set", r.addr+":7", "accept-delay=0s")
	says(t, c, "no longer\n")
}

func TestHTTPPageShowsTheQueue(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", ":80,backlog=3,app=http")
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	get := func(path string) string {
		resp, err := client.Get("http://" + r.addr + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	require.Contains(t, get("/"), "<tr><td>accept queue<td>0 of 4\n")
	var info listenerInfo
	require.NoError(t, json.Unmarshal([]byte(get("/json")), &info))
	require.Equal(t, 3, info.Limit)
	require.EqualValues(t, 1, info.Counters.PassiveOpens)
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.exit(), "idle keep-alive connections do not hold it up")
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "[ADDR]:9,app=discard", "--offload", "off")
	require.False(t, r.ready.Offload)
	c := r.dial(9)
	_, err := c.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	n, err := io.Copy(io.Discard, c)
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestForward(t *testing.T) {
	t.Parallel()
	netlab.RequireTUN(t)
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		for {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, err := io.ReadAll(c) // until the client's FIN comes through
				if string(b) == "break off" {
					_ = c.(*net.TCPConn).SetLinger(0)
					return
				}
				if err == nil {
					_, _ = c.Write(bytes.ToUpper(b))
				}
			}()
		}
	}()
	r := start(t, "--listen", "ADDR:80,forward="+backend.Addr().String())
	ask := func(text string) (string, error) {
		c := r.dial(80)
		_, err := io.WriteString(c, text)
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		b, err := io.ReadAll(c)
		return string(b), err
	}
	big := strings.Repeat("all of it ", 100_000)
	got, err := ask(big)
	require.NoError(t, err)
	require.Equal(t, strings.ToUpper(big), got)

	_, err = ask("break off")
	require.ErrorIs(t, err, syscall.ECONNRESET)
	eventually(t, "it is logged", func() bool { return strings.Contains(r.log.String(), "backend broke off, client reset") })

	require.NoError(t, backend.Close())
	// The RST may come before the program has seen that it is connected.
	c, err := net.DialTimeout("tcp", r.addr+":80", patience)
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET, "the backend is down")
	eventually(t, "it is logged", func() bool {
		return strings.Contains(r.log.String(), "backend is down, client reset") &&
			strings.Contains(r.log.String(), "backend="+backend.Addr().String()) &&
			strings.Contains(r.log.String(), "connection refused")
	})
}

func TestWatch(t *testing.T) {
	t.Parallel()
	r := start(t, "--listen", "ADDR:7,policy=abort")
	cmd := program("ss", "--watch", "--interval", "20ms", "--json", "--control", r.ready.Control)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	for range 3 {
		require.True(t, lines.Scan())
		require.Contains(t, lines.Text(), `"policy":"abort"`)
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait(), "an interrupt is its ordinary end")

	cmd = program("ss", "--watch", "--interval", "20ms", "--control", r.ready.Control)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err = cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.True(t, bufio.NewScanner(stdout).Scan())
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.exit())
	_, _ = io.Copy(io.Discard, stdout)
	require.Error(t, cmd.Wait())
	// It depends on whether a question was under way.
	require.Regexp(t, "no serve uses it|did the serve just end", stderr.String())
}

// Without --control, ss finds the one serve, and says so if there are several.
func TestSocketsAreFound(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "ul")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	find := func(args ...string) (string, string, int) {
		cmd := program(append([]string{"ss"}, args...)...)
		cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+dir, "TMPDIR="+dir)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		_ = cmd.Run() // the exit code says it all
		return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
	}
	at := func(name string) string { return filepath.Join(dir, "ulisten", name) }
	one := start(t, "--listen", "ADDR:7", "--control", at("one.sock"))
	info, err := os.Lstat(at("one.sock"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600)|os.ModeSocket, info.Mode())
	out, stderr, code := find()
	require.Zero(t, code, stderr)
	require.Contains(t, out, one.addr+":7")

	two := start(t, "--listen", "ADDR:7", "--control", at("two.sock"))
	_, stderr, code = find()
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "2 serve processes run: choose one with --control: "+at("one.sock")+", "+at("two.sock"))

	// A second serve does not take the first one's socket.
	_, stderr, code = outcome(t, "serve", "--address", "10.12.0.2/24", "--control", at("one.sock"))
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "another serve answers there: stop it, or choose another place with --control")

	// The socket of a process that died is told from that of one that runs, and
	// is replaced.
	two.signal(syscall.SIGTERM)
	require.Zero(t, two.exit())
	one.signal(syscall.SIGKILL)
	<-one.ended
	_, stderr, code = find()
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "one.sock was left by a process that is gone: start `ulisten serve`, or remove the file")
	_, stderr, code = find("--control", at("one.sock"))
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "one.sock: connection refused: its process is gone")
	three := start(t, "--listen", "ADDR:7", "--control", at("one.sock"))
	out, stderr, code = find()
	require.Zero(t, code, stderr)
	require.Contains(t, out, three.addr+":7")
	three.signal(syscall.SIGTERM)
	require.Zero(t, three.exit())
}

func TestServeWithoutPrivilege(t *testing.T) {
	netlab.RequireTUN(t)
	if os.Getenv("ULISTEN_NETLAB") != "root" {
		t.Skip("an ordinary user is privileged in the namespace of the tests")
	}
	t.Parallel()
	cmd := program("serve", "--address", "10.13.0.2/24")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.Error(t, netlab.AsPlainUser(cmd))
	require.Equal(t, exitFailure, cmd.ProcessState.ExitCode())
	require.Regexp(t, `^ulisten serve: tun: create device "ulisten%d": CAP_NET_ADMIN is missing: .*: run as root.*\n$`, stderr.String())
}
