package oracle

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

var (
	randomCount = flag.Int("oracle.random", 24, "random scenarios to play against the kernel and our stack")
	randomSeed  = flag.Uint64("oracle.seed", 1, "seed of the first random scenario")
	randomKeep  = flag.String("oracle.keep", "", "folder for random scenarios that differ, as recordings of the kernel")
)

// Scenarios that nobody thought of: random segments and calls at the passive side,
// played on the running kernel, recorded, and replayed on our stack.
func TestRandomScenariosOnKernelAndStack(t *testing.T) {
	t.Parallel()
	netlab.RequireTUN(t)
	if testing.Short() {
		t.Skip("each scenario takes five seconds")
	}
	netlab.RequireKernel(t, "6.18")
	running, err := Running()
	require.NoError(t, err)
	running.HZ = 250
	var all []*played
	for i := range *randomCount {
		all = append(all, &played{sc: randomScenario(*randomSeed + uint64(i))})
	}
	// Further runs of what differs tell a difference from a busy machine, and from
	// a minute that ended, with which cookies change.
	const attempts = 3
	for attempt := range attempts {
		recordAll(all)
		var again []*played
		for _, p := range all {
			require.NoError(t, p.err)
			recording := p.sc.Record(p.got.Observed, running)
			replayed, err := Replay(recording)
			require.NoError(t, err)
			p.differences = passiveOnly(recording, Compare(recording, replayed.Observed, Virtual))
			if len(p.differences) == 0 {
				continue
			}
			again = append(again, p)
			if attempt < attempts-1 {
				continue
			}
			t.Errorf("kernel late by %v; %s\n%s", p.got.Late, report(recording, p.differences, replayed.Observed, "ulisten"), replayed.Ladder)
			if *randomKeep != "" {
				data, err := recording.Write()
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(*randomKeep, recording.ID+".json"), data, 0o644))
			}
		}
		all = again
	}
}

// passiveOnly leaves out differences in steps about connections that the kernel
// had established before: they are netstack's. What the end of such a connection
// looks like may then be different, too.
func passiveOnly(sc *Scenario, all []Difference) (passive []Difference) {
	netstack := false
	for _, d := range all {
		step := &sc.Steps[d.Step-1]
		established := slices.ContainsFunc(sc.Steps[:d.Step-1], func(s Step) bool {
			return s.After.Full.Of[step.Conn] != ""
		})
		ends := step.Op == "close" || step.Op == "shutdown"
		switch {
		case established:
			netstack = true
		case netstack && ends:
		default:
			passive = append(passive, d)
		}
	}
	return passive
}

// recordAll plays scenarios on the kernel, several at a time.
func recordAll(all []*played) {
	next := make(chan *played)
	done := make(chan struct{})
	for range playedAtOnce {
		go func() {
			for p := range next {
				p.got, p.err = Play(p.sc)
			}
			done <- struct{}{}
		}()
	}
	for _, p := range all {
		next <- p
	}
	close(next)
	for range playedAtOnce {
		<-done
	}
}

// randomScenario makes up a scenario of two busy phases, each followed by a wait
// in which all SYN-ACK timers fall.
func randomScenario(seed uint64) *Scenario {
	r := rand.New(rand.NewPCG(seed, 0))
	g := &generator{Rand: r, sc: &Scenario{
		Format: Format,
		ID:     fmt.Sprint("random-", seed),
		Server: Address{IP: netip.MustParseAddr("10.77.0.1"), Port: 7000},
	}}
	pick := func(values ...int64) int64 { return values[r.IntN(len(values))] }
	for _, s := range []struct {
		name   string
		values []int64
	}{
		{"net.core.somaxconn", []int64{4096, 4096, 4096, 1, 2}},
		{"net.ipv4.tcp_max_syn_backlog", []int64{1024, 1024, 4, 8}},
		{"net.ipv4.tcp_syncookies", []int64{1, 1, 0, 2}},
		{"net.ipv4.tcp_synack_retries", []int64{5, 5, 1, 0}},
		{"net.ipv4.tcp_abort_on_overflow", []int64{0, 0, 0, 1}},
		{"net.ipv4.tcp_timestamps", []int64{1, 1, 1, 0}},
		{"net.ipv4.tcp_sack", []int64{1, 1, 1, 0}},
		{"net.ipv4.tcp_window_scaling", []int64{1, 1, 1, 0}},
		{"net.ipv4.tcp_ecn", []int64{2}},
		{"net.ipv4.tcp_fastopen", []int64{1}},
		{"net.ipv4.tcp_invalid_ratelimit", []int64{487, 487, 0}}, // never as long as between two steps
		{"net.ipv4.tcp_migrate_req", []int64{0}},
		{"net.ipv4.tcp_no_metrics_save", []int64{0}},
	} {
		g.sc.Sysctls.set(s.name, pick(s.values...))
	}
	for i := range 3 + r.IntN(4) {
		g.sc.Conns.set(fmt.Sprint("c", i+1), Address{IP: netip.AddrFrom4([4]byte{10, 77, 0, byte(50 + i/2)}), Port: uint16(20001 + i)})
		g.clients = append(g.clients, &client{name: fmt.Sprint("c", i+1)})
	}
	g.add(Step{Op: "listen", Sock: "L", Port: 7000, Backlog: ptr(pick(0, 1, 1, 2, 3)), DeferAccept: int(pick(0, 0, 0, 0, 1, 3)), SYNCount: int(pick(0, 0, 0, 1, 2))}, 0)
	for g.now < 600*time.Millisecond {
		g.random()
	}
	g.wait(1900 * time.Millisecond)
	for g.now < 2500*time.Millisecond {
		g.random()
	}
	g.wait(4600 * time.Millisecond)
	g.sc.Duration = Seconds(g.now)
	return g.sc
}

