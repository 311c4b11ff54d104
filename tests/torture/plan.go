//go:build linux

package torture

import (
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tun"
)

// A plan is what a seed stands for: all that happens in one world.
type plan struct {
	seed uint64
	ipv6 bool
	// mtu is that of the links of both ends, in bytes.
	mtu [2]int
	// paths are what each end's packets go through.
	paths [2]tun.Impairment
	// narrow are the MTUs of the router, in the order of time.
	narrow []mtuChange
	// backlog, cookies (tcp_syncookies) and acceptPause are the listener's.
	backlog     int
	cookies     bool
	acceptPause time.Duration
	connections []connectionPlan
	noise       []noisePlan
}

// mtuChange is a new MTU of the router, in bytes.
type mtuChange struct {
	at  time.Duration
	mtu int
}

// A connectionPlan is one client and its server.
type connectionPlan struct {
	start time.Duration
	sides [2]sidePlan // client, server
}

// client and server are the two ends, of a connection and of the network.
const (
	client = iota
	server
)

// An ending is how a program leaves its connection.
type ending int

const (
	polite     ending = iota // shutdown(SHUT_WR), read to the end, close
	hasty                    // close as soon as everything is written
	aborting                 // SO_LINGER 0 and close, somewhere on the way
	endings                  // how many there are
	politeOnes = 3           // times more often than each other ending
)

// A sidePlan is what one program does.
type sidePlan struct {
	total       int           // bytes that it writes
	write, read int           // bytes in one call
	pace        time.Duration // between calls, as long as there is something to do
	ending      ending
	abortAfter  int // bytes read and written
	// reads do not begin before readFrom, and stop for readPause after half of
	// what the peer writes.
	readFrom, readPause time.Duration
	options             []optionPlan
}

// An optionPlan is an option set on a connection, so long after the program has it.
type optionPlan struct {
	at          time.Duration
	level, name int
	value       int
}

// A noiseKind is something that a third party sends.
type noiseKind int

const (
	rstBlind       noiseKind = iota // any number
	rstInWindow                     // a number in the window, but not the next
	rstExact                        // the next number: it ends the connection
	synInWindow                     // RFC 5961, section 4
	oldPacket                       // one that has crossed before, once more
	probe                           // a keepalive probe
	windowShut                      // a duplicate ACK with window 0
	windowOpen                      // a duplicate ACK with window 65535
	dataFarAck                      // data at the next number that acknowledges what was never sent
	finFarAck                       // FIN likewise
	dataOldStamp                    // data at the next number with a timestamp of long ago
	icmpBlind                       // unreachable, any number
	icmpBlindBig                    // too big, any number
	icmpExact                       // unreachable, about a segment in flight
	icmpTooSmall                    // too big, about a segment in flight, MTU 68
	noiseKinds                      // how many there are
	rareRSTs       = 4              // rstExact is left out so many times of so many + 1
	noiseWithin    = 5 * time.Second
	maxNoise       = 12
	connectionsMax = 3
)

// A noisePlan is one forged packet.
type noisePlan struct {
	at   time.Duration
	kind noiseKind
	to   int // client or server
	conn int
	dice uint64
}

// newPlan throws the dice.
func newPlan(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &plan{seed: seed, ipv6: r.IntN(3) == 0}
	least := 576
	if p.ipv6 {
		least = 1280
	}
	for end := range p.mtu {
		p.mtu[end] = pick(r, least, max(least, 600), 1500, 1500, 1500, 9000)
		p.paths[end] = newPath(r)
	}
	if r.IntN(2) == 0 {
		for range 1 + r.IntN(3) {
			p.narrow = append(p.narrow, mtuChange{at: within(r, 2*time.Second), mtu: least + r.IntN(1600-least)})
		}
	}
	p.backlog = r.IntN(8)
	p.cookies = r.IntN(4) == 0
	p.acceptPause = time.Millisecond + within(r, 300*time.Millisecond)
	for range 1 + r.IntN(connectionsMax) {
		c := connectionPlan{start: within(r, 500*time.Millisecond)}
		for side := range c.sides {
			c.sides[side] = newSide(r)
		}
		p.connections = append(p.connections, c)
	}
	if r.IntN(3) > 0 {
		for range 1 + r.IntN(maxNoise) {
			p.noise = append(p.noise, newNoise(r, len(p.connections)))
		}
	}
	return p
}

