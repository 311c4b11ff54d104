package oracle

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/stacktest"
	"github.com/ulisten/ulisten/tests/netlab"
)

// sampleAhead is how long before the end of a step its state is looked at.
const sampleAhead = 3 * time.Millisecond

// A Played is what the running kernel made of a scenario.
type Played struct {
	// Observed has one entry for each step.
	Observed []Observed
	// Late is the longest time by which anything happened after its time because
	// the machine was busy: what was observed may be off by as much.
	Late time.Duration
}

// Play plays a scenario against the kernel that the program runs on, in a network
// namespace of its own and in real time. The program must have entered a private
// namespace; see netlab.Enter.
func Play(sc *Scenario) (*Played, error) {
	ns, err := netlab.Open()
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	k := &kernel{
		sc:      sc,
		ns:      ns,
		names:   make(map[netip.AddrPort]string),
		numbers: make(map[peerKey]*wireState),
		socks:   make(map[string]*sock),
		out:     new(Played),
	}
	for name, a := range sc.Conns.Of {
		k.names[a.AddrPort()] = name
	}
	ns.Do(func() { err = k.play() })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sc.ID, err)
	}
	return k.out, nil
}

// A kernel is a scenario under way. One thread, in the namespace, does everything,
// so that what is observed keeps its order.
type kernel struct {
	sc       *Scenario
	ns       *netlab.Namespace
	tun      int
	names    map[netip.AddrPort]string
	numbers  map[peerKey]*wireState
	socks    map[string]*sock
	start    time.Time
	counters map[string]int64
	out      *Played
}

// wireState is what the clients know of one connection.
type wireState struct {
	stacktest.Numbers
	tsVal uint32
}

type sock struct {
	fd     int
	listen bool
}

