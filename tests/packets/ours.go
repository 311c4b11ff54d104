//go:build linux

package packets

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/socket"
)

// OurTolerance is how far packets may be off their time in virtual time, as with
// packetdrill.
const OurTolerance = 4 * time.Millisecond

// descriptorsOfScript is more than a script needs.
const descriptorsOfScript = 64

// ours is our stack in virtual time, with the sockets of a process.
type ours struct {
	*socket.Process
	clock *stack.VirtualClock
	stack *stack.Stack
	wire  *wire
}

// PlayOnOurs plays a script on a stack of ours of its own.
func PlayOnOurs(s *Script, version int) (err error) {
	clock := stack.NewVirtualClock()
	w := &wire{Endpoint: channel.New(0, uint32(mtu(version)), ""), clock: clock}
	st, err := stack.New(stack.Config{
		Link:      w,
		Addresses: []netip.Prefix{stack4, stack6},
		Random:    rand.NewChaCha8([32]byte{}),
		Clock:     clock,
	})
	if err != nil {
		return err
	}
	m := &ours{socket.NewNamespace(st).Process(descriptorsOfScript), clock, st, w}
	defer func() {
		m.CloseAll()
		clock.Settle()
		if e := st.Close(); err == nil {
			err = e
		}
	}()
	return Play(m, s, version)
}

func (m *ours) Now() time.Duration { return m.clock.Elapsed() }

func (m *ours) AdvanceTo(t time.Duration) { m.clock.AdvanceTo(t) }

func (m *ours) Await(t time.Duration) {
	for m.clock.Settle(); m.wire.quiet() && m.Now() < t; {
		m.clock.AdvanceTo(min(m.Now()+glance, t))
	}
}

func (m *ours) Inject(packet []byte) error {
	m.wire.deliver(packet)
	return nil
}

func (m *ours) Sent() []Sent { return m.wire.take() }

func (m *ours) Early() time.Duration { return OurTolerance }

func (m *ours) Late(time.Duration) time.Duration { return OurTolerance }

func (m *ours) SetSysctl(name, value string) error { return m.stack.SetSysctl(name, value) }

// A wire is the link of the stack; it notes what the stack sends.
type wire struct {
	*channel.Endpoint
	clock      *stack.VirtualClock
	dispatcher gstack.NetworkDispatcher

	mu   sync.Mutex
	sent []Sent
}

// Attach implements gstack.NetworkLinkEndpoint.
func (w *wire) Attach(d gstack.NetworkDispatcher) { w.dispatcher = d }

// IsAttached implements gstack.NetworkLinkEndpoint.
func (w *wire) IsAttached() bool { return w.dispatcher != nil }

// WritePackets implements gstack.LinkWriter.
func (w *wire) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pkt := range pkts.AsSlice() {
		b := pkt.ToBuffer()
		w.sent = append(w.sent, Sent{w.clock.Elapsed(), b.Flatten()})
		b.Release()
	}
	return pkts.Len(), nil
}

func (w *wire) quiet() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sent) == 0
}

func (w *wire) take() []Sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// deliver gives the stack a packet.
func (w *wire) deliver(b []byte) {
	protocol := header.IPv4ProtocolNumber
	if b[0]>>4 == 6 {
		protocol = header.IPv6ProtocolNumber
	}
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	defer pkt.DecRef()
	w.dispatcher.DeliverNetworkPacket(protocol, pkt)
}
