package memnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// window is what SYN-ACKs offer, the most that fits into the field.
const window = 65535

// ListenOptions are what a socket can set before listen(2). The zero value is a
// socket as the platform makes it.
type ListenOptions struct {
	// Profile is the platform whose rules hold; nil stands for the network's.
	Profile *listenq.Profile
	// Overflow is what a full queue answers in place of the platform's rule;
	// SetOverflow changes it later.
	Overflow listenq.Overflow
	// DeferAccept is TCP_DEFER_ACCEPT; 0 is off.
	DeferAccept time.Duration
	// SYNCount is TCP_SYNCNT, 1 to 127 retransmissions of the SYN-ACK; 0 leaves
	// it to the platform's setting.
	SYNCount int
}

// A Listener is a listening socket. It implements net.Listener and is safe for
// concurrent use.
type Listener struct {
	n       *Network
	network string
	local   netip.AddrPort // unspecified for all addresses
	dual    bool           // of both IP versions

	// The network's mutex guards what follows.
	q          *listenq.Listener
	timer      event
	outcomes   []listenq.Outcome // of one Advance
	waiting    map[listenq.ConnID]*link
	acceptable sync.Cond
	deadline   deadline
	closed     bool
}

var _ net.Listener = (*Listener)(nil)

// Listen is socket, bind and listen in one. network is "tcp", "tcp4" or "tcp6".
// The host may be an IP address or any name, each of which gets an address of its
// own; an empty one stands for all addresses, with "tcp" for those of both IP
// versions. Port 0 picks a free one. backlog is the number handed to listen(2);
// negative values are allowed. opts may be nil.
//
// Errors carry EADDRINUSE, and EINVAL for an option out of range or a backlog
// that the platform refuses.
func (n *Network) Listen(network, address string, backlog int, opts *ListenOptions) (*Listener, error) {
	if opts == nil {
		opts = &ListenOptions{}
	}
	local, err := n.resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	l := &Listener{n: n, network: network, local: local, waiting: make(map[listenq.ConnID]*link)}
	if !local.Addr().IsValid() {
		l.dual = network == "tcp"
		l.local = netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())
		if network == "tcp4" {
			l.local = netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())
		}
	}
	n.enter()
	defer n.leave()
	if err := l.listen(backlog, opts); err != nil {
		return nil, l.opError("listen", err)
	}
	return l, nil
}

func (l *Listener) listen(backlog int, opts *ListenOptions) error {
	n := l.n
	switch {
	case n.closed:
		return net.ErrClosed
	case opts.SYNCount < 0 || opts.SYNCount > 127 || opts.DeferAccept < 0:
		return system("setsockopt", syscall.EINVAL)
	case l.local.Port() == 0:
		port, ok := n.pick(l.free)
		if !ok {
			return system("bind", syscall.EADDRINUSE)
		}
		l.local = netip.AddrPortFrom(l.local.Addr(), port)
	case !l.free(l.local.Port()):
		return system("bind", syscall.EADDRINUSE)
	}
	profile := opts.Profile
	if profile == nil {
		profile = n.cfg.Server
	}
	q, err := listenq.New(listenq.Config{
		Profile:     profile,
		Backlog:     backlog,
		Window:      window,
		Secret:      n.secret(),
		Sysctls:     n.cfg.Sysctls,
		Overflow:    opts.Overflow,
		DeferAccept: opts.DeferAccept,
		SYNCount:    opts.SYNCount,
	})
	if err != nil {
		return refusedBacklog(err)
	}
	l.q = q
	l.timer = event{rank: listenerTimer, fire: l.advance}
	l.acceptable.L = &n.mu
	n.listeners[l.local.Port()] = append(n.listeners[l.local.Port()], l)
	return nil
}

// refusedBacklog gives an error of listen(2) its errno.
func refusedBacklog(err error) error {
	if errors.Is(err, listenq.ErrBacklog) {
		return system("listen", syscall.EINVAL)
	}
	return err
}

// covers says that the listener gets segments for an address.
func (l *Listener) covers(addr netip.Addr) bool {
	if l.local.Addr().IsUnspecified() {
		return l.dual || l.local.Addr().Is4() == addr.Is4()
	}
	return l.local.Addr() == addr
}