func newPath(r *rand.Rand) tun.Impairment {
	m := tun.Impairment{Seed: r.Uint64(), Delay: within(r, 80*time.Millisecond)}
	if r.IntN(2) == 0 {
		m.Jitter = within(r, 20*time.Millisecond)
	}
	if r.IntN(2) == 0 {
		m.Loss = 0.1 * r.Float64()
		m.LossBurst = float64(r.IntN(4))
	}
	if r.IntN(3) == 0 {
		m.Duplicate = 0.1 * r.Float64()
	}
	if r.IntN(3) == 0 {
		m.Late, m.LateBy = 0.2*r.Float64(), within(r, 200*time.Millisecond)
	}
	if r.IntN(3) == 0 {
		m.Corrupt = 0.05 * r.Float64()
	}
	if r.IntN(3) == 0 {
		m.Rate = int64(200_000 + r.IntN(10_000_000))
		m.QueueLen = 5 + r.IntN(100)
	}
	return m
}

func newSide(r *rand.Rand) sidePlan {
	s := sidePlan{
		total:  pick(r, 0, 1, r.IntN(3000), r.IntN(30_000), r.IntN(100_000)),
		write:  pick(r, 1+r.IntN(20_000), 1+r.IntN(20_000), 100_000),
		read:   pick(r, 1+r.IntN(20_000), 1+r.IntN(20_000), 100_000),
		pace:   pick(r, time.Millisecond, time.Millisecond+within(r, 20*time.Millisecond), time.Millisecond+within(r, 100*time.Millisecond)),
		ending: ending(max(0, r.IntN(politeOnes+int(endings))-politeOnes)),
	}
	// However small the calls, a few hundred of them are enough.
	s.write, s.read = max(s.write, s.total/300), max(s.read, 400)
	if s.ending == aborting {
		s.abortAfter = r.IntN(s.total + 10_000)
	}
	if r.IntN(4) == 0 {
		s.readFrom = within(r, 3*time.Second)
	}
	if r.IntN(4) == 0 {
		s.readPause = within(r, 10*time.Second)
	}
	for range r.IntN(4) {
		s.options = append(s.options, newOption(r))
	}
	return s
}

// newOption chooses one that need not end a connection.
func newOption(r *rand.Rand) optionPlan {
	o := optionPlan{at: within(r, 3*time.Second)}
	onOff := r.IntN(2)
	switch r.IntN(8) {
	case 0:
		o.level, o.name, o.value = unix.IPPROTO_TCP, unix.TCP_NODELAY, onOff
	case 1:
		o.level, o.name, o.value = unix.IPPROTO_TCP, unix.TCP_CORK, onOff
	case 2:
		o.level, o.name, o.value = unix.SOL_SOCKET, unix.SO_RCVBUF, 1+r.IntN(60_000)
	case 3:
		o.level, o.name, o.value = unix.SOL_SOCKET, unix.SO_SNDBUF, 1+r.IntN(60_000)
	case 4:
		o.level, o.name, o.value = unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1
	case 5:
		o.level, o.name, o.value = unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000*(10+r.IntN(60))
	case 6:
		o.level, o.name, o.value = unix.IPPROTO_IP, unix.IP_TTL, 2+r.IntN(200)
	case 7:
		o.level, o.name, o.value = unix.IPPROTO_TCP, unix.TCP_QUICKACK, onOff
	}
	return o
}

func newNoise(r *rand.Rand, connections int) noisePlan {
	n := noisePlan{
		at:   within(r, noiseWithin),
		kind: noiseKind(r.IntN(int(noiseKinds))),
		to:   r.IntN(2),
		conn: r.IntN(connections),
		dice: r.Uint64(),
	}
	if n.kind == rstExact && r.IntN(rareRSTs+1) != 0 {
		n.kind = rstBlind
	}
	return n
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// within returns a time up to d, to the microsecond.
func within(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(d/time.Microsecond))+1) * time.Microsecond
}
