package tun_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ulisten/ulisten/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A stack at 192.0.2.2 behind a device whose host side is 192.0.2.1.
func ExampleOpen() {
	link, err := tun.Open(tun.Config{
		Name:          "ul%d",
		HostAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer link.Close()

	s := gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{tcp.NewProtocol},
	})
	s.CreateNIC(1, link)
	s.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4([4]byte{192, 0, 2, 2}).WithPrefix(),
	}, gstack.AddressProperties{})
}

// A driver that moves one packet at a time, as virtual time needs it.
func ExamplePipe() {
	a, b := tun.Pipe(tun.PipeConfig{Manual: true})
	defer a.Close()
	defer b.Close()
	// ... a and b become NICs of two stacks ...
	for a.Deliver()+b.Deliver() > 0 {
		// Let the stacks come to rest before the next packet.
	}
	fmt.Println(a.Pending(), b.Pending())
	// Output: 0 0
}

// A transatlantic path: 40 ms each way, 10 Mbit/s, and one packet in a hundred
// lost. a and b become links of two stacks; each end impairs what it sends.
func ExampleNewImpaired() {
	near, far := tun.Pipe(tun.PipeConfig{})
	path := tun.Impairment{Delay: 40 * time.Millisecond, Rate: 10e6, Loss: 0.01, QueueLen: 200}
	a := tun.NewImpaired(near, path)
	path.Seed = 1 // other packets are lost on the way back
	b := tun.NewImpaired(far, path)
	defer a.Close()
	defer b.Close()
	// ...
	fmt.Println(a.Stats().Lost, b.Stats().Lost)
	// Output: 0 0
}