// free says that no other listener has the port for any of the same addresses.
func (l *Listener) free(port uint16) bool {
	return !slices.ContainsFunc(l.n.listeners[port], func(other *Listener) bool {
		return l.covers(other.local.Addr()) || other.covers(l.local.Addr())
	})
}

// An answer is a segment from a listener's host to a client.
type answer struct {
	flags      listenq.Flags
	seq, ack   uint32
	timestamps bool
	tsval      uint32
}

// atListener delivers a segment to whoever listens on its address; a host where
// nobody does answers with RST.
func (n *Network) atListener(now time.Duration, seg *listenq.Segment) {
	if l := n.listenerAt(seg.Local()); l != nil {
		out := l.q.Segment(now, seg)
		l.carryOut(now, &out)
		l.arm()
		return
	}
	if seg.Flags.Has(listenq.RST) {
		return
	}
	rst := answer{flags: listenq.RST, seq: seg.Ack}
	if !seg.Flags.Has(listenq.ACK) {
		rst = answer{flags: listenq.RST | listenq.ACK, ack: seg.Seq + 1}
	}
	n.toClient(now, seg.Flow, rst)
}

// toClient sends a segment to the client of a flow.
func (n *Network) toClient(now time.Duration, flow listenq.Flow, seg answer) {
	if n.cfg.Latency == 0 {
		n.atClient(now, flow, &seg)
		return
	}
	n.after(now, func(now time.Duration) { n.atClient(now, flow, &seg) })
}

func (n *Network) atClient(now time.Duration, flow listenq.Flow, seg *answer) {
	k := n.links[flow]
	if k == nil { // its socket is gone
		k = &link{n: n, flow: flow, left: true, over: true, aborted: true}
	}
	k.fromListener(now, seg)
}

// carryOut does what the listener has decided.
func (l *Listener) carryOut(now time.Duration, out *listenq.Outcome) {
	if l.n.cfg.Observe != nil {
		l.n.cfg.Observe(now, *out)
	}
	seg := answer{seq: out.Seq, ack: out.Ack}
	switch out.Verdict {
	case listenq.Promote:
		// A link is remembered for as long as a segment of it is under way.
		l.n.links[out.Flow].promote(l, out.Conn)
		return
	case listenq.SendSYNACK, listenq.SendCookie:
		seg.flags = listenq.SYN | listenq.ACK
		seg.timestamps = out.Handshake.Peer.Timestamps
		seg.tsval = out.Handshake.TSVal
	case listenq.SendACK:
		seg.flags = listenq.ACK
	case listenq.SendRST:
		seg.flags = listenq.RST
		if out.RSTACK {
			seg.flags |= listenq.ACK
		}
	default:
		return
	}
	l.n.toClient(now, out.Flow, seg)
}

// advance is the listener's timer.
func (l *Listener) advance(now time.Duration) {
	l.outcomes = l.outcomes[:0]
	l.q.Advance(now, func(out listenq.Outcome) { l.outcomes = append(l.outcomes, out) })
	for i := range l.outcomes {
		l.carryOut(now, &l.outcomes[i])
	}
	l.arm()
}

func (l *Listener) arm() {
	if at, ok := l.q.NextTimeout(); ok {
		l.n.agenda.set(&l.timer, at)
	} else {
		l.n.agenda.cancel(&l.timer)
	}
}

// Accept waits for a connection and takes it out of the accept queue.
//
// Where the platform reports a connection that its client has reset meanwhile,
// the error carries ECONNABORTED and is temporary, as net.Error has it, so that
// an http.Server goes on; package net itself tries again without a word.
func (l *Listener) Accept() (net.Conn, error) {
	l.n.enter()
	defer l.n.leave()
	for {
		switch {
		case l.closed:
			return nil, l.opError("accept", net.ErrClosed)
		case l.deadline.passed:
			return nil, l.opError("accept", os.ErrDeadlineExceeded)
		}
		if c, ok := l.q.Accept(); ok {
			k := l.take(c.ID)
			l.arm()
			if c.Aborted {
				k.leave(&k.server)
				return nil, l.opError("accept", syscall.ECONNABORTED)
			}
			return &k.server, nil
		}
		l.n.arm()
		l.acceptable.Wait()
	}
}

