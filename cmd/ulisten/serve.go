package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// serveCmd is `ulisten serve`.
type serveCmd struct {
	Tun         string        `default:"ulisten%d" placeholder:"NAME" help:"Name of the device; %d is the lowest free number (ulisten%d)."`
	Address     []addressFlag `required:"" sep:"none" placeholder:"PREFIX" help:"Address of the stack, with the prefix of its network, like 192.0.2.2/24. Repeat for more."`
	Peer        []addressFlag `sep:"none" placeholder:"PREFIX" help:"Address of the host's side. Without it, the first of the network that is not the stack's."`
	MTU         int           `name:"mtu" default:"1500" placeholder:"BYTES" help:"MTU of the device: 68 to 65520, with IPv6 from 1280 (1500)."`
	Offload     string        `enum:"auto,on,off" default:"auto" help:"Segmentation and checksum offload of the device: auto, on or off."`
	Listen      []listenSpec  `sep:"none" placeholder:"SPEC" help:"A listener: ADDRESS:PORT,KEY=VALUE,... Repeat for more. See above."`
	Profile     profileFlag   `default:"linux-6" placeholder:"NAME|FILE" help:"The platform whose rules hold where a listener says nothing else, or a profile file (linux-6)."`
	AcceptDelay string        `default:"0s" placeholder:"DURATION" help:"Time between two calls of accept, where a listener says nothing else (0s)."`
	AcceptRate  string        `default:"0" placeholder:"N" help:"Calls of accept per second, where a listener says nothing else; 0 is no limit."`
	Sysctl      []sysctlFlag  `sep:"none" placeholder:"NAME=VALUE" help:"A setting under its kernel name, like net.core.somaxconn=4. Repeat for more."`
	Control     string        `placeholder:"PATH" help:"Control socket. Without it, DEVICE.sock in $XDG_RUNTIME_DIR/ulisten, else in /run/ulisten, else in /tmp/ulisten-UID."`
	Grace       time.Duration `default:"5s" placeholder:"DURATION" help:"How long connections may go on after SIGINT or SIGTERM (5s)."`
	JSON        bool          `name:"json" help:"Print the ready line as JSON."`
}

// Example opens the help.
func (*serveCmd) Example() string {
	return `ulisten serve --address 192.0.2.2/24 --listen 192.0.2.2:80,backlog=2,policy=reset,app=http,accept-delay=500ms
curl http://192.0.2.2/`
}

// Help describes --listen.
func (*serveCmd) Help() string {
	return `A listener is ADDRESS:PORT, [V6ADDRESS]:PORT or :PORT, and settings behind commas:

  backlog=N             what listen(2) gets (4096)
  profile=NAME|FILE     whose rules hold: a platform, or a profile file (what --profile says)
  policy=NAME           drop, reset, abort or reset+abort; drop leaves it to the profile (drop)
  app=NAME              echo, discard, http, hold (never accepts) or forward=HOST:PORT (echo)
  accept-delay=DURATION time between two calls of accept
  accept-rate=N         calls of accept per second

SIGINT and SIGTERM close the listeners, give connections the grace time and remove device and socket; a second one ends at once.`
}

// server is a running serve.
type server struct {
	device   string
	pid      int
	stack    *stack.Stack
	logger   *slog.Logger
	services []*service
	change   sync.Mutex // one change at a time
}

// service is a listener and its application.
type service struct {
	spec     listenSpec
	addr     netip.AddrPort
	l        *stack.Listener
	listener *pacedListener
}

func (s *service) address() string { return showAddress(s.addr) }

// info is the listener as it is now.
func (s *service) info() listenerInfo {
	stats := s.l.Stats()
	info := listenerInfo{
		Address:     s.address(),
		AcceptQueue: stats.AcceptQueue,
		SYNQueue:    stats.SYNQueue,
		Backlog:     stats.Backlog,
		Limit:       stats.Limit,
		Capacity:    stats.AcceptCapacity,
		SYNCapacity: stats.SYNCapacity,
		Profile:     stats.Profile,
		Policy:      stats.Overflow,
		App:         s.spec.app.String(),
		Counters:    counters{stats.Counters},
	}
	if d := s.listener.pace().interval(); d > 0 {
		info.AcceptDelay = d.String()
	}
	return info
}

