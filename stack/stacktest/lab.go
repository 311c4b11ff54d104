package stacktest

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/trace"
	"github.com/ulisten/ulisten/stack"
)

// The addresses of a lab, from the blocks reserved for documentation. Clients
// get those that follow.
var (
	defaultAddress4 = netip.MustParsePrefix("192.0.2.1/24")
	defaultAddress6 = netip.MustParsePrefix("2001:db8::1/64")
)

// Config describes a lab. The zero value is a stack as a Linux host comes up, at
// 192.0.2.1 and 2001:db8::1.
type Config struct {
	// Addresses are the stack's own; nil stands for 192.0.2.1/24 and
	// 2001:db8::1/64.
	Addresses []netip.Prefix
	// Profile is the platform whose rules listeners follow; nil stands for
	// linux-6.
	Profile *listenq.Profile
	// Sysctls are the settings; nil stands for those of the profile.
	Sysctls *listenq.Sysctls
	// Seed decides every random number: equal seeds, equal packets. 0 is as good
	// as any.
	Seed uint64
	// MTU of the link in bytes; 0 stands for 1500.
	MTU uint32
	// Logger gets what an operator should know; nil is silent.
	Logger *slog.Logger
}

// A Lab is a stack on a link of its own, in virtual time, and the clients at the
// other end. One goroutine drives it; a second one in any method panics.
type Lab struct {
	t         testing.TB
	clock     *stack.VirtualClock
	stack     *stack.Stack
	wire      *wire
	random    *random
	origin    time.Duration // the stack's reading of the clock when the lab was made
	driver    sync.Mutex
	now       time.Duration // how far the lab was advanced
	byFlow    map[listenq.Flow]endpoint
	names     map[listenq.Flow]string
	addresses []netip.Prefix
	hosts     int // clients that were given an address

	mu         sync.Mutex // guards what the stack's callbacks write
	events     []event
	capacities map[*stack.Listener]int
}

// An endpoint is a client of either kind.
type endpoint interface {
	arrives(received)
}

// An event is a decision with the capacity that was in force.
type event struct {
	trace.Event
	listener *stack.Listener
	capacity int
}

// New makes a lab that lives as long as the test.
func New(t testing.TB, cfg Config) *Lab {
	t.Helper()
	lab := &Lab{
		t:          t,
		clock:      stack.NewVirtualClock(),
		random:     newRandom(cfg.Seed),
		byFlow:     make(map[listenq.Flow]endpoint),
		names:      make(map[listenq.Flow]string),
		capacities: make(map[*stack.Listener]int),
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	if len(cfg.Addresses) == 0 {
		cfg.Addresses = []netip.Prefix{defaultAddress4, defaultAddress6}
	}
	lab.addresses = cfg.Addresses
	lab.wire = newWire(lab, cfg.MTU)
	lab.origin = lab.clock.NowMonotonic().Sub(tcpip.MonotonicTime{}) - lab.clock.Elapsed()
	s, err := stack.New(stack.Config{
		Link:      lab.wire,
		Addresses: cfg.Addresses,
		Profile:   cfg.Profile,
		Sysctls:   cfg.Sysctls,
		Observe:   lab.observe,
		Logger:    cfg.Logger,
		Random:    lab.random,
		Clock:     lab.clock,
	})
	if err != nil {
		t.Fatalf("stacktest: %v", err)
	}
	lab.stack = s
	lab.clock.Settle()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("stacktest: close the stack: %v", err)
		}
	})
	return lab
}

func (lab *Lab) observe(e stack.Event) {
	lab.mu.Lock()
	defer lab.mu.Unlock()
	if e.Segment != nil {
		kept := *e.Segment
		e.Segment = &kept
	}
	if e.ICMP != nil {
		kept := *e.ICMP
		e.ICMP = &kept
	}
	lab.events = append(lab.events, event{
		Event:    trace.Event{At: e.Time, Segment: e.Segment, ICMP: e.ICMP, Outcome: e.Outcome},
		listener: e.Listener,
		capacity: lab.capacities[e.Listener],
	})
}

