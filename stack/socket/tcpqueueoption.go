//go:build linux

package socket

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/listenq"
)

func (t *tcpSocket) limitOption() ([]byte, error) {
	if !t.listens {
		return nil, unix.EINVAL
	}
	return intOption(t.listener.Stats().Limit), nil
}

func (t *tcpSocket) whyOption() ([]byte, error) {
	if !t.listens {
		return nil, unix.EINVAL
	}
	var b strings.Builder
	for _, step := range t.listener.Steps() {
		fmt.Fprintf(&b, "%s: %d\n", step.What, step.Value)
	}
	return []byte(b.String()), nil
}

func (t *tcpSocket) countersOption() ([]byte, error) {
	if !t.listens {
		return nil, unix.EINVAL
	}
	return counterLines(t.listener.Stats().Counters), nil
}

func (t *tcpSocket) overflowOption() ([]byte, error) { return []byte(t.options.overflow.String()), nil }

func (t *tcpSocket) setOverflow(value []byte) error {
	var o listenq.Overflow
	if err := o.UnmarshalText(value); err != nil {
		return unix.EINVAL
	}
	t.options.overflow = o
	if t.listener != nil {
		t.listener.SetOverflow(o)
	}
	return nil
}

func (t *tcpSocket) profileOption() ([]byte, error) {
	p := t.options.profile
	if p == nil {
		p = t.ns.stack.Profile()
	}
	return []byte(p.Name), nil
}

// setProfile fails with EINVAL for an unknown name, and for a socket that listens
// already.
func (t *tcpSocket) setProfile(value []byte) error {
	p, err := listenq.ProfileNamed(string(value))
	if err != nil || t.listener != nil {
		return unix.EINVAL
	}
	t.options.profile = p
	return nil
}
