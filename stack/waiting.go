package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// waitingBuffer is the receive buffer, in bytes, of a connection that no program has
// accepted, unless SO_RCVBUF of its listener says otherwise: Linux's default
// (net.ipv4.tcp_rmem), which grows only when something is read. It holds twice what a
// SYN-ACK offers.
const waitingBuffer = 131072

// admit gives a connection that a program has accepted the receive buffer that
// netstack begins with.
func (e *Endpoint) admit() {
	g := guardOf(e.ep)
	g.mu.Lock()
	waits := g.waits
	g.waits = false
	g.mu.Unlock()
	var size tcpip.TCPReceiveBufferSizeRangeOption
	if !waits || e.s.g.TransportProtocolOption(header.TCPProtocolNumber, &size) != nil {
		return
	}
	if size.Default > waitingBuffer {
		e.ep.SocketOptions().SetReceiveBufferSize(int64(size.Default), false)
	}
}