func ptr[T any](v T) *T { return &v }

type generator struct {
	*rand.Rand
	sc       *Scenario
	now      time.Duration
	clients  []*client
	accepted int
	ears     int
}

// A client is how far a random client has come.
type client struct {
	name   string
	opts   *Options
	synned bool
	acked  bool
	over   bool
}

func (g *generator) add(s Step, lasts time.Duration) {
	s.N = len(g.sc.Steps) + 1
	s.T = Seconds(g.now)
	g.sc.Steps = append(g.sc.Steps, s)
	g.now += max(lasts, 25*time.Millisecond)
}

func (g *generator) wait(until time.Duration) {
	g.add(Step{Op: "wait", For: Seconds(until - g.now)}, until-g.now)
}

func (g *generator) random() {
	switch n := g.IntN(24); {
	case n < 2:
		g.accepted++
		g.add(Step{Op: "accept", Sock: g.ear(), As: fmt.Sprint("A", g.accepted)}, 0)
	case n == 2:
		g.add(Step{Op: "relisten", Sock: g.ear(), Backlog: ptr(int64(g.IntN(4)))}, 0)
	case n == 3 && g.IntN(2) == 0:
		g.add(Step{Op: "sysctl", Key: "net.ipv4.tcp_abort_on_overflow", Value: ptr(int64(g.IntN(2)))}, 0)
	case n == 20 && g.IntN(3) == 0:
		g.add(Step{Op: "shutdown", Sock: g.ear(), How: []string{"RD", "WR", "RDWR"}[g.IntN(3)]}, 0)
		if g.IntN(2) == 0 {
			g.segment(g.clients[g.IntN(len(g.clients))])
		}
		g.add(Step{Op: "relisten", Sock: g.ear(), Backlog: ptr(int64(g.IntN(4)))}, 0)
	case n == 21 && g.IntN(3) == 0:
		g.add(Step{Op: "close", Sock: g.ear()}, 0)
		if g.IntN(2) == 0 {
			g.segment(g.clients[g.IntN(len(g.clients))])
		}
		g.ears++
		g.add(Step{Op: "listen", Sock: g.ear(), Port: 7000, Backlog: ptr(int64(g.IntN(4)))}, 0)
	case n == 22 && g.IntN(3) == 0:
		name := []string{"net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_synack_retries", "net.core.somaxconn"}[g.IntN(3)]
		g.add(Step{Op: "sysctl", Key: name, Value: ptr(int64(g.IntN(3)))}, 0)
	case n == 23 && g.IntN(3) == 0:
		g.elsewhere(g.clients[g.IntN(len(g.clients))])
	case n == 4:
		g.add(Step{Op: "tcp_info", Sock: g.ear()}, 0)
	default:
		g.segment(g.clients[g.IntN(len(g.clients))])
	}
}

// ear names the listener.
func (g *generator) ear() string {
	if g.ears == 0 {
		return "L"
	}
	return fmt.Sprint("L", g.ears)
}

// elsewhere sends something to a port where nobody listens.
func (g *generator) elsewhere(c *client) {
	flags := []string{"S", "A", "F", "R", "SA", "RA", "PA", ""}[g.IntN(8)]
	s := Step{Op: "inject", Conn: c.name, Dport: 7001, Flags: &flags, Seq: ptr(int64(0)), Len: ptr(pickLen(g, 3)), Win: ptr(65535), Opts: &Options{}}
	if slices.Contains([]rune(flags), 'A') {
		s.Ack = ptr(int64(1))
	}
	g.add(s, 0)
}

