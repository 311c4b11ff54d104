//go:build linux

package socket

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func (b *bubble) epoll() int {
	fd, err := b.EpollCreate1(0)
	require.NoError(b.t, err)
	return fd
}

func (b *bubble) watch(ep, fd int, events uint32) {
	require.NoError(b.t, b.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// A waiting is one of the three calls, for one descriptor to become readable.
type waiting struct {
	name string
	// call returns how many are ready.
	call func(b *bubble, fd int, timeout time.Duration) (int, error)
	// closed is what it returns when the descriptor is closed.
	closed func(t *testing.T, n int, err error)
}

var waitings = []waiting{
	{"poll", func(b *bubble, fd int, timeout time.Duration) (int, error) {
		fds := []unix.PollFd{{Fd: -1}, {Fd: int32(fd), Events: unix.POLLIN}}
		n, err := b.Poll(fds, int(timeout/time.Millisecond))
		if n == 1 && fds[1].Revents == unix.POLLNVAL {
			n = -1
		}
		return n, err
	}, func(t *testing.T, n int, err error) {
		require.NoError(t, err)
		require.Equal(t, -1, n, "POLLNVAL")
	}},
	{"select", func(b *bubble, fd int, timeout time.Duration) (int, error) {
		var r unix.FdSet
		r.Set(fd)
		if timeout < 0 {
			return b.Select(fd+1, &r, nil, nil, nil)
		}
		tv := unix.NsecToTimeval(int64(timeout))
		start := time.Now()
		n, err := b.Select(fd+1, &r, nil, nil, &tv)
		require.Equal(b.t, timeout-time.Since(start), time.Duration(tv.Nano()), "what is left")
		return n, err
	}, func(t *testing.T, n int, err error) {
		require.Equal(t, unix.EBADF, err)
	}},
	{"epoll", func(b *bubble, fd int, timeout time.Duration) (int, error) {
		ep := b.epoll()
		b.watch(ep, fd, unix.EPOLLIN)
		return b.EpollWait(ep, make([]unix.EpollEvent, 3), int(timeout/time.Millisecond))
	}, nil}, // a file that is closed is watched no more, and nothing ends the wait
}

func TestPollingWaits(t *testing.T) {
	for _, w := range waitings {
		inBubble(t, w.name, func(b *bubble) {
			fd, peer := b.pair(stream)
			start := time.Now()
			n, err := w.call(b, fd, 250*time.Millisecond)
			require.NoError(b.t, err)
			require.Zero(b.t, n)
			require.Equal(b.t, 250*time.Millisecond, time.Since(start))

			go func() {
				time.Sleep(time.Second)
				b.Write(peer, []byte{1})
			}()
			n, err = w.call(b, fd, 3*time.Second)
			require.NoError(b.t, err)
			require.Equal(b.t, 1, n)
			require.Equal(b.t, 1250*time.Millisecond, time.Since(start))
			_, err = b.Read(fd, make([]byte, 1))
			require.NoError(b.t, err)

			f, err := b.file(fd)
			require.NoError(b.t, err)
			if w.closed != nil {
				require.Empty(b.t, f.watchers, "nothing stays behind")
				require.True(b.t, f.object.(*unixSocket).IsEmpty())
			}

			result := b.begin(func() error {
				n, err := w.call(b, fd, -time.Millisecond)
				require.Equal(b.t, 1, n)
				return err
			})
			require.NoError(b.t, b.Close(peer))
			b.ends(result, nil)
		})
		if w.closed == nil {
			continue
		}
		inBubble(t, w.name+", closed", func(b *bubble) {
			fd, _ := b.pair(stream)
			dup, err := b.Dup(fd)
			require.NoError(b.t, err)
			var n int
			result := b.begin(func() (err error) {
				n, err = w.call(b, fd, -time.Millisecond)
				return err
			})
			require.NoError(b.t, b.Close(fd))
			synctest.Wait()
			require.Empty(b.t, result, "there is another descriptor")
			require.NoError(b.t, b.Close(dup))
			w.closed(b.t, n, <-result)
		})
	}
}

// Closing an instance ends the wait for it, and its items go.
func TestEpollClosedWhileWaiting(t *testing.T) {
	inBubble(t, "", func(b *bubble) {
		fd, _ := b.pair(stream)
		ep := b.epoll()
		b.watch(ep, fd, unix.EPOLLIN)
		result := b.begin(func() error {
			_, err := b.EpollWait(ep, make([]unix.EpollEvent, 1), -1)
			return err
		})
		f, err := b.file(fd)
		require.NoError(b.t, err)
		require.Len(b.t, f.watchers, 1)
		require.NoError(b.t, b.Close(ep))
		b.ends(result, unix.EBADF)
		require.Empty(b.t, f.watchers)
		require.True(b.t, f.object.(*unixSocket).IsEmpty())
	})
}

// An event that was under way when its item was removed does nothing.
func TestEpollLateEvent(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	fd, _ := b.pair(stream)
	instance := b.epoll()
	b.watch(instance, fd, unix.EPOLLOUT)
	target, err := p.file(fd)
	require.NoError(t, err)
	f, err := p.file(instance)
	require.NoError(t, err)
	ep := f.object.(*epoll)
	item := ep.items[epollKey{target, fd}]
	require.NoError(t, p.EpollCtl(instance, unix.EPOLL_CTL_DEL, fd, nil))
	item.NotifyEvent(unixWritable)
	require.Zero(t, ep.ready.len)
}

// A mixed set: a unix socket, a datagram socket, another instance.
func TestEpollMixed(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	a, a2 := b.pair(seqpacket)
	udp, err := p.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	require.NoError(t, err)
	require.NoError(t, p.Bind(udp, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}}))
	self, err := p.Getsockname(udp)
	require.NoError(t, err)
	inner, outer := b.epoll(), b.epoll()
	b.watch(inner, a, unix.EPOLLIN)
	b.watch(outer, inner, unix.EPOLLIN)
	b.watch(outer, udp, unix.EPOLLIN|unix.EPOLLET)
	_, err = p.Sendto(udp, []byte("to myself"), 0, self)
	require.NoError(t, err)
	_, err = p.Write(a2, []byte("x"))
	require.NoError(t, err)
	got := map[int32]uint32{}
	for len(got) < 2 {
		events := make([]unix.EpollEvent, 4)
		n, err := p.EpollWait(outer, events, 10_000)
		require.NoError(t, err)
		require.NotZero(t, n)
		for _, e := range events[:n] {
			got[e.Fd] |= e.Events
		}
	}
	require.Equal(t, map[int32]uint32{int32(inner): unix.EPOLLIN, int32(udp): unix.EPOLLIN}, got)
}

