package memnet

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

// Config describes a network. The zero value is a network without delay between
// Linux hosts.
type Config struct {
	// Server is the platform whose rules listeners obey; nil stands for linux-6.
	// It must not be changed any more.
	Server *listenq.Profile
	// Client is the platform that dials; nil stands for linux-6. It must not be
	// changed any more.
	Client *client.Profile
	// Sysctls are the listeners' settings; nil stands for the profile's own.
	Sysctls *listenq.Sysctls
	// Latency is the time that a segment, or a byte, takes to the other side; a
	// round trip takes twice as long. 0 and less are no time at all: a handshake
	// is then over before anything else happens.
	Latency time.Duration
	// Seed makes sequence numbers and cookies; equal seeds give equal ones.
	Seed uint64
	// Observe, if not nil, is called with every decision of a listener and the
	// time since New. It must return soon and must not call the network.
	Observe func(now time.Duration, out listenq.Outcome)
}

// A Network is a host with any number of names and addresses, and a cable that
// leads back to it. Make it with New. It is safe for concurrent use.
type Network struct {
	cfg       Config
	clientErr error // what is wrong with cfg.Client
	origin    time.Time

	mu        sync.Mutex
	closed    bool
	random    *rand.Rand
	names     map[string]int
	listeners map[uint16][]*Listener // by port
	links     map[listenq.Flow]*link
	lastPort  uint16
	agenda    agenda
	timer     *time.Timer // for the agenda's next event, or an earlier time
	armed     bool
	armedFor  time.Duration
}

// New returns a network on which nobody listens. Its time starts now, so call it
// inside the synctest bubble that uses it. A profile that contradicts itself
// makes Listen or Dial fail.
func New(cfg Config) *Network {
	if cfg.Client == nil {
		cfg.Client = client.Profiles()[0]
	}
	cfg.Latency = max(cfg.Latency, 0)
	return &Network{
		cfg:       cfg,
		clientErr: cfg.Client.Validate(),
		origin:    time.Now(),
		random:    rand.New(rand.NewPCG(cfg.Seed, 0)),
		names:     make(map[string]int),
		listeners: make(map[uint16][]*Listener),
		links:     make(map[listenq.Flow]*link),
		lastPort:  lastEphemeral,
	}
}

// Close takes the network away: listeners are closed, connections reset, connects
// in progress fail with net.ErrClosed, and so does whatever is tried later.
func (n *Network) Close() error {
	now := n.enter()
	defer n.leave()
	if n.closed {
		return net.ErrClosed
	}
	n.closed = true
	for _, sharing := range n.listeners {
		for _, l := range sharing {
			l.shut(now)
		}
	}
	for _, k := range n.links {
		if k.opening() {
			k.fail(net.ErrClosed)
		} else {
			k.mu.Lock()
			k.client.reset(reset)
			k.server.reset(reset)
			k.mu.Unlock()
		}
	}
	clear(n.links)
	clear(n.listeners)
	for _, e := range n.agenda.events {
		e.place = 0
	}
	n.agenda.events = nil
	if n.timer != nil {
		n.timer.Stop()
		n.armed = false
	}
	return nil
}

// enter locks the network and does what is due; leave sets the timer for what is
// to come, and unlocks it.
func (n *Network) enter() time.Duration {
	n.mu.Lock()
	now := time.Since(n.origin)
	n.run(now)
	return now
}

func (n *Network) leave() {
	n.arm()
	n.mu.Unlock()
}

// run fires what is due, each event at its own time.
func (n *Network) run(now time.Duration) {
	for {
		e, ok := n.agenda.next()
		if !ok || e.at > now {
			return
		}
		n.agenda.cancel(e)
		e.fire(e.at)
	}
}

// arm leaves a timer alone that fires too early: moving it at every connection
// would cost more than now and then firing for nothing.
func (n *Network) arm() {
	e, ok := n.agenda.next()
	if !ok || n.armed && n.armedFor <= e.at {
		return
	}
	n.armed, n.armedFor = true, e.at
	wait := e.at - time.Since(n.origin)
	if n.timer == nil {
		n.timer = time.AfterFunc(wait, n.tick)
	} else {
		n.timer.Reset(wait)
	}
}

func (n *Network) tick() {
	n.mu.Lock()
	n.armed = false
	n.run(time.Since(n.origin))
	n.leave()
}

// after does something once a segment sent now has arrived.
func (n *Network) after(now time.Duration, do func(now time.Duration)) {
	if n.cfg.Latency == 0 {
		do(now)
		return
	}
	n.agenda.set(&event{rank: everythingElse, fire: do}, now+n.cfg.Latency)
}

func (n *Network) secret() (s listenq.Secret) {
	for i := 0; i < len(s); i += 8 {
		binary.LittleEndian.PutUint64(s[i:], n.random.Uint64())
	}
	return s
}

// listenerAt returns who listens at an address; the one bound to it precisely
// goes before one for all addresses.
func (n *Network) listenerAt(at netip.AddrPort) *Listener {
	var found *Listener
	for _, l := range n.listeners[at.Port()] {
		switch {
		case l.local.Addr() == at.Addr():
			return l
		case l.covers(at.Addr()):
			found = l
		}
	}
	return found
}
