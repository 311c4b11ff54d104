package platforms

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/listenq"
)

// LwIP is a listening socket of lwIP in a process of its own.
type LwIP struct {
	cmd     *exec.Cmd
	in      *os.File
	out     *bufio.Reader
	link    int // in virtual time: where packets are written and read
	now     time.Duration
	pending []Sent
}

var _ Device = (*LwIP)(nil)

// lwipStep is how far lwIP's time moves at once. lwIP counts in steps of 250 ms.
const lwipStep = 50 * time.Millisecond

// StartLwIP runs the program in virtual time. Close the process with Stop.
func StartLwIP(program string) (*LwIP, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "link")
	defer theirs.Close()
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	l := &LwIP{link: fds[0]}
	if err := l.start(exec.Command(program), theirs, (*exec.Cmd).Start); err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	return l, nil
}

// StartLwIPLive runs the program in real time on a TUN device; start starts it,
// in a namespace. Only Listen, Accept, Close and Stop can be used.
func StartLwIPLive(program string, device *os.File, start func(*exec.Cmd) error) (*LwIP, error) {
	l := &LwIP{link: -1}
	return l, l.start(exec.Command(program, "live"), device, start)
}

func (l *LwIP) start(cmd *exec.Cmd, link *os.File, start func(*exec.Cmd) error) error {
	childIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer childIn.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		in.Close()
		return err
	}
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = childIn, os.Stderr, []*os.File{link}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	l.cmd, l.in, l.out = cmd, in, bufio.NewReader(out)
	if err := start(cmd); err != nil {
		in.Close()
		return fmt.Errorf("start lwIP: %w", err)
	}
	return nil
}

// Stop ends the process.
func (l *LwIP) Stop() error {
	err := l.in.Close() // the end of its commands
	if l.link >= 0 {
		unix.Close(l.link)
	}
	return errors.Join(err, l.cmd.Wait())
}

// say sends a command and returns the line that answers it.
func (l *LwIP) say(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(l.in, format+"\n", args...); err != nil {
		return "", fmt.Errorf("lwIP: %w", err)
	}
	line, err := l.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("lwIP: no answer to "+format+": %w", append(args, err)...)
	}
	return strings.TrimSpace(line), nil
}

// ok is say for commands that answer ok.
func (l *LwIP) ok(format string, args ...any) error {
	answer, err := l.say(format, args...)
	if err == nil && answer != "ok" {
		err = errors.New(answer)
	}
	return err
}

// Listen implements Device.
func (l *LwIP) Listen(backlog int) error { return l.ok("listen %d", backlog) }

// Accept implements Device.
func (l *LwIP) Accept() (netip.AddrPort, string, error) {
	answer, err := l.say("accept")
	if err != nil || answer == "none" {
		return netip.AddrPort{}, "", err
	}
	address, finds, found := strings.Cut(answer, " ")
	if !found {
		return netip.AddrPort{}, "", errors.New(answer)
	}
	client, err := netip.ParseAddrPort(address)
	return client, finds, err
}

// Close implements Device.
func (l *LwIP) Close() error { return l.ok("close") }

// Deliver implements Device.
func (l *LwIP) Deliver(s *listenq.Segment) error { return l.deliver(packet(s)) }

// ICMP implements Device.
func (l *LwIP) ICMP(e *listenq.ICMPError) error { return l.deliver(icmpPacket(e)) }

func (l *LwIP) deliver(b []byte) error {
	if _, err := unix.Write(l.link, b); err != nil {
		return os.NewSyscallError("write to lwIP", err)
	}
	if err := l.ok("deliver"); err != nil {
		return err
	}
	return l.drain()
}

// Advance implements Device.
func (l *LwIP) Advance(d time.Duration) error {
	for end := l.now + d; l.now < end; {
		step := min(lwipStep, end-l.now)
		l.now += step
		if err := l.ok("advance %d", step.Milliseconds()); err != nil {
			return err
		}
		if err := l.drain(); err != nil {
			return err
		}
	}
	return nil
}

// Sent implements Device.
func (l *LwIP) Sent() ([]Sent, error) {
	if err := l.drain(); err != nil {
		return nil, err
	}
	all := l.pending
	l.pending = nil
	return all, nil
}

// drain reads what lwIP has written so far.
func (l *LwIP) drain() error {
	var buf [2048]byte
	for {
		n, err := unix.Read(l.link, buf[:])
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return os.NewSyscallError("read from lwIP", err)
		}
		if n == 0 {
			return errors.New("lwIP: the process has ended")
		}
		if s, ok := sent(l.now, buf[:n]); ok {
			l.pending = append(l.pending, s)
		}
	}
}

// LwIPLibrary is where the library of a distribution is found.
type LwIPLibrary struct {
	Include []string // directories of headers
	Library string   // the shared library
}

// PackagedLwIP returns the library of liblwip-dev. Debian builds it without
// TCP_LISTEN_BACKLOG.
func PackagedLwIP() (LwIPLibrary, error) {
	libraries, _ := filepath.Glob("/usr/lib/*/liblwip.so")
	if len(libraries) == 0 {
		return LwIPLibrary{}, errors.New("no liblwip.so: apt-get install liblwip-dev")
	}
	return LwIPLibrary{Include: []string{"/usr/include/lwip"}, Library: libraries[0]}, nil
}

// LwIPSource returns the directory that holds lwIP as `apt-get source lwip`
// unpacks it: $ULISTEN_LWIP_SOURCE, or where testdata/lwip/fetch puts it.
func LwIPSource() (string, error) {
	dir := os.Getenv("ULISTEN_LWIP_SOURCE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "ulisten", "lwip")
	}
	if _, err := os.Stat(filepath.Join(dir, "src", "core", "tcp.c")); err != nil {
		return "", fmt.Errorf("no source of lwIP (%w): run tests/platforms/testdata/lwip/fetch", err)
	}
	return dir, nil
}

// BuildLwIP compiles lwIP from source into dir, with TCP_LISTEN_BACKLOG 1 and
// else as Debian does.
func BuildLwIP(source, dir string) (LwIPLibrary, error) {
	lib := LwIPLibrary{
		Include: []string{filepath.Join(source, "src", "include"), filepath.Join(source, "port", "include")},
		Library: filepath.Join(dir, "liblwip.so"),
	}
	args := []string{"-shared", "-fPIC", "-O0", "-DTCP_LISTEN_BACKLOG=1", "-o", lib.Library}
	for _, pattern := range []string{"src/core/*.c", "src/core/ipv4/*.c", "src/core/ipv6/*.c", "src/api/*.c", "src/netif/ethernet.c", "port/sys_arch.c"} {
		files, err := filepath.Glob(filepath.Join(source, filepath.FromSlash(pattern)))
		if err != nil {
			return lib, err
		}
		args = append(args, files...)
	}
	return lib, lib.compile(args)
}

// BuildListener compiles testdata/lwip/listener.c into dir and returns the
// program.
func (lib LwIPLibrary) BuildListener(dir string) (string, error) {
	program := filepath.Join(dir, "listener")
	return program, lib.compile([]string{
		"-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", program, filepath.Join("testdata", "lwip", "listener.c"),
		lib.Library, "-Wl,-rpath," + filepath.Dir(lib.Library),
	})
}

func (lib LwIPLibrary) compile(args []string) error {
	for _, dir := range lib.Include {
		args = append(args, "-I", dir)
	}
	out, err := exec.Command("gcc", append(args, "-lpthread")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return nil
}
