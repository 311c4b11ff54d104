//go:build linux

package main

import (
	"net"
	"net/netip"
)

// The addresses of a trial. The client is always a kernel.
var (
	clientAddr = netip.MustParseAddr("192.0.2.1")
	serverAddr = netip.MustParseAddr("192.0.2.2")
	clientNet  = netip.PrefixFrom(clientAddr, 24)

	// clientPool are more addresses of the client (RFC 2544 benchmarking).
	clientPool = netip.MustParsePrefix("198.18.0.0/16")

	// spoofPool belongs to nobody: the client forges SYNs from there, and
	// what is sent there vanishes without an answer.
	spoofPool = netip.MustParsePrefix("198.19.0.0/16")
)

const (
	serverPort = 80

	mtu = 1500

	// tunQueueLen is the transmit queue of every TUN in packets, ulisten's
	// default, so that no contestant loses what another would keep.
	tunQueueLen = 4096

	// hugeBacklog is more than any measurement fills.
	hugeBacklog = 1 << 18
)

// network is what lies between client and server.
type network int

const (
	// overVeth: client and server are kernels in two namespaces.
	overVeth network = iota
	// overTUN: the server process opens a TUN in the namespace of the client.
	overTUN
)

// contestant is a TCP stack that takes part.
type contestant struct {
	name    string
	about   string
	network network

	// program plays the server under the name plays, where that is not this
	// program under the contestant's own: see against.
	program, plays string

	// open brings up the stack in the server process, answering to
	// serverAddr. It lives until the process ends.
	open func() (server, error)
}

func (c contestant) label() string { return c.name }

// role is the name that the contestant's program knows it by.
func (c contestant) role() string {
	if c.plays != "" {
		return c.plays
	}
	return c.name
}

// server is what a contestant has to offer.
type server interface {
	// listen opens a listening socket on serverPort with an exact backlog.
	listen(backlog int) (net.Listener, error)
}

// halfOpenCounter is a listener that tells how many half-open requests it
// holds.
type halfOpenCounter interface{ halfOpen() int }

// contestants are all there are; some only take part when asked for.
var contestants = []contestant{
	{
		name:    "kernel",
		about:   "Linux over a veth pair",
		network: overVeth,
		open:    openKernel,
	},
	{
		name:    "stock",
		about:   "gVisor netstack, fdbased link, plain TUN",
		network: overTUN,
		open:    openStock,
	},
	{
		name:    "ulisten",
		about:   "ulisten over a TUN with offload",
		network: overTUN,
		open:    openUlisten,
	},
	{
		name:    "ulisten-plain",
		about:   "ulisten over a plain TUN",
		network: overTUN,
		open:    openUlistenPlain,
	},
	{
		name:    "sockets",
		about:   "ulisten's Go view of its sockets, TUN with offload",
		network: overTUN,
		open:    openGoView,
	},
	{
		name:    "descriptors",
		about:   "ulisten's descriptors and calls, TUN with offload",
		network: overTUN,
		open:    openDescriptors,
	},
	{
		// Tells how much of a gain is due to the link.
		name:    "stock-offload",
		about:   "gVisor netstack, ulisten's link, TUN with offload",
		network: overTUN,
		open:    openStockOffload,
	},
}

var defaultContestants = []string{"kernel", "stock", "ulisten", "ulisten-plain"}
