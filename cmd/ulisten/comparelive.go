package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/sim"
)

// maxLiveClients bounds the sockets of a live run.
const maxLiveClients = 1000

// liveComparison is the burst on this machine's kernel and what the Linux profile
// says of it.
type liveComparison struct {
	Kernel string `json:"kernel"`
	Server string `json:"server"`
	Client string `json:"client"`
	// Agree counts clients that fared the same in both worlds. Late timers, and the
	// kernel's order among those of the same moment, decide who finds the next free
	// place; AgreeInAnyOrder lets clients change places.
	Agree           int          `json:"agree"`
	AgreeInAnyOrder int          `json:"agree_in_any_order"`
	Each            []liveClient `json:"clients"`
}

// liveClient is one client in both worlds.
type liveClient struct {
	Simulated liveFate `json:"simulated"`
	Measured  liveFate `json:"measured"`
	// Differs says in what; "" if they agree.
	Differs string `json:"differs,omitempty"`
}

// liveFate is what became of a client. Times are in seconds since its connect(2)
// was called.
type liveFate struct {
	Fate            sim.Fate `json:"fate"`
	Error           string   `json:"error,omitempty"`
	Retransmissions int      `json:"syn_retransmissions"`
	Connect         *float64 `json:"connect_seconds,omitempty"`
	End             *float64 `json:"end_seconds,omitempty"`
}

// checkLive refuses what the kernel cannot be made to do.
func (k *compareCmd) checkLive() error {
	for flag, given := range map[string]bool{
		"--loss": k.Loss != 0, "--jitter": k.Jitter != 0, "--silent": k.Silent != 0, "--patience": k.Patience != 0,
	} {
		if given {
			return usagef("--live cannot play %s: leave it out", flag)
		}
	}
	if k.Clients > maxLiveClients {
		return usagef("--live with --clients %d: use at most %d", k.Clients, maxLiveClients)
	}
	return nil
}

