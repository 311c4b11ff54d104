//go:build linux

package main

import (
	"net"
	"net/netip"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// ulistenServer is this project: stack over tun.
type ulistenServer struct {
	stack *stack.Stack
}

func openUlisten() (server, error) { return openUlistenOver(tun.OffloadOn) }

func openUlistenPlain() (server, error) { return openUlistenOver(tun.OffloadOff) }

func openUlistenOver(offload tun.Offload) (server, error) {
	link, err := openOurTUN(offload)
	if err != nil {
		return nil, err
	}
	// Backlogs shall be what the measurement says, and requests be kept.
	sysctls := listenq.DefaultSysctls()
	sysctls.Somaxconn = hugeBacklog
	sysctls.MaxSYNBacklog = hugeBacklog
	sysctls.Syncookies = 0
	s, err := stack.New(stack.Config{
		Link:      link,
		Addresses: []netip.Prefix{netip.PrefixFrom(serverAddr, clientNet.Bits())},
		Sysctls:   &sysctls,
	})
	if err != nil {
		return nil, err
	}
	return ulistenServer{s}, nil
}

func openOurTUN(offload tun.Offload) (*tun.Link, error) {
	return tun.Open(tun.Config{
		MTU:           mtu,
		TxQueueLen:    tunQueueLen,
		Offload:       offload,
		HostAddresses: []netip.Prefix{clientNet},
	})
}

func (s ulistenServer) listen(backlog int) (net.Listener, error) {
	l, err := s.stack.Listen("tcp4", serverPoint.String(), backlog, nil)
	if err != nil {
		return nil, err
	}
	return ulistenListener{l}, nil
}

type ulistenListener struct{ *stack.Listener }

func (l ulistenListener) halfOpen() int { return l.Stats().SYNQueue }
