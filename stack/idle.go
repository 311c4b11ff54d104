package stack

import (
	"sync"

	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// idle waits for netstack's workers. They cannot be asked any more once netstack is
// closed.
type idle struct {
	mu     sync.Mutex
	closed bool
}

// wait returns when the workers have dealt with all that was queued to them.
func (i *idle) wait(g *gstack.Stack) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return
	}
	g.Pause()
	g.Resume()
}

func (i *idle) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
}
