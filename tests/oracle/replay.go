package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// A Replayed is what our stack made of a scenario.
type Replayed struct {
	// Observed has one entry for each step.
	Observed []Observed
	// Pcap is every packet, with times, as a capture file.
	Pcap []byte
	// Ladder shows what the listeners decided.
	Ladder string
	// Trace is every packet, one a line.
	Trace string
}

// Replay plays a scenario on the full stack, in virtual time.
func Replay(sc *Scenario) (*Replayed, error) {
	r := &replay{
		sc:    sc,
		peers: make(map[peerKey]*stacktest.Peer),
		names: make(map[netip.AddrPort]string),
		ears:  make(map[string]*ear),
		conns: make(map[string]*stacktest.Conn),
		out:   new(Replayed),
	}
	for name, a := range sc.Conns.Of {
		r.names[a.AddrPort()] = name
	}
	cfg := stacktest.Config{Addresses: []netip.Prefix{netip.PrefixFrom(sc.Server.IP, sc.Server.IP.BitLen()/2)}}
	err := stacktest.Play(cfg, func(lab *stacktest.Lab) {
		r.lab = lab
		for _, name := range sc.Sysctls.Names {
			r.sysctl(name, sc.Sysctls.Of[name])
		}
		for i := range sc.Steps {
			end := sc.Duration
			if i+1 < len(sc.Steps) {
				end = sc.Steps[i+1].T
			}
			if r.err = r.step(&sc.Steps[i], end.Duration()); r.err != nil {
				r.err = fmt.Errorf("%s: step %d: %w", sc.ID, i+1, r.err)
				return
			}
		}
		var b bytes.Buffer
		r.err = lab.WritePcap(&b)
		r.out.Pcap, r.out.Ladder, r.out.Trace = b.Bytes(), lab.Ladder(), lab.Trace()
	})
	if err = errors.Join(r.err, err); err != nil {
		return nil, err
	}
	return r.out, nil
}

// A replay is a scenario under way.
type replay struct {
	sc    *Scenario
	lab   *stacktest.Lab
	peers map[peerKey]*stacktest.Peer
	names map[netip.AddrPort]string
	ears  map[string]*ear
	conns map[string]*stacktest.Conn
	out   *Replayed
	err   error
	seen  int // packets
}

type peerKey struct {
	conn string
	port uint16
}

// An ear is a listening socket of a scenario.
type ear struct {
	*stacktest.Listener
	port           uint16
	closed, silent bool // silent: shut down
}

func (r *replay) step(s *Step, end time.Duration) error {
	before := r.lab.Counters()
	r.lab.AdvanceTo(s.T.Duration())
	var o Observed
	switch s.Op {
	case "inject":
		r.inject(s)
	case "icmp":
		r.peer(s.Conn, s.Dport).SendICMP(s.icmpError())
	default:
		result, err := r.call(s)
		if err != nil {
			return err
		}
		o.Result = result
	}
	// The state is that just before the next step, whose timers are its own.
	r.lab.AdvanceTo(max(end-time.Millisecond, s.T.Duration()))
	o.Emitted = r.emitted(s)
	o.After = r.state()
	o.Counters = make(map[string]int64)
	for name, v := range r.lab.Counters() {
		if v != before[name] && slices.Contains(CounterNames, name) {
			o.Counters[name] = int64(v - before[name])
		}
	}
	r.out.Observed = append(r.out.Observed, o)
	return nil
}

func (r *replay) peer(conn string, port uint16) *stacktest.Peer {
	if port == 0 {
		port = r.sc.Server.Port
	}
	key := peerKey{conn, port}
	p, ok := r.peers[key]
	if !ok {
		p = r.lab.PeerAt(conn, r.sc.Conns.Of[conn].AddrPort(), netip.AddrPortFrom(r.sc.Server.IP, port))
		r.peers[key] = p
	}
	return p
}

// letters are the control bits in the order in which recordings list them.
var letters = []struct {
	letter string
	flag   listenq.Flags
}{
	{"S", listenq.SYN}, {"F", listenq.FIN}, {"R", listenq.RST}, {"P", listenq.PSH},
	{"A", listenq.ACK}, {"U", listenq.URG}, {"E", listenq.ECE}, {"C", listenq.CWR},
}

func parseFlags(text string) (f listenq.Flags) {
	for _, l := range letters {
		if strings.Contains(text, l.letter) {
			f |= l.flag
		}
	}
	return f
}

