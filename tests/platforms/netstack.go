package platforms

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
)

// Netstack is a listening endpoint of gVisor netstack as it comes. It is driven by
// a virtual clock of ours, the only thing here that is.
type Netstack struct {
	// Sentry says that listen is called as gVisor's sentry calls it for programs
	// in a sandbox.
	Sentry  bool
	clock   *stack.VirtualClock
	stack   *gstack.Stack
	link    *channel.Endpoint
	ep      tcpip.Endpoint
	wq      waiter.Queue
	pending []Sent
}

var _ Device = (*Netstack)(nil)

const (
	// netstackStep is how far time moves at once; answers are as exact.
	netstackStep = 10 * time.Millisecond
	// netstackRounds is how often netstack's workers are stopped and started
	// again until they count as idle: one may give another work.
	netstackRounds = 3
)

// NewNetstack returns a netstack with one bound socket.
func NewNetstack() (*Netstack, error) {
	const nic = 1
	n := &Netstack{clock: stack.NewVirtualClock(), link: channel.New(1024, 1500, "")}
	n.stack = gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{tcp.NewProtocol},
		Clock:              n.clock,
	})
	address := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(server.Addr().As4()).WithPrefix(),
	}
	for _, err := range []tcpip.Error{
		n.stack.CreateNIC(nic, n.link),
		n.stack.AddProtocolAddress(nic, address, gstack.AddressProperties{}),
	} {
		if err != nil {
			return nil, fmt.Errorf("netstack: %s", err)
		}
	}
	n.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	ep, err := n.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &n.wq)
	if err != nil {
		return nil, fmt.Errorf("netstack: new endpoint: %s", err)
	}
	n.ep = ep
	if err := ep.Bind(tcpip.FullAddress{Addr: tcpip.AddrFrom4(server.Addr().As4()), Port: server.Port()}); err != nil {
		return nil, fmt.Errorf("netstack: bind: %s", err)
	}
	return n, nil
}

// Stop ends the stack.
func (n *Netstack) Stop() {
	n.stack.Destroy()
}

// Listen implements Device. The sentry's arithmetic is that of its listen(2)
// (pkg/sentry/syscalls/linux/sys_socket.go, Listen, and
// pkg/sentry/socket/netstack, sock.Listen).
func (n *Netstack) Listen(backlog int) error {
	if n.Sentry {
		const maximum = 1024
		backlog = int(min(uint32(int32(backlog)), maximum)) + 1
	}
	err := n.ep.Listen(backlog)
	n.settle()
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrInvalidEndpointState:
		return errors.New("EINVAL") // pkg/syserr/netstack.go
	}
	return errors.New(err.String())
}

// Accept implements Device.
func (n *Netstack) Accept() (netip.AddrPort, string, error) {
	var peer tcpip.FullAddress
	conn, _, err := n.ep.Accept(&peer)
	if _, none := err.(*tcpip.ErrWouldBlock); none {
		return netip.AddrPort{}, "", nil
	}
	if err != nil {
		return netip.AddrPort{}, "", errors.New(err.String())
	}
	defer n.settle()
	var data bytes.Buffer
	result, err := conn.Read(&data, tcpip.ReadOptions{})
	client := netip.AddrPortFrom(netip.AddrFrom4(peer.Addr.As4()), peer.Port)
	switch err.(type) {
	case nil:
		return client, fmt.Sprintf("%d bytes", result.Count), nil
	case *tcpip.ErrWouldBlock:
		return client, "open", nil
	case *tcpip.ErrClosedForReceive:
		return client, "eof", nil
	case *tcpip.ErrConnectionReset:
		return client, "ECONNRESET", nil
	}
	return client, err.String(), nil
}

// Close implements Device.
func (n *Netstack) Close() error {
	n.ep.Close()
	n.settle()
	return nil
}

// Deliver implements Device.
func (n *Netstack) Deliver(s *listenq.Segment) error { return n.deliver(packet(s)) }

// ICMP implements Device.
func (n *Netstack) ICMP(e *listenq.ICMPError) error { return n.deliver(icmpPacket(e)) }

func (n *Netstack) deliver(b []byte) error {
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	n.link.InjectInbound(ipv4.ProtocolNumber, pkt)
	pkt.DecRef()
	n.settle()
	return nil
}

// Advance implements Device.
func (n *Netstack) Advance(d time.Duration) error {
	for end := n.clock.Elapsed() + d; n.clock.Elapsed() < end; {
		n.clock.Advance(min(netstackStep, end-n.clock.Elapsed()))
		n.settle()
	}
	return nil
}

// settle lets the workers finish what they have, and keeps what they sent.
func (n *Netstack) settle() {
	for range netstackRounds {
		n.stack.Pause()
		n.stack.Resume()
	}
	for pkt := n.link.Read(); pkt != nil; pkt = n.link.Read() {
		view := pkt.ToView()
		pkt.DecRef()
		if s, ok := sent(n.clock.Elapsed(), view.AsSlice()); ok {
			n.pending = append(n.pending, s)
		}
		view.Release()
	}
}

// Sent implements Device.
func (n *Netstack) Sent() ([]Sent, error) {
	all := n.pending
	n.pending = nil
	return all, nil
}