// runInside plays everything again in a network namespace of its own.
func (k *compareCmd) runInside() error {
	code, err := inNamespace()
	if err != nil {
		return fmt.Errorf("--live: %w", err)
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

// live plays the burst on the kernel, and then, with the same arrivals, in the
// simulator.
func (k *compareCmd) live(c *console) (*liveComparison, error) {
	sysctls, linear := kernelSettings()
	s, err := k.liveScenario(&sysctls, linear)
	if err != nil {
		return nil, err
	}
	wire, err := openLiveWire(k.RTT, int(k.Backlog))
	if err != nil {
		return nil, fmt.Errorf("--live: %w", err)
	}
	defer wire.Close()
	release := kernelRelease()
	fmt.Fprintf(c.err, "playing the burst on %s in real time, %v at most\n", release, k.Duration)
	run := liveRun{scenario: s, results: make([]sim.Client, k.Clients)}
	if err := run.play(wire.listener); err != nil {
		return nil, fmt.Errorf("--live: %w", err)
	}
	arrivals := make([]time.Duration, k.Clients)
	for i := range arrivals {
		arrivals[i] = run.results[i].SYNs[0]
	}
	s.Arrival = sim.At(arrivals)
	simulated, err := sim.Run(s)
	if err != nil {
		return nil, usageError{err}
	}
	l := &liveComparison{Kernel: release, Server: s.Server.Name, Client: s.Client.Name}
	l.compare(simulated.Clients, run.results)
	return l, nil
}

// liveScenario is the scenario under the profiles of this kernel.
func (k *compareCmd) liveScenario(sysctls *listenq.Sysctls, linear bool) (sim.Scenario, error) {
	server, err := listenq.ProfileNamed("linux-6")
	if err != nil {
		return sim.Scenario{}, err
	}
	name := "linux-6"
	if !linear {
		name = "linux-5"
	}
	platform, err := client.ProfileNamed(name)
	if err != nil {
		return sim.Scenario{}, err
	}
	s := k.sim(server, platform)
	s.Sysctls = sysctls
	return s, nil
}

// kernelSettings reads the settings of this network namespace; those that the
// kernel does not show are as in DefaultSysctls. It also says whether SYNs are
// repeated linearly at first.
func kernelSettings() (s listenq.Sysctls, linear bool) {
	read := func(name string) (string, error) {
		path := filepath.Join("/proc/sys", filepath.FromSlash(strings.ReplaceAll(name, ".", "/")))
		text, err := os.ReadFile(path)
		return strings.TrimSpace(string(text)), err
	}
	s = listenq.DefaultSysctls()
	for _, name := range listenq.SysctlNames() {
		if value, err := read(name); err == nil {
			_ = s.Set(name, value) // what listenq does not take does not matter to it
		}
	}
	timeouts, err := read("net.ipv4.tcp_syn_linear_timeouts")
	return s, err == nil && timeouts != "0"
}

// kernelRelease is "Linux 6.18.44".
func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "this kernel"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// liveRun is the burst with real sockets. Times count from its start.
type liveRun struct {
	scenario sim.Scenario
	start    time.Time
	results  []sim.Client // each is its client's own until play returns
}

// play returns when every client's fate is decided or the time is over, and
// closes the listener.
func (r *liveRun) play(listener *net.TCPListener) error {
	address := netip.AddrPortFrom(liveServerSide.Addr(), livePort)
	r.start = time.Now()
	deadline := r.start.Add(r.scenario.Duration)

	var application, clients sync.WaitGroup
	closed := make(chan struct{})
	application.Go(func() { r.application(listener, closed, &application) })
	defer func() {
		close(closed)
		listener.Close()
		application.Wait()
	}()
	for i, at := range r.scenario.Arrival.Times(r.scenario.Clients, r.scenario.Seed) {
		r.results[i] = sim.Client{
			SYNs: []time.Duration{at}, Connected: sim.Never, Queued: sim.Never, Accepted: sim.Never, End: sim.Never,
		}
		if at > r.scenario.Duration {
			continue // it stays absent
		}
		sleepUntil(r.start.Add(at))
		r.results[i].Fate, r.results[i].SYNs[0] = sim.Connecting, time.Since(r.start)
		attempt, err := kernelDialer{}.connect(address)
		if err != nil {
			return err
		}
		clients.Go(func() { r.client(&r.results[i], attempt.(*kernelAttempt), deadline) })
	}
	clients.Wait()
	return nil
}

// application accepts at its pace until the listener is closed.
func (r *liveRun) application(l *net.TCPListener, closed <-chan struct{}, served *sync.WaitGroup) {
	s := &r.scenario
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-closed:
		}
	}
	accept := func() bool {
		conn, err := l.Accept()
		if err == nil {
			served.Go(func() { serveOnce(conn, r.start.Add(s.Duration)) })
		}
		return err == nil
	}
	pause(time.Until(r.start.Add(s.AcceptStart)))
	for accept() {
		// The others of a batch are taken only if they wait already.
		_ = l.SetDeadline(time.Now().Add(time.Millisecond))
		for n := 1; n < s.AcceptBatch && accept(); n++ {
		}
		_ = l.SetDeadline(time.Time{})
		pause(s.AcceptEvery)
	}
}

// What is said, in bytes.
const (
	liveRequest = 100
	liveReply   = 1000
)

// serveOnce is the server's side of a connection.
func serveOnce(conn net.Conn, deadline time.Time) {
	defer conn.Close()
	_ = conn.SetDeadline(deadline)
	if _, err := io.ReadFull(conn, make([]byte, liveRequest)); err == nil {
		// A client that is gone meanwhile says so itself.
		_, _ = conn.Write(make([]byte, liveReply))
	}
}

// client waits for the end of connect(2), sends a request and waits for the
// reply.
func (r *liveRun) client(c *sim.Client, attempt *kernelAttempt, deadline time.Time) {
	_ = attempt.file.SetDeadline(deadline)
	conn, retransmissions, err := attempt.wait()
	now := time.Since(r.start)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	for range retransmissions {
		c.SYNs = append(c.SYNs, now) // when exactly is not known
	}
	if err != nil {
		r.failed(c, err, sim.Refused, now)
		return
	}
	defer conn.Close()
	c.Fate, c.Connected = sim.Waiting, now
	_ = conn.SetDeadline(deadline)
	_, err = conn.Write(make([]byte, liveRequest))
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, liveReply))
	}
	now = time.Since(r.start)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
	case err != nil:
		r.failed(c, err, sim.Reset, now)
	default:
		c.Fate, c.End = sim.Served, now
	}
}

