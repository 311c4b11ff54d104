//go:build linux

package socket

import "gvisor.dev/gvisor/pkg/waiter"

// waiters is a waiter.Queue for a waiter.Waitable to embed.
type waiters struct{ waiter.Queue }

// EventRegister implements waiter.Waitable.
func (w *waiters) EventRegister(e *waiter.Entry) error {
	w.Queue.EventRegister(e)
	return nil
}
