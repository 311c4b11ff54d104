//go:build linux

package syscalls

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/tun"
)

var _ Sockets = (*socket.Process)(nil)

// ourMachine is our sockets on a stack in virtual time, a new one for each
// script.
type ourMachine struct{}

// Play implements Machine.
func (ourMachine) Play(script Script, _ bool) ([]Observed, error) {
	clock := stack.NewVirtualClock()
	link, _ := tun.Pipe(tun.PipeConfig{Manual: true, MTU: 1500, QueueLen: 1}) // nobody is at its other end
	s, err := stack.New(stack.Config{
		Link:      link,
		Addresses: []netip.Prefix{address4, second4, address6, loopback4, loopback6},
		Random:    rand.NewChaCha8([32]byte{}),
		Clock:     clock,
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	p := socket.NewNamespace(s).Process(tableSize)
	observed, err := Play(newSide(p, func() { clock.Advance(moment) }, firstPort, 1), script)
	p.CloseAll()
	clock.Settle()
	return observed, err
}

// moment is how much time passes with each call: in a whole script less than the
// kernel waits for more after MSG_MORE.
const moment = time.Millisecond
