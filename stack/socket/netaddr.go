//go:build linux

package socket

import (
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// An endpointName is what a network and an address of package net come to: the
// kind of socket, and what it is bound or connected to.
type endpointName struct {
	domain, typ int
	v6Only      bool
	inet        netip.AddrPort
	path        string
	unnamed     bool
}

// resolve turns a network and an address into what to bind or connect to. Names of
// hosts and services are not looked up; an empty host stands for all addresses.
func resolve(network, address string) (endpointName, error) {
	switch network {
	case "unix":
		return endpointName{domain: unix.AF_UNIX, typ: unix.SOCK_STREAM, path: address, unnamed: address == ""}, nil
	case "unixpacket":
		return endpointName{domain: unix.AF_UNIX, typ: unix.SOCK_SEQPACKET, path: address, unnamed: address == ""}, nil
	case "unixgram":
		return endpointName{domain: unix.AF_UNIX, typ: unix.SOCK_DGRAM, path: address, unnamed: address == ""}, nil
	}
	n := endpointName{domain: unix.AF_INET6, typ: unix.SOCK_STREAM}
	version, ok := strings.CutPrefix(network, "tcp")
	if !ok {
		version, ok = strings.CutPrefix(network, "udp")
		n.typ = unix.SOCK_DGRAM
	}
	if !ok || version != "" && version != "4" && version != "6" {
		return n, net.UnknownNetworkError(network)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return n, err
	}
	if host == "" {
		host = "::"
		if version == "4" {
			host = "0.0.0.0"
		}
	}
	if n.inet, err = netip.ParseAddrPort(net.JoinHostPort(host, port)); err != nil {
		return n, &net.AddrError{Err: "need a numeric address and port", Addr: address}
	}
	n.inet = netip.AddrPortFrom(n.inet.Addr().Unmap(), n.inet.Port())
	v4 := n.inet.Addr().Is4()
	if version == "4" && !v4 || version == "6" && v4 {
		return n, &net.AddrError{Err: "address of the wrong family for " + network, Addr: address}
	}
	if v4 {
		n.domain = unix.AF_INET
	}
	n.v6Only = version == "6"
	return n, nil
}

// sockaddr is the name for the calls of a Process; nil for no name.
func (n *endpointName) sockaddr() unix.Sockaddr {
	switch {
	case n.domain != unix.AF_UNIX:
		return sockaddrOf(n.domain, n.inet)
	case n.unnamed:
		return nil
	}
	return &unix.SockaddrUnix{Name: n.path}
}

// addr is the name as package net has it.
func (n *endpointName) addr(network string) net.Addr {
	switch {
	case n.domain == unix.AF_UNIX:
		return &net.UnixAddr{Name: n.path, Net: network}
	case n.typ == unix.SOCK_STREAM:
		return net.TCPAddrFromAddrPort(n.inet)
	}
	return net.UDPAddrFromAddrPort(n.inet)
}

// addrOf is an address that a call has returned as package net has it; nil stays
// nil.
func addrOf(network string, a unix.Sockaddr) net.Addr {
	var inet netip.AddrPort
	switch a := a.(type) {
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: a.Name, Net: network}
	case *unix.SockaddrInet4:
		inet = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		inet = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	default:
		return nil
	}
	if strings.HasPrefix(network, "tcp") {
		return net.TCPAddrFromAddrPort(inet)
	}
	return net.UDPAddrFromAddrPort(inet)
}
