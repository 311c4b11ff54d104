//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/tests/netlab"
	"github.com/ulisten/ulisten/tun"
)

// farClient and farServer are the two ends of a path, between the client's namespace
// and the server's.
var (
	farClient = netip.MustParsePrefix("198.51.100.1/24")
	farServer = netip.MustParsePrefix("198.51.100.2/24")
)

// farDevice is the TUN at each end of a path.
const farDevice = "far"

// path is a network that is not perfect, the same for every contestant: two TUNs and a
// relay between them, which impairs what goes to the client.
type path struct {
	ends [2]*tun.Link
}

// newPath joins two namespaces. The server's may forward to a TUN of its own.
func newPath(client, server *netlab.Namespace, c contestant, impairment tun.Impairment) (p *path, err error) {
	p = new(path)
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for i, n := range []*netlab.Namespace{client, server} {
		addresses := []netip.Prefix{[]netip.Prefix{farClient, farServer}[i]}
		if n == server && c.network == overVeth {
			addresses = append(addresses, netip.PrefixFrom(serverAddr, serverAddr.BitLen()))
		}
		n.Do(func() {
			p.ends[i], err = tun.Open(tun.Config{
				Name:          farDevice,
				MTU:           mtu,
				TxQueueLen:    tunQueueLen,
				Offload:       tun.OffloadOff,
				HostAddresses: addresses,
			})
		})
		if err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	}
	if err := client.AddRoute(farDevice, clientNet.Masked(), netip.Addr{}); err != nil {
		return nil, err
	}
	for _, name := range []string{"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf." + farDevice + ".rp_filter"} {
		value := "0"
		if name == "net.ipv4.ip_forward" {
			value = "1"
		}
		if err := server.SetSysctl(name, value); err != nil {
			return nil, err
		}
	}
	p.ends[0].Attach(relay{p.ends[1]})
	p.ends[1].Attach(relay{tun.NewImpaired(p.ends[0], impairment)})
	return p, nil
}

func (p *path) close() {
	for _, end := range p.ends {
		if end != nil {
			end.Close()
		}
	}
}

// relay sends what one end of a path receives into the other.
type relay struct{ to gstack.LinkEndpoint }

// DeliverNetworkPacket implements gstack.NetworkDispatcher.
func (r relay) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	out := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: pkt.ToBuffer()})
	defer out.DecRef()
	out.NetworkProtocolNumber = protocol
	var one gstack.PacketBufferList
	one.PushBack(out)
	_, _ = r.to.WritePackets(one) // a full queue loses packets, as it does everywhere
}

// DeliverLinkPacket implements gstack.NetworkDispatcher.
func (r relay) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

const (
	// fetchSize is how much a client fetches over a path, in bytes, to tell how well a
	// stack recovers from loss.
	fetchSize = 4 << 20
	// fetchPatience bounds how long it may take.
	fetchPatience = 30 * time.Second
	// pathDelay is the round trip time of a path, and how late a packet is that is
	// late.
	pathDelay = 10 * time.Millisecond
)

// fetchMeasurement is about loss recovery: 4 MB from the server over a path.
func fetchMeasurement(name, about string, impairment tun.Impairment) measurement {
	impairment.Delay, impairment.LateBy = pathDelay, pathDelay
	return measurement{
		name:     name,
		about:    fmt.Sprintf("%d MB from the stack, %v round trip, %s", fetchSize>>20, pathDelay, about),
		service:  serveSource,
		backlog:  16,
		workload: workPull,
		path:     &impairment,
		metrics:  []metric{{took, "s", true}},
		measure:  measureFetch,
	}
}

// measureFetch counts bytes where they arrive, at the client, which is connected.
func measureFetch(a actors, setup trialSetup) (values, error) {
	began := time.Now()
	for time.Since(began) < fetchPatience {
		s, err := a.client.snapshot()
		if err != nil {
			return nil, err
		}
		if s.Count >= setup.fetchSize {
			return values{took: time.Since(began).Seconds()}, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, fmt.Errorf("%d bytes did not arrive in %v", setup.fetchSize, fetchPatience)
}