// Several take events of one instance: with edges and one-shot none is lost and none
// comes twice.
func TestEpollManyWaiters(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	const sockets, rounds = 20, 50
	ep := b.epoll()
	peers := make([]int, sockets)
	partner := map[int32]int{}
	for i := range peers {
		fd, peer := b.pair(stream)
		peers[i], partner[int32(fd)] = peer, peer
		b.watch(ep, fd, unix.EPOLLIN|unix.EPOLLET|unix.EPOLLONESHOT)
	}
	var waiters, writers sync.WaitGroup
	for range 4 {
		waiters.Go(func() {
			events := make([]unix.EpollEvent, 3)
			for {
				n, err := p.EpollWait(ep, events, -1)
				if err != nil {
					if err != unix.EBADF {
						t.Error(err)
					}
					return
				}
				for _, e := range events[:n] {
					var one [1]byte
					if _, err := p.Recv(int(e.Fd), one[:], unix.MSG_DONTWAIT); err != nil {
						t.Error(err)
					}
					e.Events = unix.EPOLLIN | unix.EPOLLET | unix.EPOLLONESHOT
					if err := p.EpollCtl(ep, unix.EPOLL_CTL_MOD, int(e.Fd), &e); err != nil {
						t.Error(err)
					}
					if _, err := p.Write(int(e.Fd), one[:]); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for _, peer := range peers {
		writers.Go(func() {
			for i := range byte(rounds) {
				one := []byte{i}
				if _, err := p.Write(peer, one); err != nil {
					t.Error(err)
				}
				if n, err := p.Read(peer, one); n != 1 || err != nil || one[0] != i {
					t.Error(n, err, one)
				}
			}
		})
	}
	writers.Wait()
	require.NoError(t, p.Close(ep))
	waiters.Wait()
}

// Adding, removing and closing while events come and others wait.
func TestEpollConcurrency(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	outer, inner := b.epoll(), b.epoll()
	stop, peer := b.pair(stream)
	b.watch(outer, stop, unix.EPOLLIN)
	var all, waiters sync.WaitGroup
	for range 2 {
		waiters.Go(func() {
			events := make([]unix.EpollEvent, 5)
			for {
				n, err := p.EpollWait(outer, events, -1)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range events[:n] {
					if int(e.Fd) == stop {
						return
					}
				}
				p.EpollWait(inner, events, 0)
			}
		})
	}
	for range 6 {
		all.Go(func() {
			for j := range 100 {
				fds, err := p.Socketpair(unix.AF_UNIX, stream, 0)
				if err != nil {
					t.Error(err)
					return
				}
				ep := []int{outer, inner}[j%2]
				event := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fds[0])}
				if err := p.EpollCtl(ep, unix.EPOLL_CTL_ADD, fds[0], event); err != nil {
					t.Error(err)
				}
				p.Write(fds[1], []byte{1})
				p.EpollCtl(outer, unix.EPOLL_CTL_ADD, inner, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(inner)})
				// A circle, unless another has just taken inner out of outer.
				if err := p.EpollCtl(inner, unix.EPOLL_CTL_ADD, outer, event); err == nil {
					p.EpollCtl(inner, unix.EPOLL_CTL_DEL, outer, nil)
				}
				if j%3 == 0 {
					p.EpollCtl(ep, unix.EPOLL_CTL_DEL, fds[0], nil)
				}
				if j%10 == 0 {
					p.EpollCtl(outer, unix.EPOLL_CTL_DEL, inner, nil)
				}
				p.Close(fds[0])
				p.Close(fds[1])
			}
		})
	}
	all.Wait()
	_, err := p.Write(peer, []byte{1})
	require.NoError(t, err)
	waiters.Wait()
	f, err := p.file(outer)
	require.NoError(t, err)
	require.LessOrEqual(t, len(f.object.(*epoll).items), 2, "stop and perhaps inner")
	f, err = p.file(inner)
	require.NoError(t, err)
	require.Empty(t, f.object.(*epoll).items)
}
