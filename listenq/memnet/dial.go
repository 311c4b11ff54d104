package memnet

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

// A Dialer connects to listeners of a network. The zero value of all fields but
// Network is a socket as the network's client platform makes it.
type Dialer struct {
	Network *Network
	// Profile is the platform that dials; nil stands for the network's.
	Profile *client.Profile
	// Timeout is how long Dial takes at most; 0 leaves it to the platform.
	Timeout time.Duration
	// LocalAddr is where to connect from, a *net.TCPAddr; nil picks an address
	// and a port. A port that is 0 is picked.
	LocalAddr net.Addr
}

// Dial connects to an address; see Dialer.DialContext.
func (n *Network) Dial(network, address string) (net.Conn, error) {
	return n.DialContext(context.Background(), network, address)
}

// DialContext connects to an address; see Dialer.DialContext. It fits into
// http.Transport and its like.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := Dialer{Network: n}
	return d.DialContext(ctx, network, address)
}

// Dial connects to an address; see DialContext.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to "host:port" over "tcp", "tcp4" or "tcp6". The host may
// be an IP address or any name; an empty one is this host's loopback address.
//
// The SYN is repeated as the platform does it, and the errors are what package
// net would return there, with the errno of this system: ECONNREFUSED once the
// platform believes a RST, ETIMEDOUT when it gives up. EADDRINUSE and
// EADDRNOTAVAIL say that LocalAddr, or every port, is taken. A timeout or a
// context that ends first gives an error that is context.DeadlineExceeded or
// context.Canceled.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n := d.Network
	remote, err := n.resolve(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if !remote.Addr().IsValid() || remote.Addr().IsUnspecified() {
		host := localhost4
		if network == "tcp6" || remote.Addr().Is6() {
			host = localhost6
		}
		remote = netip.AddrPortFrom(host, remote.Port())
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	c, err := d.dial(ctx, remote)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, remote netip.AddrPort) (*Conn, error) {
	n := d.Network
	profile, err := n.cfg.Client, n.clientErr
	if d.Profile != nil {
		profile, err = d.Profile, d.Profile.Validate()
	}
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, endOf(ctx)
	}
	k, err := n.start(d.LocalAddr, remote, profile)
	if err != nil {
		return nil, err
	}
	if k.opened != nil {
		select {
		case <-k.opened:
		case <-ctx.Done():
			n.enter()
			if k.opening() {
				k.fail(endOf(ctx))
			}
			n.leave()
		}
	}
	if k.failure != nil {
		return nil, system("connect", k.failure)
	}
	return &k.client, nil
}

// start binds a socket and sends its SYN.
func (n *Network) start(from net.Addr, remote netip.AddrPort, p *client.Profile) (*link, error) {
	now := n.enter()
	defer n.leave()
	if n.closed {
		return nil, net.ErrClosed
	}
	flow, err := n.bind(from, remote)
	if err != nil {
		return nil, err
	}
	k := n.connect(now, flow, p)
	if k.opening() {
		k.opened = make(chan struct{})
	}
	return k, nil
}

// bind gives a connection the client's half of its flow.
func (n *Network) bind(from net.Addr, remote netip.AddrPort) (flow listenq.Flow, err error) {
	local := netip.AddrPortFrom(source(remote.Addr()), 0)
	if from != nil {
		tcp, ok := from.(*net.TCPAddr)
		if !ok {
			return flow, &net.AddrError{Err: "mismatched local address type", Addr: from.String()}
		}
		if bound := tcp.AddrPort(); bound.Addr().IsValid() && !bound.Addr().IsUnspecified() {
			local = netip.AddrPortFrom(bound.Addr().Unmap().WithZone(""), bound.Port())
		} else {
			local = netip.AddrPortFrom(local.Addr(), uint16(tcp.Port))
		}
		if local.Addr().Is4() != remote.Addr().Is4() {
			return flow, &net.AddrError{Err: "mismatched local address type", Addr: from.String()}
		}
	}
	free := func(port uint16) bool {
		flow = listenq.NewFlow(remote, netip.AddrPortFrom(local.Addr(), port))
		return n.links[flow] == nil
	}
	if local.Port() != 0 {
		if !free(local.Port()) {
			return flow, system("bind", syscall.EADDRINUSE)
		}
		return flow, nil
	}
	if _, ok := n.pick(free); !ok {
		return flow, system("connect", syscall.EADDRNOTAVAIL)
	}
	return flow, nil
}