func (k *kernel) play() (err error) {
	if err := k.configure(); err != nil {
		return err
	}
	defer unix.Close(k.tun)
	defer func() {
		for _, s := range k.socks {
			unix.Close(s.fd)
		}
	}()
	if k.counters, err = readCounters(); err != nil {
		return err
	}
	k.start = time.Now()
	for i := range k.sc.Steps {
		end := k.sc.Duration
		if i+1 < len(k.sc.Steps) {
			end = k.sc.Steps[i+1].T
		}
		if err := k.step(&k.sc.Steps[i], end.Duration()); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (k *kernel) step(s *Step, end time.Duration) error {
	var o Observed
	o.Emitted = []Emitted{}
	if err := k.listenTo(s.T.Duration(), &o); err != nil {
		return err
	}
	// What has come until now belongs to the step before.
	if n := len(k.out.Observed); n > 0 {
		k.out.Observed[n-1].Emitted = append(k.out.Observed[n-1].Emitted, o.Emitted...)
		o.Emitted = []Emitted{}
	}
	var err error
	switch s.Op {
	case "inject":
		err = k.inject(s)
	case "icmp":
		err = k.icmp(s)
	default:
		o.Result, err = k.call(s)
	}
	if err != nil {
		return err
	}
	if err := k.listenTo(end-sampleAhead, &o); err != nil {
		return err
	}
	if err := k.sample(&o); err != nil {
		return err
	}
	k.out.Observed = append(k.out.Observed, o)
	return nil
}

// listenTo notes what the kernel sends until a point in time.
func (k *kernel) listenTo(until time.Duration, o *Observed) error {
	for {
		if err := k.drain(o); err != nil {
			return err
		}
		left := until - time.Since(k.start)
		if left <= 0 {
			k.out.Late = max(k.out.Late, -left)
			return nil
		}
		timeout := unix.NsecToTimespec(left.Nanoseconds())
		if _, err := unix.Ppoll([]unix.PollFd{{Fd: int32(k.tun), Events: unix.POLLIN}}, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
	}
}

// drain reads what the kernel has sent.
func (k *kernel) drain(o *Observed) error {
	b := make([]byte, 65536)
	for {
		n, err := unix.Read(k.tun, b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
		local, remote, seg, ok := stacktest.ParsePacket(slices.Clone(b[:n]))
		name, known := k.names[remote]
		if !ok || !known {
			continue
		}
		w := k.wire(name, local.Port())
		seg = w.Relative(seg)
		if seg.Options.Timestamps {
			w.tsVal = seg.Options.TSVal
		}
		o.Emitted = append(o.Emitted, emission(stacktest.Packet{At: time.Since(k.start), Client: name, Segment: seg}))
	}
}

func (k *kernel) wire(conn string, port uint16) *wireState {
	key := peerKey{conn, port}
	w, ok := k.numbers[key]
	if !ok {
		const clientISN = 1_000_000
		w = &wireState{Numbers: stacktest.Numbers{Own: clientISN}}
		k.numbers[key] = w
	}
	return w
}

// target is where a step sends something, and from where.
func (k *kernel) target(s *Step) (server, client netip.AddrPort) {
	port := s.Dport
	if port == 0 {
		port = k.sc.Server.Port
	}
	return netip.AddrPortFrom(k.sc.Server.IP, port), k.sc.Conns.Of[s.Conn].AddrPort()
}

func (k *kernel) icmp(s *Step) error {
	server, client := k.target(s)
	w := k.wire(s.Conn, server.Port())
	return k.send(s.icmpError().Packet(server, client, w.Base(s.ISN)+uint32(*s.Seq)))
}

func (k *kernel) inject(s *Step) error {
	server, client := k.target(s)
	w := k.wire(s.Conn, server.Port())
	seg := s.segment(w.tsVal)
	var ack uint32
	if s.Ack != nil {
		ack = w.Base(s.ISN) + uint32(*s.Ack)
	}
	return k.send(seg.Packet(client, server, w.Own+uint32(*s.Seq), ack))
}

func (k *kernel) send(b []byte) error {
	if _, err := unix.Write(k.tun, b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// call does a socket call. An error means that the scenario cannot go on.
func (k *kernel) call(s *Step) (*Result, error) {
	switch s.Op {
	case "wait":
		return nil, nil
	case "sysctl":
		return done, writeSysctl(s.Key, *s.Value)
	case "listen":
		return k.listen(s)
	}
	so, ok := k.socks[s.Sock]
	if !ok {
		return nil, fmt.Errorf("sock: %q is not open here", s.Sock)
	}
	switch s.Op {
	case "relisten":
		return ended(unix.Listen(so.fd, int(*s.Backlog)))
	case "accept":
		fd, sa, err := unix.Accept4(so.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return failed(err), nil
		}
		k.socks[s.As] = &sock{fd: fd}
		return &Result{Conn: k.nameOf(sa)}, nil
	case "recv":
		n, _, err := unix.Recvfrom(so.fd, make([]byte, 65536), unix.MSG_DONTWAIT)
		switch {
		case err != nil:
			return failed(err), nil
		case n == 0:
			return &Result{EOF: true}, nil
		}
		return &Result{Len: &n}, nil
	case "send":
		n, err := unix.SendmsgN(so.fd, make([]byte, *s.Len), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err != nil {
			return failed(err), nil
		}
		return &Result{Len: &n}, nil
	case "close":
		delete(k.socks, s.Sock)
		return ended(unix.Close(so.fd))
	case "shutdown":
		how := map[string]int{"RD": unix.SHUT_RD, "WR": unix.SHUT_WR, "RDWR": unix.SHUT_RDWR}[s.How]
		return ended(unix.Shutdown(so.fd, how))
	case "getpeername":
		sa, err := unix.Getpeername(so.fd)
		if err != nil {
			return failed(err), nil
		}
		return &Result{Conn: k.nameOf(sa)}, nil
	case "tcp_info":
		info, err := unix.GetsockoptTCPInfo(so.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return failed(err), nil
		}
		unacked, sacked := int(info.Unacked), int(info.Sacked)
		return &Result{State: int(info.State), Unacked: &unacked, Sacked: &sacked}, nil
	}
	return nil, fmt.Errorf("op: %q cannot be played", s.Op)
}

func ended(err error) (*Result, error) {
	if err != nil {
		return failed(err), nil
	}
	return done, nil
}

func (k *kernel) nameOf(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return k.names[netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))]
	case *unix.SockaddrInet6:
		return k.names[netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))]
	}
	return ""
}

// family is that of the server's address.
func (k *kernel) family() uint8 {
	if k.sc.Server.IP.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// sockaddr is the server's address with a port.
func (k *kernel) sockaddr(port uint16) unix.Sockaddr {
	if k.sc.Server.IP.Is6() {
		return &unix.SockaddrInet6{Addr: k.sc.Server.IP.As16(), Port: int(port)}
	}
	return &unix.SockaddrInet4{Addr: k.sc.Server.IP.As4(), Port: int(port)}
}

func (k *kernel) listen(s *Step) (*Result, error) {
	fd, err := unix.Socket(int(k.family()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if old, ok := k.socks[s.Sock]; ok {
		unix.Close(old.fd)
	}
	k.socks[s.Sock] = &sock{fd: fd, listen: true}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return failed(err), nil
	}
	if err := unix.Bind(fd, k.sockaddr(s.Port)); err != nil {
		return failed(err), nil
	}
	if s.DeferAccept != 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, s.DeferAccept); err != nil {
			return failed(err), nil
		}
	}
	if s.SYNCount != 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, s.SYNCount); err != nil {
			return failed(err), nil
		}
	}
	return ended(unix.Listen(fd, int(*s.Backlog)))
}

