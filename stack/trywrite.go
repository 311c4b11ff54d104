package stack

import (
	"bytes"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// TryWrite is Write that never waits (send(2) with MSG_DONTWAIT): it may take a
// part of b, and its error carries EAGAIN if the send buffer takes nothing.
func (c *Conn) TryWrite(b []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.check("write", &c.writeDeadline); err != nil {
		return 0, err
	}
	n, err := c.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{})
	if err != nil {
		return int(n), c.streamError("write", err)
	}
	return int(n), nil
}