// ready is the ready line.
type ready struct {
	Device    string         `json:"device"`
	Offload   bool           `json:"offload"`
	MTU       int            `json:"mtu"`
	Addresses []string       `json:"addresses"`
	Host      []string       `json:"host"`
	Listeners []listenerInfo `json:"listeners"`
	Control   string         `json:"control"`
	PID       int            `json:"pid"`
}

func (r *ready) String() string {
	var listeners []string
	for _, l := range r.Listeners {
		listeners = append(listeners, fmt.Sprintf("%s (backlog %d, limit %d, %s, %s, %s)", l.Address, l.Backlog, l.Limit, l.Profile, l.Policy, l.App))
	}
	offload := "off"
	if r.Offload {
		offload = "on"
	}
	return fmt.Sprintf("ready: device %s (mtu %d, offload %s), stack %s, host %s; listening on %s; control %s",
		r.Device, r.MTU, offload, strings.Join(r.Addresses, " "), strings.Join(r.Host, " "), join(listeners), r.Control)
}

// Run serves until a signal comes or the device is lost.
func (s *serveCmd) Run(c *console) error {
	logger := slog.New(slog.NewTextHandler(c.err, nil))
	pace, err := s.pace()
	if err != nil {
		return err
	}
	if s.Grace < 0 {
		return usagef("--grace %v is negative: use a duration like 5s, or 0s", s.Grace)
	}
	hosts, err := hostAddresses(s.Address, s.Peer)
	if err != nil {
		return err
	}
	for _, spec := range s.Listen {
		if _, err := spec.profileOr(s.Profile.Profile).Limit(spec.backlog, -1); err != nil {
			return usageError{fmt.Errorf("--listen %s: %w", spec.address, err)}
		}
	}

	shareCores()

	// From here on, an interrupt must not leave anything behind.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	link, err := tun.Open(tun.Config{
		Name:          s.Tun,
		MTU:           s.MTU,
		Offload:       map[string]tun.Offload{"auto": tun.OffloadAuto, "on": tun.OffloadOn, "off": tun.OffloadOff}[s.Offload],
		HostAddresses: hosts,
	})
	if err != nil {
		return err
	}
	path := s.Control
	if path == "" {
		path = filepath.Join(runDir(), socketName(link.Name()))
	}
	control, err := listenControl(path)
	if err != nil {
		link.Close()
		return err
	}
	defer control.Close()
	var own []netip.Prefix
	for _, a := range s.Address {
		own = append(own, a.Prefix)
	}
	st, err := stack.New(stack.Config{Link: link, Addresses: own, Profile: s.Profile.Profile, Logger: logger})
	if err != nil {
		return err
	}
	defer st.Close()
	for _, v := range s.Sysctl {
		if err := st.SetSysctl(v.Name, v.Value); err != nil {
			return usageError{err}
		}
	}

	server := &server{device: link.Name(), pid: os.Getpid(), stack: st, logger: logger}
	for _, spec := range s.Listen {
		spec.pace = spec.pace.or(pace)
		if err := server.listen(spec); err != nil {
			return err
		}
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	finish := make(chan struct{})
	for _, l := range server.services {
		go l.serveApp(finish, logger)
	}
	go control.serve(server.handle)

	line := &ready{
		Device: link.Name(), Offload: link.Offload(), MTU: int(link.MTU()),
		Addresses: toStrings(own), Host: toStrings(hosts),
		Listeners: server.handle(request{Op: "listeners"}).Listeners,
		Control:   path, PID: server.pid,
	}
	if s.JSON {
		err = json.NewEncoder(c.out).Encode(line)
	} else {
		_, err = fmt.Fprintln(c.out, line)
	}
	if err != nil {
		return err
	}
	select {
	case got := <-signals:
		logger.Info("closing the listeners", "signal", got, "connections", st.Connections(), "grace", s.Grace)
		server.finish(finish, link, signals, control, s.Grace)
		return nil
	case <-link.Done():
		return fmt.Errorf("device lost: %w", link.Err())
	}
}

