//go:build linux

package socket

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// idleConnections is how many connections are held at once.
const idleConnections = 50_000

// A crowd is clients that connect and then say nothing, without memory of their
// own: each SYN-ACK is answered from what it says.
type crowd struct {
	link *tun.MemLink
}

var crowdServer = at4(80)

// connect sends the SYN of client n.
func (c crowd) connect(n int) {
	from := netip.AddrFrom4([4]byte{198, 51, byte(n / 60000), 1})
	c.send(from, uint16(2000+n%60000), header.TCPFields{Flags: header.TCPFlagSyn, SeqNum: 1})
}

// DeliverNetworkPacket implements gstack.NetworkDispatcher.
func (c crowd) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	b := pkt.ToView().AsSlice()
	ip := header.IPv4(b)
	h := header.TCP(b[ip.HeaderLength():])
	if h.Flags() != header.TCPFlagSyn|header.TCPFlagAck {
		return
	}
	c.send(fromAddress(ip.DestinationAddress()), h.DestinationPort(), header.TCPFields{
		Flags: header.TCPFlagAck, SeqNum: h.AckNumber(), AckNum: h.SequenceNumber() + 1,
	})
}

// DeliverLinkPacket implements gstack.NetworkDispatcher.
func (crowd) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

func (c crowd) send(from netip.Addr, port uint16, fields header.TCPFields) {
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	src, dst := toAddress(from), tcpip.AddrFrom4(crowdServer.Addr)
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: src, DstAddr: dst})
	ip.SetChecksum(^ip.CalculateChecksum())
	fields.SrcPort, fields.DstPort, fields.WindowSize, fields.DataOffset = port, uint16(crowdServer.Port), 65535, header.TCPMinimumSize
	h := header.TCP(b[header.IPv4MinimumSize:])
	h.Encode(&fields)
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, header.TCPMinimumSize)
	h.SetChecksum(^checksum.Checksum(h, pseudo))
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	defer pkt.DecRef()
	var list gstack.PacketBufferList
	list.PushBack(pkt)
	c.link.WritePackets(list)
}

// What an accepted connection costs that does nothing: memory of the heap and of
// stacks, which Go's view needs if a goroutine waits for each. stock is netstack's
// own endpoint, accepted by its own listener.
func BenchmarkIdleConnections(b *testing.B) {
	for _, contestant := range []struct {
		name string
		// open returns what accepts a connection and keeps it, and what ends all.
		open func(b *testing.B, link *tun.MemLink) (accept func(), end func())
	}{
		{"descriptors", openIdleDescriptors},
		{"go", openIdleGo},
		{"stock", openIdleStock},
	} {
		b.Run(contestant.name, func(b *testing.B) {
			var bytes float64
			for range b.N {
				near, far := tun.Pipe(tun.PipeConfig{})
				clients := crowd{link: far}
				far.Attach(clients)
				accept, end := contestant.open(b, near)
				before := liveMemory()
				for n := range idleConnections {
					clients.connect(n)
					accept()
				}
				bytes += float64(liveMemory() - before)
				end()
			}
			b.ReportMetric(bytes/float64(b.N)/idleConnections, "bytes/conn")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// liveMemory is what is reachable on the heap and what stacks take.
func liveMemory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func idleNamespace(b *testing.B, link *tun.MemLink) (*Namespace, func()) {
	s, err := stack.New(stack.Config{Link: link, Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(crowdServer.Addr), 24)}})
	require.NoError(b, err)
	return NewNamespace(s), func() { require.NoError(b, s.Close()) }
}

func openIdleDescriptors(b *testing.B, link *tun.MemLink) (accept, end func()) {
	ns, closeStack := idleNamespace(b, link)
	p := ns.Process(2 * idleConnections)
	l := tcp4(b, p)
	require.NoError(b, p.Bind(l, crowdServer))
	require.NoError(b, p.Listen(l, 1000))
	return func() {
		_, _, err := p.Accept4(l, 0)
		require.NoError(b, err)
	}, func() { p.CloseAll(); closeStack() }
}

func openIdleGo(b *testing.B, link *tun.MemLink) (accept, end func()) {
	ns, closeStack := idleNamespace(b, link)
	l, err := ns.Listen("tcp", "192.0.2.1:80", 1000)
	require.NoError(b, err)
	conns := make([]net.Conn, 0, idleConnections)
	return func() {
			c, err := l.Accept()
			require.NoError(b, err)
			conns = append(conns, c)
		}, func() {
			for _, c := range conns {
				c.Close()
			}
			l.Close()
			closeStack()
		}
}

func openIdleStock(b *testing.B, link *tun.MemLink) (accept, end func()) {
	s := gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{tcp.NewProtocol},
	})
	const nic = 1
	require.Nil(b, s.CreateNIC(nic, link))
	require.Nil(b, s.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(crowdServer.Addr).WithPrefix(),
	}, gstack.AddressProperties{}))
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	wq := new(waiter.Queue)
	l, err := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	require.Nil(b, err)
	require.Nil(b, l.Bind(tcpip.FullAddress{Port: uint16(crowdServer.Port)}))
	require.Nil(b, l.Listen(1000))
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	wq.EventRegister(&entry)
	kept := make([]tcpip.Endpoint, 0, idleConnections)
	return func() {
			for {
				ep, _, err := l.Accept(nil)
				if err == nil {
					kept = append(kept, ep)
					return
				}
				<-ready
			}
		}, func() {
			runtime.KeepAlive(kept)
			s.Close()
			link.Close()
			s.Wait()
		}
}

// A write of a megabyte to a reader on the same stack. What it allocates is
// netstack's, see TestWriteAllocatesNothingOfOurs.
func BenchmarkWriteMegabyte(b *testing.B) {
	chunk := make([]byte, 1<<20)
	p := tcpProcess(b)
	l, addr := listening(b, p, 5)
	c := tcp4(b, p)
	require.NoError(b, p.Connect(c, addr))
	s, _, err := p.Accept4(l, 0)
	require.NoError(b, err)
	go func() {
		sink := make([]byte, 1<<20)
		for {
			if n, err := p.Read(s, sink); n == 0 || err != nil {
				return
			}
		}
	}()
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		n, err := p.Write(c, chunk)
		require.NoError(b, err)
		require.Equal(b, len(chunk), n)
	}
	b.StopTimer()
	require.NoError(b, p.Shutdown(c, unix.SHUT_WR))
}