// segment sends what the client might send next, or something odd.
func (g *generator) segment(c *client) {
	switch {
	case c.over:
	case !c.synned:
		c.synned = true
		c.opts = &Options{MSS: uint16(536 + g.IntN(925))}
		if g.IntN(3) == 0 {
			c.opts.SACKOK = true
		}
		if g.IntN(3) == 0 {
			c.opts.TS = &Timestamp{Value: 1000}
		}
		if g.IntN(3) == 0 {
			c.opts.WS = ptr(uint8(g.IntN(15)))
		}
		g.inject(c, "S", 0, 0, pickLen(g, 20), 0)
	case c.acked:
		g.later(c)
	default:
		g.halfOpen(c)
	}
}

func pickLen(g *generator, oneIn int) int {
	if g.IntN(oneIn) == 0 {
		return 1 + g.IntN(100)
	}
	return 0
}

// halfOpen is a segment for a request, or in place of one that was dropped.
func (g *generator) halfOpen(c *client) {
	odd := func(values ...int64) int64 { return values[g.IntN(len(values))] }
	switch n := g.IntN(26); {
	case n < 8:
		c.acked = true
		g.inject(c, "A", 1, 1, 0, 0)
	case n < 10:
		c.acked = true
		g.inject(c, "PA", 1, 1, 1+g.IntN(100), 0)
	case n == 10:
		c.acked = true
		g.inject(c, "FA", 1, 1, 0, 100*time.Millisecond)
	case n < 14:
		g.inject(c, "S", 0, 0, 0, 0)
	case n == 14:
		g.inject(c, "S", odd(1, 5, -5, 70000, 100000000), 0, 0, 0)
	case n == 15:
		g.inject(c, "A", 1, odd(0, 2, 5, -1, 1000), 0, 0)
	case n == 16:
		g.inject(c, "A", odd(0, 2, 20000, 70000, -3), 1, 0, 0)
	case n == 17:
		g.inject(c, "R", odd(1, 1, 0, 2, 100, 70000, -1), 0, 0, 0)
	case n == 18:
		g.inject(c, "RA", odd(1, 1, 3), odd(1, 1, 2), 0, 0)
	case n == 19:
		g.inject(c, "SA", odd(0, 0, 7), odd(0, 1, 2), 0, 0)
	case n == 20:
		g.inject(c, []string{"", "F", "P", "U", "SF", "SR", "SP", "UA", "FPU"}[g.IntN(9)], odd(0, 1), 1, 0, 0)
	case n == 21:
		g.inject(c, "PA", odd(2, 5, 20000), 1, 1+g.IntN(50), 0)
	case n == 22:
		g.inject(c, "PA", 1, odd(0, 2), 1+g.IntN(50), 0)
	case n < 25:
		g.add(icmpStep(c.name, odd(3, 3, 3, 11, 12, 4), odd(0, 1, 1, 2, 3), odd(0, 0, 0, 1, -1)), 0)
	default:
		g.inject(c, "F", 1, 0, 0, 0)
	}
}

// icmpStep is an ICMP error about a SYN-ACK, or beside it.
func icmpStep(conn string, icmpType, code, seq int64) Step {
	return Step{Op: "icmp", Conn: conn, Type: ptr(uint8(icmpType)), Code: ptr(uint8(code)), Seq: &seq}
}

// later is a segment of a client that believes to be connected.
func (g *generator) later(c *client) {
	switch g.IntN(6) {
	case 0:
		c.over = true
		g.inject(c, "R", 1, 0, 0, 0)
	case 1:
		g.inject(c, "A", 1, 1, 0, 0)
	}
}

func (g *generator) inject(c *client, flags string, seq, ack int64, length int, lasts time.Duration) {
	opts := &Options{}
	if slices.Contains([]rune(flags), 'S') {
		opts = c.opts
	} else if c.opts.TS != nil {
		opts.TS = &Timestamp{Value: 1001, EchoLast: true}
		if g.IntN(12) == 0 {
			opts.TS.Value = 900
		}
	}
	s := Step{Op: "inject", Conn: c.name, Flags: &flags, Seq: &seq, Len: &length, Win: ptr(65535), Opts: opts}
	if slices.Contains([]rune(flags), 'A') {
		s.Ack = &ack
	}
	g.add(s, lasts)
}
