//go:build linux

package socket

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// BenchmarkDatagram sends a datagram to another stack and reads it there, with our
// sockets and with netstack's endpoints.
func BenchmarkDatagram(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprintf("size=%d/sockets", size), func(b *testing.B) { datagrams(b, size) })
		b.Run(fmt.Sprintf("size=%d/netstack", size), func(b *testing.B) { netstackDatagrams(b, size) })
	}
}

func datagrams(b *testing.B, size int) {
	p, q := twoProcesses(b)
	receiver := q.datagramSocket(b, unix.AF_INET, "192.0.2.2:7")
	sender := p.datagramSocket(b, unix.AF_INET, "192.0.2.1:5")
	require.NoError(b, p.Connect(sender, inet("192.0.2.2:7")))
	data, got := make([]byte, size), make([]byte, size)
	b.ReportAllocs()
	b.SetBytes(int64(size))
	for b.Loop() {
		if _, err := p.Write(sender, data); err != nil {
			b.Fatal(err)
		}
		if _, err := q.Read(receiver, got); err != nil {
			b.Fatal(err)
		}
	}
}

func netstackDatagrams(b *testing.B, size int) {
	p, q := twoNamespaces(b)
	open := func(ns *Namespace, address string, port uint16) (tcpip.Endpoint, *waiter.Queue) {
		wq := new(waiter.Queue)
		ep, err := ns.stack.Netstack().NewEndpoint(udp.ProtocolNumber, header.IPv4ProtocolNumber, wq)
		require.Nil(b, err)
		b.Cleanup(ep.Close)
		require.Nil(b, ep.Bind(tcpip.FullAddress{Addr: tcpip.AddrFromSlice(inet(address + ":1").(*unix.SockaddrInet4).Addr[:]), Port: port}))
		return ep, wq
	}
	receiver, wq := open(q, "192.0.2.2", 7)
	sender, _ := open(p, "192.0.2.1", 5)
	require.Nil(b, sender.Connect(tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{192, 0, 2, 2}), Port: 7}))
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	data, got := make([]byte, size), make([]byte, size)
	var payload bytes.Reader
	b.ReportAllocs()
	b.SetBytes(int64(size))
	for b.Loop() {
		payload.Reset(data)
		if _, err := sender.Write(&payload, tcpip.WriteOptions{}); err != nil {
			b.Fatal(err)
		}
		for {
			w := tcpip.SliceWriter(got)
			_, err := receiver.Read(&w, tcpip.ReadOptions{})
			if err == nil {
				break
			}
			<-readable
		}
	}
}
