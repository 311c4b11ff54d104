//go:build linux

package torture

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/tun"
)

const (
	// patience is when every program must have come to an end, in virtual time
	// since the start. The longest waits are those of a peer that has vanished
	// without a word.
	patience = 30 * time.Minute
	// giveUp is how long a program waits for a peer that need not come back.
	giveUp = 5 * time.Minute
	// serverPort is the listener's; the clients have those from clientPort on.
	serverPort, clientPort = 80, 10_000
)

// ends are both hosts' addresses.
var (
	ends4 = [2]netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24")}
	ends6 = [2]netip.Prefix{netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("2001:db8::2/64")}
)

// A world is two hosts and a network, as a plan wants them.
type world struct {
	plan  *plan
	clock *stack.VirtualClock
	hosts [2]*host
	net   *router
	conns []*connection
	rec   *recorder
	// wrong is what should not have happened, and still that a sender stood still.
	wrong []string
	still bool
	// listener is the server's descriptor, which is asked again after idle.
	listener  int
	accepting bool
	idle      time.Duration
}

// A host is a stack and one program.
type host struct {
	w     *world
	index int
	addr  netip.Addr
	s     *stack.Stack
	p     *socket.Process
	path  *tun.Impaired
	wire  *wire
}

// A connection is a client and, once it was accepted, its server.
type connection struct {
	w     *world
	index int
	plan  *connectionPlan
	sides [2]*side
	// wire is what the network has seen of both directions.
	wire [2]direction
	// killed says that a third party has sent what ends it.
	killed bool
	// guessed says that a cookie may have made it. The number in a cookie is right up
	// to 3 off (check_tcp_syn_cookie), so that what comes first may be missing, and who
	// has seen it can use it again.
	guessed bool
}

func (c *connection) port() uint16 { return clientPort + uint16(c.index) }

// addr returns the address of an end of a connection.
func (c *connection) addr(end int) netip.AddrPort {
	port := c.port()
	if end == server {
		port = serverPort
	}
	return netip.AddrPortFrom(c.w.hosts[end].addr, port)
}

// newWorld builds what the plan says and sets everything off.
func newWorld(p *plan, rec *recorder) (*world, error) {
	w := &world{plan: p, clock: stack.NewVirtualClock(), rec: rec}
	rec.w = w
	w.net = newRouter(w)
	for end := range w.hosts {
		h, err := w.newHost(end)
		if err != nil {
			return nil, err
		}
		w.hosts[end] = h
	}
	for i := range p.connections {
		c := &connection{w: w, index: i, plan: &p.connections[i]}
		for end := range c.sides {
			c.sides[end] = &side{c: c, end: end, plan: &c.plan.sides[end], fd: -1}
		}
		w.conns = append(w.conns, c)
		w.after(c.plan.start, c.sides[client].connect)
	}
	w.clock.Settle()
	if err := w.listen(); err != nil {
		return nil, err
	}
	for _, change := range p.narrow {
		w.after(change.at, func() { w.net.mtu = change.mtu })
	}
	for _, n := range p.noise {
		w.after(n.at, func() { w.disturb(n) })
	}
	return w, nil
}

func (w *world) newHost(end int) (*host, error) {
	h := &host{w: w, index: end, addr: ends4[end].Addr()}
	if w.plan.ipv6 {
		h.addr = ends6[end].Addr()
	}
	h.wire = newWire(w, end, w.plan.mtu[end])
	path := w.plan.paths[end]
	path.Clock = w.clock
	h.path = tun.NewImpaired(h.wire, path)
	var err error
	h.s, err = stack.New(stack.Config{
		Link:      newTap(w, end, h.path),
		Addresses: []netip.Prefix{ends4[end], ends6[end]},
		Clock:     w.clock,
		Random:    newSecrets(w.plan.seed, uint64(end)),
		Observe:   w.rec.decision(end),
	})
	if err != nil {
		return nil, err
	}
	if !w.plan.cookies {
		if err := h.s.SetSysctl("net.ipv4.tcp_syncookies", "0"); err != nil {
			return nil, err
		}
	}
	const descriptors = 16
	h.p = socket.NewNamespace(h.s).Process(descriptors)
	return h, nil
}

// after runs f in virtual time.
func (w *world) after(d time.Duration, f func()) { w.clock.AfterFunc(d, f) }