// shareCores leaves half of the cores to the programs at the other end, which run
// on the same machine. With more, idle threads of the Go runtime look for work on
// the cores that those need: on two cores, half of them cost a third less
// processor time per connection than both. GOMAXPROCS in the environment goes
// first.
func shareCores() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}

// pace is what listeners have that say nothing else.
func (s *serveCmd) pace() (p paceSpec, err error) {
	if p.delay, err = parseDelay(s.AcceptDelay); err != nil {
		return p, usageError{fmt.Errorf("--%w", err)}
	}
	if p.rate, err = parseRate(s.AcceptRate); err != nil {
		return p, usageError{fmt.Errorf("--%w", err)}
	}
	return p, nil
}

// listen opens a listener.
func (s *server) listen(spec listenSpec) error {
	l, err := s.stack.Listen("tcp", spec.address, spec.backlog, &stack.ListenOptions{Profile: spec.profile, Overflow: spec.policy})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: %w: another --listen has this port: choose another", spec.address, errnoIn(err))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: %w: it is not an address of the stack: give it with --address", spec.address, errnoIn(err))
	case err != nil:
		return err
	}
	s.services = append(s.services, &service{
		spec:     spec,
		addr:     l.Addr().(*net.TCPAddr).AddrPort(),
		l:        l,
		listener: newPacedListener(l, spec.pace),
	})
	return nil
}

// finish closes the listeners and waits until connections are over, the grace
// time is, or the device is lost. A second signal ends the program.
func (s *server) finish(finish chan<- struct{}, link *tun.Link, signals <-chan os.Signal, control *controlSocket, grace time.Duration) {
	for _, l := range s.services {
		l.listener.Close()
	}
	close(finish)
	over := time.NewTimer(grace)
	defer over.Stop()
	const look = 5 * time.Millisecond // there is no event for the last one's end
	tick := time.NewTicker(look)
	defer tick.Stop()
	for s.stack.Connections() > 0 {
		select {
		case <-tick.C:
		case <-over.C:
			s.logger.Warn("the grace time is over, connections are reset", "connections", s.stack.Connections())
			return
		case <-link.Done():
			return
		case got := <-signals:
			control.Close()
			os.Exit(128 + int(got.(syscall.Signal)))
		}
	}
}

// hostAddresses returns the addresses of the host's side: those given, and one
// for each network of the stack that has none.
func hostAddresses(own, peers []addressFlag) ([]netip.Prefix, error) {
	var hosts []netip.Prefix
	taken := map[netip.Addr]bool{}
	for _, p := range peers {
		hosts = append(hosts, p.Prefix)
	}
	for _, a := range own {
		if taken[a.Addr()] {
			return nil, usagef("--address %v is given twice: remove one", a.Addr())
		}
		taken[a.Addr()] = true
	}
	for _, h := range hosts {
		if taken[h.Addr()] {
			return nil, usagef("--peer %v is the stack's own address: choose another", h.Addr())
		}
	}
	for _, a := range own {
		served := false
		for _, h := range hosts {
			served = served || h.Contains(a.Addr())
		}
		if served {
			continue
		}
		host, ok := firstFree(a.Prefix, taken)
		if !ok {
			return nil, usagef("--address %v leaves no address for the host's side: give it with --peer, like --peer 192.0.2.1/24", a)
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

// firstFree returns the first usable address of a network that is not taken.
func firstFree(p netip.Prefix, taken map[netip.Addr]bool) (netip.Prefix, bool) {
	network := p.Masked()
	pair := p.Bits() >= p.Addr().BitLen()-1 // RFC 3021 and RFC 6164: no network address
	addr := network.Addr()
	if !pair {
		addr = addr.Next()
	}
	for ; network.Contains(addr); addr = addr.Next() {
		last := !network.Contains(addr.Next())
		if !taken[addr] && !(last && addr.Is4() && !pair) {
			return netip.PrefixFrom(addr, p.Bits()), true
		}
	}
	return netip.Prefix{}, false
}

func toStrings(prefixes []netip.Prefix) []string {
	var s []string
	for _, p := range prefixes {
		s = append(s, p.String())
	}
	return s
}
