//go:build linux

package socket

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Each call that waits on a TCP or UDP socket ends with EBADF when its descriptor
// is closed; poll and select say so in their own way.
func TestCloseEndsWhatWaits(t *testing.T) {
	// deaf is a socket whose send buffer is full.
	deaf := func(t *testing.T, p *Process) int {
		l, addr := listening(t, p, 5)
		c := tcp4(t, p)
		require.NoError(t, p.Connect(c, addr))
		_, _, err := p.Accept4(l, 0)
		require.NoError(t, err)
		for err == nil {
			_, err = p.Send(c, make([]byte, 1<<20), unix.MSG_DONTWAIT)
		}
		require.Equal(t, unix.EAGAIN, err)
		return c
	}
	quiet := func(t *testing.T, p *Process) int {
		l, addr := listening(t, p, 5)
		c := tcp4(t, p)
		require.NoError(t, p.Connect(c, addr))
		_, _, err := p.Accept4(l, 0)
		require.NoError(t, err)
		return c
	}
	udp := func(t *testing.T, p *Process) int {
		fd, err := p.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		require.NoError(t, err)
		return fd
	}
	one := make([]byte, 1)
	receive := func(p *Process, fd int) error { _, err := p.Read(fd, one); return err }
	receiveMessage := func(p *Process, fd int) error { _, _, _, _, err := p.Recvmsg(fd, [][]byte{one}, nil, 0); return err }
	poll := func(p *Process, fd int) error {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := p.Poll(fds, -1)
		if n == 1 && fds[0].Revents == unix.POLLNVAL {
			return unix.EBADF
		}
		return err
	}
	for _, tc := range []struct {
		name string
		open func(*testing.T, *Process) int
		call func(*Process, int) error
	}{
		{"accept", func(t *testing.T, p *Process) int { l, _ := listening(t, p, 5); return l },
			func(p *Process, fd int) error { _, _, err := p.Accept4(fd, 0); return err }},
		{"connect", func(t *testing.T, p *Process) int { return tcp4(t, p) }, func(p *Process, fd int) error {
			return p.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 99}, Port: 1})
		}},
		{"read", quiet, receive},
		{"read all", quiet, func(p *Process, fd int) error { _, err := p.Recv(fd, make([]byte, 9), unix.MSG_WAITALL); return err }},
		{"recvmsg", quiet, receiveMessage},
		{"write", deaf, func(p *Process, fd int) (err error) {
			for err == nil { // what the peer has room for is written first
				_, err = p.Write(fd, make([]byte, 1<<20))
			}
			return err
		}},
		{"poll", quiet, poll},
		{"select", quiet, func(p *Process, fd int) error {
			var r unix.FdSet
			r.Set(fd)
			_, err := p.Select(fd+1, &r, nil, nil, nil)
			return err
		}},
		{"epoll_wait", func(t *testing.T, p *Process) int {
			ep, err := p.EpollCreate1(0)
			require.NoError(t, err)
			return ep
		}, func(p *Process, fd int) error { _, err := p.EpollWait(fd, make([]unix.EpollEvent, 1), -1); return err }},
		{"read udp", udp, receive},
		{"recvmsg udp", udp, receiveMessage},
		{"poll udp", udp, poll},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := tcpProcess(t)
			fd := tc.open(t, p)
			result := make(chan error, 1)
			go func() { result <- tc.call(p, fd) }()
			time.Sleep(20 * time.Millisecond) // nearly always enough to be waiting; the result is the same if not
			require.NoError(t, p.Close(fd))
			select {
			case err := <-result:
				require.Equal(t, unix.EBADF, err)
			case <-time.After(10 * time.Second):
				t.Fatal("it still waits")
			}
		})
	}
}