// sockaddr is an address as the calls want it.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// newSocket opens a TCP socket that never blocks.
func (h *host) newSocket() (int, error) {
	family := unix.AF_INET
	if h.addr.Is6() {
		family = unix.AF_INET6
	}
	return h.p.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
}

func (w *world) listen() error {
	h := w.hosts[server]
	fd, err := h.newSocket()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := h.p.Bind(fd, sockaddr(netip.AddrPortFrom(h.addr, serverPort))); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := h.p.Listen(fd, w.plan.backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	w.listener = fd
	w.accepting = true
	w.idle = w.plan.acceptPause
	w.after(w.idle, w.accept)
	return nil
}

// accept takes one connection, if there is one, and comes back later.
func (w *world) accept() {
	if !w.accepting {
		return
	}
	h := w.hosts[server]
	fd, from, err := h.p.Accept4(w.listener, unix.SOCK_NONBLOCK)
	switch err {
	case nil:
		w.idle = w.plan.acceptPause
		w.accepted(fd, portOf(from))
	case unix.EAGAIN:
		w.idle = min(2*w.idle, idleMost)
	default:
		w.complain("accept: %v", err)
	}
	w.after(w.idle, w.accept)
}

// idleMost is how long a program without anything to do waits until it looks again.
const idleMost = time.Second

func (w *world) accepted(fd, port int) {
	w.rec.note("server accepts port %d", port)
	h := w.hosts[server]
	c := w.byPort(port)
	if c != nil && c.sides[server].fd < 0 && !c.sides[server].over {
		c.guessed = h.s.Counters().SyncookiesRecv > 0
		c.sides[server].begin(fd)
		return
	}
	// The old ACK of a cookie makes a new connection, on Linux too.
	if h.s.Counters().SyncookiesRecv == 0 {
		w.complain("accept: a connection from port %d that nobody has made", port)
	}
	_ = h.p.Close(fd)
}

func portOf(sa unix.Sockaddr) int {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return sa.Port
	case *unix.SockaddrInet6:
		return sa.Port
	}
	return 0
}

func (w *world) byPort(port int) *connection {
	if i := port - clientPort; i >= 0 && i < len(w.conns) {
		return w.conns[i]
	}
	return nil
}

func (w *world) now() time.Duration { return w.clock.Elapsed() }

func (w *world) complain(format string, args ...any) {
	text := fmt.Sprintf("%v: ", w.now()) + fmt.Sprintf(format, args...)
	w.wrong = append(w.wrong, text)
	w.rec.note("WRONG %s", text)
}

// tick is how much virtual time passes at once where much happens.
const tick = 10 * time.Millisecond

// run does all of it, once.
func (w *world) run() {
	w.play()
	if len(w.wrong) == 0 && !w.still {
		w.leftovers()
	}
	w.destroy()
}

// play lets time pass until all programs are through, or one of them complains.
func (w *world) play() {
	for !w.through() && len(w.wrong) == 0 {
		if w.now() > patience {
			if w.stoodStill() {
				return
			}
			w.complain("not over")
			for _, c := range w.conns {
				for _, s := range c.sides {
					w.rec.note("%v", s)
				}
			}
			return
		}
		w.step()
	}
}

// step lets what is due next happen.
func (w *world) step() {
	next, _ := w.clock.Next()
	w.clock.AdvanceTo(max(next, w.now()+tick))
}

func (w *world) through() bool {
	for _, c := range w.conns {
		if !c.through() {
			return false
		}
	}
	return true
}

// through reports whether both programs are. A client may give up before anybody
// accepts it.
func (c *connection) through() bool {
	if !c.sides[client].over {
		return false
	}
	s := c.sides[server]
	return s.over || s.fd < 0 && c.w.hosts[server].s.Connections() == 0 && c.w.acceptQueueEmpty()
}

func (w *world) acceptQueueEmpty() bool {
	for _, l := range w.hosts[server].s.Listeners() {
		if st := l.Stats(); st.AcceptQueue > 0 || st.SYNQueue > 0 {
			return false
		}
	}
	return true
}

// secrets are a stack's random numbers.
type secrets struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newSecrets(seed, end uint64) *secrets {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint64(key[8:], end)
	return &secrets{r: rand.NewChaCha8(key)}
}

// Read implements io.Reader.
func (s *secrets) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(b)
}