func formatFlags(f listenq.Flags) string {
	var b strings.Builder
	for _, l := range letters {
		if f.Has(l.flag) {
			b.WriteString(l.letter)
		}
	}
	return b.String()
}

func (r *replay) inject(s *Step) {
	p := r.peer(s.Conn, s.Dport)
	p.Send(s.segment(p.Timestamp()))
}

// icmpError returns what an icmp step delivers.
func (s *Step) icmpError() stacktest.ICMPError {
	return stacktest.ICMPError{Type: *s.Type, Code: *s.Code, MTU: uint32(s.MTU), Seq: *s.Seq, ISN: s.ISN}
}

// segment returns what an inject step delivers; echo is the listener's last
// timestamp.
func (s *Step) segment(echo uint32) stacktest.Segment {
	seg := stacktest.Segment{
		Flags:      parseFlags(*s.Flags),
		Seq:        *s.Seq,
		ISN:        s.ISN,
		Payload:    make([]byte, *s.Len),
		Window:     uint16(*s.Win),
		ZeroWindow: *s.Win == 0,
		Options:    listenq.Options{MSS: s.Opts.MSS, SACKPermitted: s.Opts.SACKOK},
	}
	if s.Ack != nil {
		seg.Ack = *s.Ack
	}
	if s.Opts.WS != nil {
		seg.Options.WindowScaling, seg.Options.WindowScale = true, *s.Opts.WS
	}
	if ts := s.Opts.TS; ts != nil {
		seg.Options.Timestamps, seg.Options.TSVal, seg.Options.TSEcr = true, ts.Value, ts.Echo
		if ts.EchoLast {
			seg.Options.TSEcr = echo
		}
	}
	return seg
}

// call does a socket call. An error means that the scenario cannot go on.
func (r *replay) call(s *Step) (*Result, error) {
	l, c := r.ears[s.Sock], r.conns[s.Sock]
	switch s.Op {
	case "listen", "sysctl", "wait":
	case "relisten", "accept", "tcp_info":
		if l == nil && (c == nil || s.Op != "relisten") {
			return nil, fmt.Errorf("sock: %q is no listener here", s.Sock)
		}
	case "close", "shutdown":
		if l == nil && c == nil {
			return nil, fmt.Errorf("sock: %q is not open here", s.Sock)
		}
	default:
		if c == nil {
			return nil, fmt.Errorf("sock: %q is no connection here", s.Sock)
		}
	}
	switch s.Op {
	case "wait":
		return nil, nil
	case "listen":
		return r.listen(s), nil
	case "relisten":
		if l == nil {
			// A Conn has no Listen: what cannot succeed cannot be called.
			return failed(syscall.EINVAL), nil
		}
		l.Listen(int(*s.Backlog))
		l.silent = false
		return done, nil
	case "accept":
		return r.accept(s, l), nil
	case "recv":
		return recv(c), nil
	case "send":
		n, err := c.TryWrite(make([]byte, *s.Len))
		if err != nil {
			return failed(err), nil
		}
		return &Result{Len: &n}, nil
	case "close":
		if l != nil {
			l.Close()
			l.closed = true
		} else {
			c.Close()
		}
		return done, nil
	case "shutdown":
		return r.shutdown(s, l, c), nil
	case "getpeername":
		if c.Stack() == nil {
			return failed(syscall.ENOTCONN), nil
		}
		a, err := c.Stack().PeerName()
		if err != nil {
			return failed(err), nil
		}
		return &Result{Conn: r.names[a]}, nil
	case "tcp_info":
		const stateListen = 10 // TCP_LISTEN
		st := l.Stats()
		return &Result{State: stateListen, Unacked: &st.AcceptQueue, Sacked: &st.Limit}, nil
	case "sysctl":
		r.sysctl(s.Key, *s.Value)
		return done, nil
	}
	return nil, fmt.Errorf("op: %q cannot be replayed", s.Op)
}

// sysctl changes a setting, if it is one that the stack knows.
func (r *replay) sysctl(name string, value int64) {
	if slices.Contains(stack.SysctlNames(), name) {
		r.lab.SetSysctl(name, fmt.Sprint(value))
	}
}

// done is the result of a call that returns nothing.
var done = &Result{OK: true}

func failed(err error) *Result {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return &Result{Error: err.Error()}
	}
	return &Result{Error: errnoName(errno)}
}