// Stack returns the stack under test. Its blocking calls hang if the test's own
// goroutine makes them: nothing moves while it waits.
func (lab *Lab) Stack() *stack.Stack { return lab.stack }

// Now returns how far the lab was advanced since it was made.
func (lab *Lab) Now() time.Duration { return lab.now }

// Advance lets d pass: timers that become due fire in their order, and what they
// lead to is over before the next fires. It fails the test if d is negative.
func (lab *Lab) Advance(d time.Duration) {
	lab.t.Helper()
	defer lab.drive("Advance")()
	if d < 0 {
		lab.fatalf("Advance(%v): time does not move backwards", d)
	}
	lab.advanceTo(lab.now + d)
}

// AdvanceTo lets time pass until t after the lab was made. It fails the test if
// that is over.
func (lab *Lab) AdvanceTo(t time.Duration) {
	lab.t.Helper()
	defer lab.drive("AdvanceTo")()
	if t < lab.now {
		lab.fatalf("AdvanceTo(%v) at %v: time does not move backwards", t, lab.now)
	}
	lab.advanceTo(t)
}

func (lab *Lab) advanceTo(t time.Duration) {
	lab.now = t
	// What happens in no time takes some microseconds on the clock.
	lab.clock.AdvanceTo(max(t, lab.clock.Elapsed()))
}

// SetSysctl changes a setting, under its kernel name, for all listeners.
func (lab *Lab) SetSysctl(name, value string) {
	lab.t.Helper()
	defer lab.drive("SetSysctl")()
	if err := lab.stack.SetSysctl(name, value); err != nil {
		lab.fatalf("%v", err)
	}
}

// Counters returns what the stack has counted since the lab was made, under the
// kernel's names (those of nstat): listeners and connections together.
func (lab *Lab) Counters() map[string]uint64 {
	sum := make(map[string]uint64)
	queues := lab.stack.Counters()
	queues.Each(func(name string, v uint64) { sum[name] = v })
	conns := lab.stack.ConnCounters()
	conns.Each(func(name string, v uint64) { sum[name] += v })
	return sum
}

// ExpectCounter fails the test unless a counter of the whole stack, under its
// kernel name, has this value.
func (lab *Lab) ExpectCounter(name string, want uint64) {
	lab.t.Helper()
	defer lab.drive("ExpectCounter")()
	lab.expectCounter("the stack", lab.Counters(), name, want)
}

func (lab *Lab) expectCounter(whose string, counters map[string]uint64, name string, want uint64) {
	lab.t.Helper()
	got, ok := counters[name]
	if !ok {
		lab.fatalf("%s has no counter %q: use a field of listenq.Counters or stack.ConnCounters", whose, name)
	}
	if got != want {
		lab.fatalf("%s of %s is %d, and should be %d", name, whose, got, want)
	}
}

// drive claims the lab for one call.
func (lab *Lab) drive(call string) (release func()) {
	if !lab.driver.TryLock() {
		panic("stacktest: " + call + ": another goroutine, or a callback, is already driving the lab; only one may")
	}
	return lab.driver.Unlock
}

// fatalf ends the test with a sentence and what has happened so far.
func (lab *Lab) fatalf(format string, args ...any) {
	lab.t.Helper()
	lab.t.Fatalf("stacktest: at %s: %s\n\n%s\n%s", at(lab.now), fmt.Sprintf(format, args...), lab.ladder(), lab.trace())
}

func at(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// random is a source of equal numbers for equal seeds. It is safe for concurrent
// use.
type random struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newRandom(seed uint64) *random {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return &random{r: rand.NewChaCha8(key)}
}

// Read implements io.Reader.
func (r *random) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Read(b)
}

func (r *random) uint32() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return uint32(r.r.Uint64())
}

// anyAddress returns the address at which clients reach a listener that is bound
// to all: the stack's first one.
func (lab *Lab) anyAddress() netip.Addr { return lab.addresses[0].Addr() }
