package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/tun"
)

// The addresses of both ends of a liveWire.
var (
	liveClientSide = netip.MustParsePrefix("192.0.2.1/24")
	liveServerSide = netip.MustParsePrefix("192.0.2.2/24")
)

const livePort = 80

// liveWire joins the network namespace of this process with a second one by a
// line that takes its time: a TUN device in each, and packets carried from one to
// the other. The kernel is on both ends.
type liveWire struct {
	listener *net.TCPListener
	ends     []*tun.Impaired
}

// openLiveWire makes the line and, at its far end, a listening socket.
func openLiveWire(roundTrip time.Duration, backlog int) (*liveWire, error) {
	near, err := openEnd(liveClientSide)
	if err != nil {
		return nil, err
	}
	var far *tun.Link
	var listener *net.TCPListener
	err = inSecondNamespace(func() (err error) {
		if far, err = openEnd(liveServerSide); err != nil {
			return err
		}
		listener, err = listenWith(liveServerSide.Addr(), backlog)
		return err
	})
	if err != nil {
		near.Close()
		if far != nil {
			far.Close()
		}
		return nil, err
	}
	half := tun.Impairment{Delay: roundTrip / 2}
	w := &liveWire{listener: listener, ends: []*tun.Impaired{tun.NewImpaired(near, half), tun.NewImpaired(far, half)}}
	w.ends[0].Attach(carrier{to: w.ends[1]})
	w.ends[1].Attach(carrier{to: w.ends[0]})
	return w, nil
}

// Close takes the line down.
func (w *liveWire) Close() {
	w.listener.Close()
	for _, end := range w.ends {
		end.Close()
	}
}

// openEnd makes a device that carries whole packets, as they are on a wire.
func openEnd(address netip.Prefix) (*tun.Link, error) {
	return tun.Open(tun.Config{HostAddresses: []netip.Prefix{address}, Offload: tun.OffloadOff})
}

// carrier passes what arrives at one end to the other.
type carrier struct{ to gstack.LinkWriter }

// DeliverNetworkPacket implements gstack.NetworkDispatcher.
func (c carrier) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer) {
	copied := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: pkt.ToBuffer()})
	defer copied.DecRef()
	var one gstack.PacketBufferList
	one.PushBack(copied)
	// A line that is being taken down loses packets.
	_, _ = c.to.WritePackets(one)
}

// DeliverLinkPacket implements gstack.NetworkDispatcher.
func (carrier) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *gstack.PacketBuffer) {}

// inSecondNamespace calls f in a new network namespace, which lives as long as
// the sockets and devices that f makes.
func inSecondNamespace(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("current network namespace: %w", err)
	}
	defer home.Close()
	second, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("second network namespace: %w", err)
	}
	defer second.Close()
	err = f()
	if back := netns.Set(home); back != nil {
		// The thread stays locked, so that it ends with its goroutine.
		return errors.Join(err, fmt.Errorf("back to the first network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// listenWith listens with a backlog, which package net does not let one choose.
func listenWith(address netip.Addr, backlog int) (*net.TCPListener, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, fmt.Errorf("server socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "server")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: livePort, Addr: address.As4()}); err != nil {
		return nil, fmt.Errorf("bind to %v: %w", address, err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, fmt.Errorf("listen(fd, %d): %w", backlog, err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("server socket: %w", err)
	}
	return l.(*net.TCPListener), nil
}