// sample notes the state that ss would show, and the counters.
func (k *kernel) sample(o *Observed) error {
	o.After = State{HalfOpen: []string{}}
	sockets, err := netlink.SocketDiagTCP(k.family())
	if err != nil {
		return fmt.Errorf("list sockets: %w", err)
	}
	full := make(map[string]string)
	for _, so := range sockets {
		remote, _ := netip.AddrFromSlice(so.ID.Destination)
		name := k.names[netip.AddrPortFrom(remote.Unmap(), so.ID.DestinationPort)]
		switch state := socketStates[so.State]; {
		case so.State == netlink.TCP_LISTEN:
			if so.ID.SourcePort == k.sc.Server.Port {
				o.After.Listen = &Queue{RecvQ: int(so.RQueue), SendQ: int(so.WQueue)}
			}
		case so.State == netlink.TCP_SYN_RECV:
			o.After.HalfOpen = append(o.After.HalfOpen, name)
		case name != "" && state != "":
			full[name] = state
		}
	}
	slices.Sort(o.After.HalfOpen)
	for name, state := range full {
		o.After.Full.set(name, state)
	}
	slices.Sort(o.After.Full.Names)
	counters, err := readCounters()
	if err != nil {
		return err
	}
	o.Counters = make(map[string]int64)
	for name, v := range counters {
		if v != k.counters[name] {
			o.Counters[name] = v - k.counters[name]
		}
	}
	k.counters = counters
	return nil
}

var socketStates = map[uint8]string{
	netlink.TCP_ESTABLISHED: "ESTAB", netlink.TCP_FIN_WAIT1: "FIN-WAIT-1", netlink.TCP_FIN_WAIT2: "FIN-WAIT-2",
	netlink.TCP_TIME_WAIT: "TIME-WAIT", netlink.TCP_CLOSE_WAIT: "CLOSE-WAIT", netlink.TCP_LAST_ACK: "LAST-ACK",
	netlink.TCP_CLOSING: "CLOSING",
}

// readCounters reads those of CounterNames in the thread's namespace.
func readCounters() (map[string]int64, error) {
	counters := make(map[string]int64)
	for _, file := range []struct{ path, group string }{
		{"/proc/thread-self/net/netstat", "TcpExt:"}, {"/proc/thread-self/net/snmp", "Tcp:"},
	} {
		data, err := os.ReadFile(file.path)
		if err != nil {
			return nil, err
		}
		var names []string
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0] != file.group {
				continue
			}
			if names == nil {
				names = fields
				continue
			}
			for i := 1; i < min(len(names), len(fields)); i++ {
				if !slices.Contains(CounterNames, names[i]) {
					continue
				}
				v, err := strconv.ParseInt(fields[i], 10, 64)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", file.path, names[i], err)
				}
				counters[names[i]] = v
			}
		}
	}
	return counters, nil
}

// Running describes the kernel that the program runs on.
func Running() (Platform, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Platform{}, fmt.Errorf("uname: %w", err)
	}
	return Platform{OS: "linux", Kernel: unix.ByteSliceToString(u.Release[:])}, nil
}