func (l *Listener) take(id listenq.ConnID) *link {
	k := l.waiting[id]
	delete(l.waiting, id)
	k.queue = nil
	return k
}

// SetDeadline makes Accept give up at a time; the zero time is never.
func (l *Listener) SetDeadline(t time.Time) error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return l.opError("set", net.ErrClosed)
	}
	l.deadline.move(t, &l.n.mu, l.acceptable.Broadcast)
	return nil
}

// Listen is listen(2) again: it changes the backlog as far as the platform lets
// it. Nothing that is queued is thrown out.
func (l *Listener) Listen(backlog int) error {
	l.n.enter()
	defer l.n.leave()
	if l.closed {
		return l.opError("listen", net.ErrClosed)
	}
	if err := l.q.Listen(backlog); err != nil {
		return l.opError("listen", refusedBacklog(err))
	}
	return nil
}

// SetOverflow changes what a full queue answers from now on.
func (l *Listener) SetOverflow(o listenq.Overflow) {
	l.n.enter()
	defer l.n.leave()
	l.q.SetOverflow(o)
}

// ListenerStats is a look at both queues.
type ListenerStats struct {
	// Backlog is the number that listen was called with, Limit what the platform
	// made of it.
	Backlog, Limit int
	// SYNQueue and AcceptQueue are the depths; what fits is in SYNCapacity and
	// AcceptCapacity, -1 for what has no bound.
	SYNQueue, AcceptQueue       int
	SYNCapacity, AcceptCapacity int
	// Profile is the name of the platform whose rules hold.
	Profile  string
	Overflow listenq.Overflow
	Counters listenq.Counters
}

// Stats returns the depths and counters of this moment. They stay readable after
// Close.
func (l *Listener) Stats() ListenerStats {
	l.n.enter()
	defer l.n.leave()
	return ListenerStats{
		Backlog:        l.q.Backlog(),
		Limit:          l.q.Limit(),
		SYNQueue:       l.q.SYNQueueLen(),
		AcceptQueue:    l.q.AcceptQueueLen(),
		SYNCapacity:    l.q.SYNCapacity(),
		AcceptCapacity: l.q.AcceptCapacity(),
		Profile:        l.q.Profile().Name,
		Overflow:       l.q.Overflow(),
		Counters:       l.q.Counters(),
	}
}

// Profile returns the platform whose rules hold; it must not be changed.
func (l *Listener) Profile() *listenq.Profile { return l.q.Profile() }

// Addr returns the bound address, a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

// Close stops listening. Connections that wait for accept are reset, half-open
// ones end as the platform has it, accepted ones live on.
func (l *Listener) Close() error {
	now := l.n.enter()
	defer l.n.leave()
	if l.closed {
		return l.opError("close", net.ErrClosed)
	}
	port := l.local.Port()
	l.n.listeners[port] = slices.DeleteFunc(l.n.listeners[port], func(other *Listener) bool { return other == l })
	if len(l.n.listeners[port]) == 0 {
		delete(l.n.listeners, port)
	}
	l.shut(now)
	return nil
}

// shut empties the queues. Timers of requests that the platform forgets to
// remove go on.
func (l *Listener) shut(now time.Duration) {
	l.closed = true
	l.deadline.stop()
	l.acceptable.Broadcast()
	var outcomes []listenq.Outcome
	queued := l.q.Close(now, func(out listenq.Outcome) { outcomes = append(outcomes, out) })
	for _, c := range queued {
		k := l.take(c.ID)
		k.mu.Lock()
		gone := k.server.dead
		k.server.closed = true
		k.mu.Unlock()
		if !gone {
			k.abort(now, &k.server)
		}
		k.leave(&k.server)
	}
	for i := range outcomes {
		l.carryOut(now, &outcomes[i])
	}
	l.arm()
}

func (l *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: l.network, Addr: l.Addr(), Err: err}
}