// errnoName returns the name of an errno as C has it.
func errnoName(e syscall.Errno) string {
	names := map[syscall.Errno]string{
		syscall.EAGAIN: "EAGAIN", syscall.EINVAL: "EINVAL", syscall.ECONNRESET: "ECONNRESET",
		syscall.ENOTCONN: "ENOTCONN", syscall.EPIPE: "EPIPE", syscall.EADDRINUSE: "EADDRINUSE",
		syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL", syscall.ECONNABORTED: "ECONNABORTED",
		syscall.ETIMEDOUT: "ETIMEDOUT", syscall.ECONNREFUSED: "ECONNREFUSED", syscall.EOPNOTSUPP: "EOPNOTSUPP",
		syscall.EBADF: "EBADF", syscall.EPROTO: "EPROTO", syscall.ENOBUFS: "ENOBUFS",
		syscall.EDESTADDRREQ: "EDESTADDRREQ", syscall.EISCONN: "EISCONN",
	}
	if name, ok := names[e]; ok {
		return name
	}
	return fmt.Sprintf("errno %d", int(e))
}

func (r *replay) listen(s *Step) *Result {
	address := netip.AddrPortFrom(r.sc.Server.IP, s.Port).String()
	l, err := r.lab.TryListen(address, int(*s.Backlog), &stack.ListenOptions{
		DeferAccept: time.Duration(s.DeferAccept) * time.Second,
		SYNCount:    s.SYNCount,
	})
	if err != nil {
		return failed(err)
	}
	r.ears[s.Sock] = &ear{Listener: l, port: s.Port}
	return done
}

func (r *replay) accept(s *Step, l *ear) *Result {
	c, err := l.TryAccept()
	if err != nil {
		return failed(err)
	}
	r.conns[s.As] = c
	return &Result{Conn: c.Client()}
}

func recv(c *stacktest.Conn) *Result {
	n, err := c.TryRead(make([]byte, 65536))
	switch {
	case errors.Is(err, io.EOF):
		return &Result{EOF: true}
	case err != nil:
		return failed(err)
	}
	return &Result{Len: &n}
}

func (r *replay) shutdown(s *Step, l *ear, c *stacktest.Conn) *Result {
	if l != nil {
		if s.How != "WR" { // which changes nothing on a listener
			l.Shutdown()
			l.silent = true
		}
		return done
	}
	sc := c.Stack()
	if sc == nil {
		return failed(syscall.ENOTCONN)
	}
	var err error
	if strings.Contains(s.How, "RD") {
		err = sc.CloseRead()
	}
	if strings.Contains(s.How, "WR") {
		err = errors.Join(err, sc.CloseWrite())
	}
	r.lab.Advance(0)
	if err != nil {
		return failed(err)
	}
	return done
}

// emitted returns the packets that the stack has sent since it was called last.
func (r *replay) emitted(s *Step) []Emitted {
	out := []Emitted{}
	packets := r.lab.Packets(r.seen)
	r.seen += len(packets)
	for _, p := range packets {
		if !p.ToStack {
			out = append(out, emission(p))
		}
	}
	return out
}

func emission(p stacktest.Packet) Emitted {
	seg := p.Segment
	e := Emitted{
		Conn:  p.Client,
		Flags: formatFlags(seg.Flags),
		Len:   len(seg.Payload),
		Win:   int(seg.Window),
		T:     Seconds(p.At.Truncate(time.Millisecond)),
	}
	if seg.ISN == 0 && seg.Flags.Has(listenq.RST|listenq.ACK) {
		e.SeqAbs = &seg.Seq
	} else {
		e.Seq = &seg.Seq
	}
	if seg.ISN > 1 {
		e.ISN = seg.ISN
	}
	if seg.Flags.Has(listenq.ACK) {
		e.Ack = &seg.Ack
	}
	if seg.Flags.Has(listenq.SYN) {
		e.Opts = &Options{MSS: seg.Options.MSS, SACKOK: seg.Options.SACKPermitted}
		if seg.Options.WindowScaling {
			e.Opts.WS = &seg.Options.WindowScale
		}
		if seg.Options.Timestamps {
			e.Opts.TS = &Timestamp{Present: true}
		}
	}
	return e
}

// state is the listener on the server's port and all half-open connections.
func (r *replay) state() State {
	st := State{HalfOpen: []string{}}
	for _, l := range r.ears {
		stats := l.Stats()
		if l.port == r.sc.Server.Port && !l.closed && !l.silent {
			st.Listen = &Queue{RecvQ: stats.AcceptQueue, SendQ: stats.Limit}
		}
	}
	for _, flow := range r.lab.Stack().Requests() {
		st.HalfOpen = append(st.HalfOpen, r.names[flow.Remote()])
	}
	slices.Sort(st.HalfOpen)
	return st
}
