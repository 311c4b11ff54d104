package stack

import (
	"bytes"
	"io"
	"strings"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// copySize is how much a copy moves at a time, in bytes.
const copySize = 64 << 10

var (
	_ io.ReaderFrom = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
)

var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// ReadFrom implements io.ReaderFrom: it writes what it reads from r until r ends.
// What is in memory (a bytes.Reader, bytes.Buffer or strings.Reader) goes straight
// to where it is sent from; other readers fill a buffer, since netstack has to
// know before it asks how much there is.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	switch r.(type) {
	case *bytes.Reader, *bytes.Buffer, *strings.Reader:
		c.writeMu.Lock()
		defer c.writeMu.Unlock()
		return c.writeAll(r.(tcpip.Payloader))
	}
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{r}, buf[:])
}

// WriteTo implements io.WriterTo: it reads until the end and writes to w. To
// another Conn data goes straight while it keeps coming.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	to, ok := w.(*Conn)
	if !ok {
		return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{c}, buf[:])
	}
	var total int64
	for {
		n, err := c.Read(buf[:]) // waits, and sees the end
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		written, err := to.Write(buf[:n])
		total += int64(written)
		if err != nil {
			return total, err
		}
		moved, err := c.moveTo(to)
		total += moved
		if err != nil {
			return total, err
		}
	}
}

// moveTo writes what has arrived to another connection.
func (c *Conn) moveTo(to *Conn) (int64, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	to.writeMu.Lock()
	defer to.writeMu.Unlock()
	p := arrived{c: c}
	total, err := to.writeAll(&p)
	if p.err != nil {
		return total, c.streamError("read", p.err)
	}
	return total, err
}

// arrived is what a connection has in its receive queue as something to write.
// The connection's readMu is held, so it does not get less.
type arrived struct {
	c   *Conn
	err tcpip.Error
}

// Len implements tcpip.Payloader.
func (a *arrived) Len() int {
	n, err := a.c.ep.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
	if err != nil || a.err != nil {
		return 0
	}
	return n
}

// Read implements tcpip.Payloader.
func (a *arrived) Read(b []byte) (int, error) {
	if len(b) == 0 { // netstack asks for an end this way
		return 0, nil
	}
	w := tcpip.SliceWriter(b)
	n, err := a.c.e.Read(&w, tcpip.ReadOptions{})
	if err != nil {
		a.err = err
		return 0, io.ErrUnexpectedEOF // the connection was reset meanwhile
	}
	return n, nil
}
