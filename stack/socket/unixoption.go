//go:build linux

package socket

import (
	"fmt"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// unixBufferMax is what SO_SNDBUF and SO_RCVBUF allow before they double it
// (net.core.wmem_max and rmem_max since Linux 6.18).
const unixBufferMax = 4 << 20

// A unixOptions is what setsockopt(2) changes of a unix socket.
type unixOptions struct {
	passCredentials atomic.Bool
	// embryo is set until the connection is accepted.
	embryo        atomic.Bool
	receiveBuffer atomic.Int64
	// flags holds options that only read back, by their number.
	flags atomic.Uint64
	// linger is struct linger, which only reads back.
	linger atomic.Pointer[unix.Linger]
}

// remembered are the options of SOL_SOCKET that change nothing for AF_UNIX and read
// back, as on Linux.
const remembered = 1<<unix.SO_REUSEADDR | 1<<unix.SO_DONTROUTE | 1<<unix.SO_BROADCAST | 1<<unix.SO_KEEPALIVE

// option answers for SOL_SOCKET and SOL_LISTENQ; other levels are EOPNOTSUPP, as
// AF_UNIX has no options of its own (do_sock_getsockopt).
func (s *unixSocket) option(level, name int) ([]byte, error) {
	switch level {
	case unix.SOL_SOCKET:
	case SOL_LISTENQ:
		return s.queueOption(name)
	default:
		return nil, unix.EOPNOTSUPP
	}
	o := &s.options
	switch name {
	case unix.SO_ERROR:
		errno := s.pending.Swap(0)
		return intOption(int(errno)), nil
	case unix.SO_ACCEPTCONN:
		return boolOption(s.is(unixListening)), nil
	case unix.SO_SNDBUF:
		return intOption(int(s.sendBuffer.Load())), nil
	case unix.SO_RCVBUF:
		return intOption(int(o.receiveBuffer.Load())), nil
	case unix.SO_PASSCRED:
		return boolOption(o.passCredentials.Load()), nil
	case unix.SO_PEERCRED:
		cred := s.peerCred.Load()
		if cred == nil {
			cred = &unix.Ucred{Uid: math.MaxUint32, Gid: math.MaxUint32}
		}
		return structOption(cred), nil
	case unix.SO_LINGER:
		l := o.linger.Load()
		if l == nil {
			l = new(unix.Linger)
		}
		return structOption(l), nil
	case unix.SO_REUSEPORT:
		return boolOption(false), nil
	}
	if name > 0 && name < 64 && remembered>>name&1 != 0 {
		return boolOption(o.flags.Load()>>name&1 != 0), nil
	}
	return nil, unix.ENOPROTOOPT
}

func (s *unixSocket) setOption(level, name int, value []byte) error {
	switch level {
	case unix.SOL_SOCKET:
	case SOL_LISTENQ:
		return s.setQueueOption(name, value)
	default:
		return unix.EOPNOTSUPP
	}
	v, err := intValue(value)
	if err != nil {
		return err
	}
	o := &s.options
	switch name {
	case unix.SO_SNDBUF:
		defer s.writeSpace()
		return bufferSize(value, unixBufferMax, func(v int) { s.sendBuffer.Store(int64(max(2*v, minSendBuffer))) })
	case unix.SO_RCVBUF: // what AF_UNIX queues is bounded by the sender's buffer alone
		return bufferSize(value, unixBufferMax, func(v int) { o.receiveBuffer.Store(int64(max(2*v, minReceiveBuffer))) })
	case unix.SO_PASSCRED:
		o.passCredentials.Store(v != 0)
	case unix.SO_REUSEPORT:
		if v != 0 {
			return unix.EOPNOTSUPP
		}
	case unix.SO_LINGER:
		l := new(unix.Linger)
		if err := structValue(l, value); err != nil {
			return err
		}
		if l.Onoff != 0 {
			l.Onoff = 1
		}
		o.linger.Store(l)
	default:
		if name <= 0 || name >= 64 || remembered>>name&1 == 0 {
			return unix.ENOPROTOOPT
		}
		if v != 0 {
			o.flags.Or(1 << name)
		} else {
			o.flags.And(^uint64(1 << name))
		}
	}
	return nil
}

// queueOption reads what SOL_LISTENQ has for unix sockets.
func (s *unixSocket) queueOption(name int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.acceptq
	switch {
	case name == LISTENQ_OVERFLOW:
		return []byte(s.overflow.String()), nil
	case name != LISTENQ_LIMIT && name != LISTENQ_WHY && name != LISTENQ_COUNTERS:
		return nil, unix.ENOPROTOOPT
	case !s.is(unixListening):
		return nil, unix.EINVAL
	case name == LISTENQ_LIMIT:
		return intOption(q.Limit()), nil
	case name == LISTENQ_COUNTERS:
		return counterLines(q.Counters()), nil
	}
	return fmt.Appendf(nil, "listen(%d)\nlimit %d, with net.core.somaxconn=%d\nholds %d connections\n",
		q.Backlog(), q.Limit(), s.somaxconn, q.Limit()+1), nil
}

func (s *unixSocket) setQueueOption(name int, value []byte) error {
	if name != LISTENQ_OVERFLOW {
		return unix.ENOPROTOOPT
	}
	s.mu.Lock()
	if err := s.overflow.UnmarshalText(value); err != nil {
		s.mu.Unlock()
		return unix.EINVAL
	}
	if s.acceptq != nil {
		s.acceptq.SetOverflow(s.overflow)
	}
	s.mu.Unlock()
	s.ns.waits.wake(s) // a call that waits may be refused now
	return nil
}
