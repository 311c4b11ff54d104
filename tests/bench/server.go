//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/log"
)

// service is what a server does with its connections.
type service string

const (
	serveSink   service = "sink"   // read all, count bytes
	serveSource service = "source" // write without end, count bytes
	serveEcho   service = "echo"   // send back, count messages
	serveGreet  service = "greet"  // write one byte, wait for the end, count connections
	serveNone   service = "none"   // never accept
)

// serverPlayer is the server process of a trial.
type serverPlayer struct {
	assignment
	listener net.Listener
	counter  atomic.Uint64
}

func (p *serverPlayer) count() uint64 { return p.counter.Load() }

func (p *serverPlayer) halfOpen() int {
	if l, ok := p.listener.(halfOpenCounter); ok {
		return l.halfOpen()
	}
	return -1
}

func (p *serverPlayer) inject(int, bool) (injection, error) { return injection{}, errNotMine }

func (p *serverPlayer) start() error {
	i := slices.IndexFunc(contestants, func(c contestant) bool { return c.name == p.Contestant })
	if i < 0 {
		return fmt.Errorf("no contestant %q", p.Contestant)
	}
	// netstack's remarks on odd packets would end up in the table.
	log.SetTarget(log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}})
	s, err := contestants[i].open()
	if err != nil {
		return err
	}
	if p.listener, err = s.listen(p.Backlog); err != nil {
		return err
	}
	handlers := map[service]func(net.Conn){
		serveSink:   p.sink,
		serveSource: p.source,
		serveEcho:   p.echo,
		serveGreet:  p.greet,
	}
	handle, ok := handlers[p.Service]
	if !ok {
		return nil // serveNone: let them queue
	}
	go func() {
		for {
			c, err := p.listener.Accept()
			if err != nil {
				panic(fmt.Sprintf("accept: %v", err)) // the trial is void
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return nil
}

// The handlers end when the client ends the connection; how it does so is no
// concern of theirs.

const bulkBuffer = 256 << 10 // bytes per call, for every contestant and the client

func (p *serverPlayer) sink(c net.Conn) {
	buf := make([]byte, bulkBuffer)
	for {
		n, err := c.Read(buf)
		p.counter.Add(uint64(n))
		if err != nil {
			return
		}
	}
}

func (p *serverPlayer) source(c net.Conn) {
	buf := make([]byte, bulkBuffer)
	for {
		n, err := c.Write(buf)
		p.counter.Add(uint64(n))
		if err != nil {
			return
		}
	}
}

func (p *serverPlayer) echo(c net.Conn) {
	buf := make([]byte, echoSize)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
		p.counter.Add(1)
	}
}

func (p *serverPlayer) greet(c net.Conn) {
	var buf [1]byte
	if _, err := c.Write(buf[:]); err != nil {
		return
	}
	p.counter.Add(1)
	// Returns when the client has closed or reset the connection.
	_, _ = c.Read(buf[:])
}
