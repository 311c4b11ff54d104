package stack

import (
	"net"
	"os"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// What SetKeepAliveConfig makes of zero, as package net does.
const (
	defaultKeepAlive      = 15 * time.Second
	defaultKeepAliveCount = 9
)

// SetLinger sets what Close does with data that is not sent yet: sec < 0, the
// default, sends it in the background; 0 discards it and sends RST; netstack
// treats other values like the default.
func (c *Conn) SetLinger(sec int) error {
	return c.setOption(func() tcpip.Error {
		c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: sec >= 0, Timeout: time.Duration(sec) * time.Second})
		return nil
	})
}

// SetNoDelay switches Nagle's algorithm off, which is the default, or on.
func (c *Conn) SetNoDelay(on bool) error {
	return c.setOption(func() tcpip.Error {
		c.ep.SocketOptions().SetDelayOption(!on)
		return nil
	})
}

// SetKeepAlive says whether a peer that is silent is probed (SO_KEEPALIVE); at
// first it is not.
func (c *Conn) SetKeepAlive(on bool) error {
	return c.setOption(func() tcpip.Error {
		c.ep.SocketOptions().SetKeepAlive(on)
		return nil
	})
}

// SetKeepAlivePeriod sets the time before the first probe and that between probes;
// 0 stands for 15 s.
func (c *Conn) SetKeepAlivePeriod(d time.Duration) error {
	return c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: c.ep.SocketOptions().GetKeepAlive(), Idle: d, Interval: d, Count: -1,
	})
}

// SetKeepAliveConfig sets how a silent peer is probed. As in package net, zero
// stands for 15 s and 9 probes, and what is negative stays as it is.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.setOption(func() tcpip.Error {
		for _, o := range []struct {
			d   time.Duration
			set func(time.Duration) tcpip.Error
		}{
			{config.Idle, func(d time.Duration) tcpip.Error {
				v := tcpip.KeepaliveIdleOption(d)
				return c.ep.SetSockOpt(&v)
			}},
			{config.Interval, func(d time.Duration) tcpip.Error {
				v := tcpip.KeepaliveIntervalOption(d)
				return c.ep.SetSockOpt(&v)
			}},
		} {
			if o.d == 0 {
				o.d = defaultKeepAlive
			}
			if o.d > 0 {
				if err := o.set(o.d); err != nil {
					return err
				}
			}
		}
		count := config.Count
		if count == 0 {
			count = defaultKeepAliveCount
		}
		if count > 0 {
			if err := c.ep.SetSockOptInt(tcpip.KeepaliveCountOption, count); err != nil {
				return err
			}
		}
		c.ep.SocketOptions().SetKeepAlive(config.Enable)
		return nil
	})
}

// SetReadBuffer sets the size of the receive buffer (SO_RCVBUF), which Linux
// doubles.
func (c *Conn) SetReadBuffer(bytes int) error {
	return c.setOption(func() tcpip.Error {
		SetReceiveBuffer(c.ep, 2*int64(bytes))
		return nil
	})
}

// SetWriteBuffer sets the size of the send buffer (SO_SNDBUF), which Linux
// doubles.
func (c *Conn) SetWriteBuffer(bytes int) error {
	return c.setOption(func() tcpip.Error {
		c.ep.SocketOptions().SetSendBufferSize(2*int64(bytes), true)
		return nil
	})
}

// setOption changes an option of a connection that is not closed.
func (c *Conn) setOption(set func() tcpip.Error) error {
	fail := func(err error) error { return &net.OpError{Op: "set", Net: "tcp", Addr: c.local, Err: err} }
	select {
	case <-c.closed:
		return fail(net.ErrClosed)
	default:
	}
	if err := set(); err != nil {
		return fail(os.NewSyscallError("setsockopt", Errno(err)))
	}
	return nil
}

// SyscallConn implements syscall.Conn and always fails: there is no descriptor of
// the host's kernel behind the connection.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	return nil, c.opError("raw-control", syscall.EOPNOTSUPP)
}
