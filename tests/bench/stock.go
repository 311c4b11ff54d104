//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/tun"
)

// stockServer is gVisor netstack as it comes, with the options that its users
// commonly set.
type stockServer struct {
	stack *gstack.Stack
}

func openStock() (server, error) {
	fd, err := openPlainTUN()
	if err != nil {
		return nil, err
	}
	link, err := fdbased.New(&fdbased.Options{
		FDs:                []int{fd},
		MTU:                mtu,
		PacketDispatchMode: fdbased.Readv, // the others need a socket
	})
	if err != nil {
		return nil, err
	}
	return newStock(link)
}

func openStockOffload() (server, error) {
	link, err := openOurTUN(tun.OffloadOn)
	if err != nil {
		return nil, err
	}
	return newStock(link)
}

func newStock(link gstack.LinkEndpoint) (server, error) {
	const nic = 1
	s := gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{tcp.NewProtocol},
	})
	sack := tcpip.TCPSACKEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	address := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(serverAddr.As4()).WithPrefix(),
	}
	for _, err := range []tcpip.Error{
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate),
		s.CreateNIC(nic, link),
		s.AddProtocolAddress(nic, address, gstack.AddressProperties{}),
	} {
		if err != nil {
			return nil, fmt.Errorf("netstack: %s", err)
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	return stockServer{s}, nil
}

func (s stockServer) listen(backlog int) (net.Listener, error) {
	wq := new(waiter.Queue)
	ep, err := s.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if err != nil {
		return nil, fmt.Errorf("netstack: new endpoint: %s", err)
	}
	if err := ep.Bind(tcpip.FullAddress{Addr: tcpip.AddrFrom4(serverAddr.As4()), Port: serverPort}); err != nil {
		return nil, fmt.Errorf("netstack: bind: %s", err)
	}
	if err := ep.Listen(backlog); err != nil {
		return nil, fmt.Errorf("netstack: listen: %s", err)
	}
	return gonet.NewTCPListener(s.stack, wq, ep), nil
}

// openPlainTUN makes a TUN device without offload, with the client's address
// on the kernel's side, and returns its descriptor.
func openPlainTUN() (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	if err := configurePlainTUN(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func configurePlainTUN(fd int) error {
	ifr, err := unix.NewIfreq("bench%d")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return os.NewSyscallError("ioctl TUNSETIFF", err)
	}
	link, err := netlink.LinkByName(ifr.Name())
	if err != nil {
		return err
	}
	address := &net.IPNet{IP: clientNet.Addr().AsSlice(), Mask: net.CIDRMask(clientNet.Bits(), 32)}
	return errors.Join(
		netlink.LinkSetMTU(link, mtu),
		netlink.LinkSetTxQLen(link, tunQueueLen),
		netlink.AddrAdd(link, &netlink.Addr{IPNet: address}),
		netlink.LinkSetUp(link),
	)
}