// failed notes the error of a client.
func (r *liveRun) failed(c *sim.Client, err error, fate sim.Fate, now time.Duration) {
	c.Fate, c.End, c.Error = fate, now, err.Error()
	var errno syscall.Errno
	if errors.As(err, &errno) {
		c.Error = unix.ErrnoName(errno)
		if errno == syscall.ETIMEDOUT {
			c.Fate = sim.TimedOut
		}
	}
}

// The kernel's timers are late, never early, by up to an eighth, and scheduling
// adds to it.
const (
	liveLateness  = 0.15
	liveTolerance = 150 * time.Millisecond
)

// compare lays both worlds side by side.
func (l *liveComparison) compare(simulated, measured []sim.Client) {
	inOrder := make([]liveFate, len(simulated)) // of the simulated
	kernels := make([]liveFate, len(simulated))
	for i := range simulated {
		inOrder[i], kernels[i] = liveFateOf(&simulated[i]), liveFateOf(&measured[i])
		c := liveClient{inOrder[i], kernels[i], inOrder[i].differs(kernels[i])}
		if c.Differs == "" {
			l.Agree++
		}
		l.Each = append(l.Each, c)
	}
	slices.SortStableFunc(inOrder, liveFate.cmp)
	slices.SortStableFunc(kernels, liveFate.cmp)
	for i := range inOrder {
		if inOrder[i].differs(kernels[i]) == "" {
			l.AgreeInAnyOrder++
		}
	}
}

// differs says in what a fate differs from another, "" in nothing that counts.
func (f liveFate) differs(g liveFate) string {
	near := func(a, b *float64) bool {
		if a == nil || b == nil {
			return a == b
		}
		return math.Abs(*a-*b) <= liveTolerance.Seconds()+liveLateness*math.Max(*a, *b)
	}
	switch {
	case f.Fate != g.Fate || f.Error != g.Error:
		return "fate"
	case f.Retransmissions != g.Retransmissions:
		return "SYN retransmissions"
	case !near(f.Connect, g.Connect):
		return "time to connect"
	case !near(f.End, g.End):
		return "time to the end"
	}
	return ""
}

// cmp puts like fates side by side.
func (f liveFate) cmp(g liveFate) int {
	at := func(t *float64) float64 {
		if t == nil {
			return -1
		}
		return *t
	}
	return cmp.Or(
		cmp.Compare(f.Fate, g.Fate), strings.Compare(f.Error, g.Error),
		cmp.Compare(f.Retransmissions, g.Retransmissions),
		cmp.Compare(at(f.End), at(g.End)), cmp.Compare(at(f.Connect), at(g.Connect)),
	)
}

func liveFateOf(c *sim.Client) liveFate {
	since := func(t time.Duration) *float64 {
		if t == sim.Never {
			return nil
		}
		s := (t - c.SYNs[0]).Seconds()
		return &s
	}
	return liveFate{
		Fate: c.Fate, Error: c.Error, Retransmissions: c.Retransmissions(),
		Connect: since(c.Connected), End: since(c.End),
	}
}

// String is the fate in words, and two columns of times.
func (f liveFate) String() string {
	fate := f.Fate.String()
	if f.Error != "" {
		fate = f.Error
	}
	at := func(t *float64) string {
		if t == nil {
			return "-"
		}
		return fmt.Sprintf("%.2f s", *t)
	}
	return fmt.Sprintf("%s\t%d\t%s\t%s", fate, f.Retransmissions, at(f.Connect), at(f.End))
}

func (l *liveComparison) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nThe same burst on both: server %s and clients %s simulated, and %s\n\n", l.Server, l.Client, l.Kernel)
	rows := newTable("  CLIENT\tSIMULATED\tSYN+\tCONNECT\tEND\tKERNEL\tSYN+\tCONNECT\tEND\tDIFFERS IN")
	for i, c := range l.Each {
		rows.add("  c%d\t%v\t%v\t%s", i+1, c.Simulated, c.Measured, c.Differs)
	}
	rows.write(b)
	fmt.Fprintf(b, "\n  Same fate, as many SYNs, and times within %v and %.0f %% (the kernel's timers are late):\n", liveTolerance, 100*liveLateness)
	fmt.Fprintf(b, "  %d of %d clients one by one; %d of %d if they may change places, because late timers and\n", l.Agree, len(l.Each), l.AgreeInAnyOrder, len(l.Each))
	b.WriteString("  the kernel's order among timers of the same moment decide who finds the next free place\n")
}
