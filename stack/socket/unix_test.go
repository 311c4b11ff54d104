//go:build linux

package socket

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/ulisten/ulisten/stack"
)

// A bubble is a process whose time is that of a synctest bubble.
type bubble struct {
	*Process
	t *testing.T
}

// inBubble runs a test in a bubble. The stack, which unix sockets only ask for
// somaxconn, stays outside.
func inBubble(t *testing.T, name string, f func(b *bubble)) {
	s := newTestStack(t)
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(newBubble(t, s)) })
	})
}

func newBubble(t *testing.T, s *stack.Stack) *bubble {
	b := &bubble{(&Namespace{stack: s, clock: tcpip.NewStdClock()}).Process(100), t}
	t.Cleanup(b.CloseAll)
	return b
}

func (b *bubble) socket(typ int) int {
	fd, err := b.Socket(unix.AF_UNIX, typ, 0)
	require.NoError(b.t, err)
	return fd
}

func (b *bubble) pair(typ int) (int, int) {
	fds, err := b.Socketpair(unix.AF_UNIX, typ, 0)
	require.NoError(b.t, err)
	return fds[0], fds[1]
}

// named is a socket with a name.
func (b *bubble) named(typ int, name string) int {
	fd := b.socket(typ)
	require.NoError(b.t, b.Bind(fd, &unix.SockaddrUnix{Name: name}))
	return fd
}

// listener is a listening socket with the name "@l".
func (b *bubble) listener(typ, backlog int) int {
	fd := b.named(typ, "@l")
	require.NoError(b.t, b.Listen(fd, backlog))
	return fd
}

func (b *bubble) connectTo(fd int, name string) error {
	return b.Connect(fd, &unix.SockaddrUnix{Name: name})
}

// fill sends until there is no room.
func (b *bubble) fill(fd int) {
	for {
		if _, err := b.Send(fd, make([]byte, 1000), unix.MSG_DONTWAIT); err != nil {
			require.Equal(b.t, unix.EAGAIN, err)
			return
		}
	}
}

// begin makes a call that must wait; the result comes over the channel.
func (b *bubble) begin(call func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- call() }()
	synctest.Wait()
	require.Empty(b.t, result, "the call waits")
	return result
}

// ends says that a call ends now, with what error.
func (b *bubble) ends(result <-chan error, want error) {
	b.t.Helper()
	synctest.Wait()
	require.Len(b.t, result, 1, "the call has ended")
	require.Equal(b.t, want, <-result)
}

// noWaiters says that no socket waits for another.
func (b *bubble) noWaiters() {
	for fd := range b.table {
		if f, err := b.file(fd); err == nil {
			s := f.object.(*unixSocket)
			require.Zero(b.t, s.waitlist.waiting.Len())
			require.Empty(b.t, s.waitlist.targets)
			require.Zero(b.t, s.waitlist.count.Load())
		}
	}
}

// A connect that finds the queue full waits until there is room.
func TestUnixConnectWaitsForRoom(t *testing.T) {
	for name, event := range map[string]struct {
		what func(b *bubble, listener int)
		want error
	}{
		"accept": {func(b *bubble, l int) {
			_, _, err := b.Accept4(l, 0)
			require.NoError(b.t, err)
		}, nil},
		"a larger backlog":    {func(b *bubble, l int) { require.NoError(b.t, b.Listen(l, 1)) }, nil},
		"the listener closed": {func(b *bubble, l int) { require.NoError(b.t, b.Close(l)) }, unix.ECONNREFUSED},
		"another rule": {func(b *bubble, l int) {
			require.NoError(b.t, b.Setsockopt(l, SOL_LISTENQ, LISTENQ_OVERFLOW, []byte("refuse")))
		}, unix.ECONNREFUSED},
	} {
		for _, typ := range []int{stream, seqpacket} {
			inBubble(t, name, func(b *bubble) {
				l := b.listener(typ, 0)
				require.NoError(b.t, b.connectTo(b.socket(typ), "@l"))
				late := b.socket(typ)
				result := b.begin(func() error { return b.connectTo(late, "@l") })
				event.what(b, l)
				b.ends(result, event.want)
				b.noWaiters()
			})
		}
	}
	inBubble(t, "SO_SNDTIMEO", func(b *bubble) {
		l := b.listener(stream, 0)
		require.NoError(b.t, b.connectTo(b.socket(stream), "@l"))
		late := b.socket(stream)
		tv := unix.NsecToTimeval(int64(3 * time.Second))
		require.NoError(b.t, b.Setsockopt(late, unix.SOL_SOCKET, unix.SO_SNDTIMEO, structOption(&tv)))
		start := time.Now()
		require.Equal(b.t, unix.EAGAIN, b.connectTo(late, "@l"))
		require.Equal(b.t, 3*time.Second, time.Since(start))
		_, _, err := b.Accept4(l, 0)
		require.NoError(b.t, err)
		require.NoError(b.t, b.connectTo(late, "@l"), "the socket can be used again")
	})
}

// Closing the last descriptor ends every call that waits on it.
func TestUnixCloseEndsWaiting(t *testing.T) {
	for _, typ := range []int{stream, dgram, seqpacket} {
		inBubble(t, "", func(b *bubble) {
			one := make([]byte, 1)
			var results []<-chan error
			var fds []int
			begin := func(fd int, call func() error) {
				results = append(results, b.begin(call))
				fds = append(fds, fd)
			}
			idle, _ := b.pair(typ)
			begin(idle, func() error { _, err := b.Read(idle, one); return err })
			peeking, _ := b.pair(typ)
			begin(peeking, func() error { _, _, err := b.Recvfrom(peeking, one, unix.MSG_PEEK); return err })
			full, _ := b.pair(typ)
			b.fill(full)
			begin(full, func() error { _, err := b.Write(full, one); return err })
			if typ == dgram {
				b.named(typ, "@r")
				sender := b.socket(typ)
				to := &unix.SockaddrUnix{Name: "@r"}
				for range datagramsMax + 1 {
					_, err := b.Sendto(sender, one, 0, to)
					require.NoError(b.t, err)
				}
				begin(sender, func() error { _, err := b.Sendto(sender, one, 0, to); return err })
			} else {
				l := b.listener(typ, 0)
				begin(l, func() error { _, _, err := b.Accept4(l, 0); return err })
				other := b.named(typ, "@other")
				require.NoError(b.t, b.Listen(other, 0))
				require.NoError(b.t, b.connectTo(b.socket(typ), "@other"))
				late := b.socket(typ)
				begin(late, func() error { return b.connectTo(late, "@other") })
			}
			for i, fd := range fds {
				require.NoError(b.t, b.Close(fd))
				b.ends(results[i], unix.EBADF)
			}
			b.noWaiters()
		})
	}
}

// What the peer does ends calls that wait, with what Linux says.
func TestUnixPeerEndsWaiting(t *testing.T) {
	read := func(b *bubble, fd int) error {
		n, err := b.Read(fd, make([]byte, 1))
		require.Zero(b.t, n)
		return err
	}
	write := func(b *bubble, fd int) error { _, err := b.Write(fd, make([]byte, 1)); return err }
	shut := func(how int) func(b *bubble, fd int) {
		return func(b *bubble, fd int) { require.NoError(b.t, b.Shutdown(fd, how)) }
	}
	closed := func(b *bubble, fd int) { require.NoError(b.t, b.Close(fd)) }
	for _, c := range []struct {
		name string
		typ  int
		call func(b *bubble, fd int) error
		full bool // the peer has not received something
		mine bool // the event is at the socket that waits
		what func(b *bubble, fd int)
		want error
	}{
		{"stream, peer closed", stream, read, false, false, closed, nil},
		{"seqpacket, peer closed", seqpacket, read, false, false, closed, nil},
		{"stream, peer shut down", stream, read, false, false, shut(unix.SHUT_WR), nil},
		{"seqpacket, peer shut down", seqpacket, read, false, false, shut(unix.SHUT_WR), nil},
		{"stream, shut down", stream, read, false, true, shut(unix.SHUT_RD), nil},
		{"stream, peer closed with data", stream, read, true, false, closed, unix.ECONNRESET},
		{"datagram, shut down", dgram, read, false, true, shut(unix.SHUT_RD), nil},
		{"stream, peer closed with data", stream, write, true, false, closed, unix.ECONNRESET},
		{"seqpacket, peer closed with data", seqpacket, write, true, false, closed, unix.ECONNRESET},
		{"datagram, peer closed", dgram, write, true, false, closed, unix.ECONNREFUSED},
		{"stream, peer reads no more", stream, write, true, false, shut(unix.SHUT_RD), unix.EPIPE},
		{"stream, shut down", stream, write, true, true, shut(unix.SHUT_WR), unix.EPIPE},
		{"seqpacket, shut down", seqpacket, write, true, true, shut(unix.SHUT_WR), unix.EPIPE},
		{"datagram, shut down", dgram, write, true, true, shut(unix.SHUT_WR), unix.EPIPE},
	} {
		inBubble(t, c.name, func(b *bubble) {
			fd, peer := b.pair(c.typ)
			if c.full {
				b.fill(fd)
			}
			result := b.begin(func() error { return c.call(b, fd) })
			if c.mine {
				peer = fd
			}
			c.what(b, peer)
			b.ends(result, c.want)
		})
	}
	inBubble(t, "accept, shut down", func(b *bubble) {
		l := b.listener(stream, 0)
		require.NoError(b.t, b.SetNonblock(l, true))
		_, _, err := b.Accept4(l, 0)
		require.Equal(b.t, unix.EAGAIN, err)
		require.NoError(b.t, b.SetNonblock(l, false))
		result := b.begin(func() error { _, _, err := b.Accept4(l, 0); return err })
		require.NoError(b.t, b.Shutdown(l, unix.SHUT_RD))
		b.ends(result, unix.EINVAL)
		require.NoError(b.t, b.SetNonblock(l, true))
		_, _, err = b.Accept4(l, 0)
		require.Equal(b.t, unix.EAGAIN, err, "and Linux says nothing else to a call that does not wait")
	})
}

// Senders wait for a receiver with a full queue, each for its own.
func TestUnixDatagramsWaitForRoom(t *testing.T) {
	inBubble(t, "", func(b *bubble) {
		one := []byte{1}
		sender := b.socket(dgram)
		send := func(name string) func() error {
			return func() error { _, err := b.Sendto(sender, one, 0, &unix.SockaddrUnix{Name: name}); return err }
		}
		receivers := []int{b.named(dgram, "@a"), b.named(dgram, "@b"), b.named(dgram, "@c")}
		for _, name := range []string{"@a", "@b", "@c"} {
			for range datagramsMax + 1 {
				require.NoError(b.t, send(name)())
			}
		}
		first, second, third := b.begin(send("@a")), b.begin(send("@b")), b.begin(send("@c"))
		more := b.begin(send("@a"))
		_, err := b.Read(receivers[1], one)
		require.NoError(b.t, err)
		b.ends(second, nil)
		require.Empty(b.t, first)
		_, err = b.Read(receivers[0], one)
		require.NoError(b.t, err)
		synctest.Wait()
		require.Equal(b.t, 1, len(first)+len(more), "room for one")
		require.NoError(b.t, b.Close(receivers[0]))
		synctest.Wait()
		require.ElementsMatch(b.t, []error{nil, unix.ECONNREFUSED}, []error{<-first, <-more})
		require.NoError(b.t, b.Shutdown(receivers[2], unix.SHUT_RD))
		_, err = b.Read(receivers[2], one)
		require.NoError(b.t, err)
		b.ends(third, unix.EPIPE)
		b.noWaiters()
	})
}

// A blocking write of a stream sends everything, in the pieces there is room for.
func TestUnixStreamWritesAll(t *testing.T) {
	inBubble(t, "", func(b *bubble) {
		w, r := b.pair(stream)
		data := make([]byte, 3_000_000)
		for i := range data {
			data[i] = byte(i * i >> 7)
		}
		result := b.begin(func() error {
			n, err := b.Write(w, data)
			require.Equal(b.t, len(data), n)
			return err
		})
		got := make([]byte, len(data))
		n, err := b.Recv(r, got, unix.MSG_WAITALL)
		require.NoError(b.t, err)
		require.Equal(b.t, len(data), n)
		require.Equal(b.t, data, got)
		b.ends(result, nil)
		left, err := b.Ioctl(w, unix.TIOCOUTQ)
		require.NoError(b.t, err)
		require.Zero(b.t, left)
	})
}

// What the listen queue tells about itself.
func TestUnixListenQueueOptions(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	l := b.named(stream, "@l")
	text := func(name int) string {
		v := make([]byte, 1000)
		n, err := p.Getsockopt(l, SOL_LISTENQ, name, v)
		require.NoError(t, err)
		return string(v[:n])
	}
	for _, name := range []int{LISTENQ_LIMIT, LISTENQ_WHY, LISTENQ_COUNTERS} {
		_, err := p.GetsockoptInt(l, SOL_LISTENQ, name)
		require.Equal(t, unix.EINVAL, err, "it does not listen")
		require.Equal(t, unix.ENOPROTOOPT, p.SetsockoptInt(l, SOL_LISTENQ, name, 1))
	}
	require.Equal(t, unix.EINVAL, p.Setsockopt(l, SOL_LISTENQ, LISTENQ_OVERFLOW, []byte("drop")))
	_, err := p.GetsockoptInt(l, SOL_LISTENQ, LISTENQ_PROFILE)
	require.Equal(t, unix.ENOPROTOOPT, err)
	require.NoError(t, p.Setsockopt(l, SOL_LISTENQ, LISTENQ_OVERFLOW, []byte("refuse")))
	require.Equal(t, "refuse", text(LISTENQ_OVERFLOW))

	require.NoError(t, p.Listen(l, 5000))
	require.Equal(t, "listen(5000)\nlimit 4096, with net.core.somaxconn=4096\nholds 4097 connections\n", text(LISTENQ_WHY))
	require.NoError(t, p.Listen(l, 0))
	require.NoError(t, b.connectTo(b.socket(stream), "@l"))
	require.Equal(t, unix.ECONNREFUSED, b.connectTo(b.socket(stream), "@l"))
	limit, err := p.GetsockoptInt(l, SOL_LISTENQ, LISTENQ_LIMIT)
	require.NoError(t, err)
	require.Zero(t, limit)
	counters := text(LISTENQ_COUNTERS)
	for _, line := range []string{"ListenOverflows=1\n", "ListenDrops=1\n", "PassiveOpens=1\n"} {
		require.Contains(t, counters, line)
	}

	require.NoError(t, p.ns.stack.SetSysctl("net.core.somaxconn", "3"))
	require.NoError(t, p.Listen(l, -1))
	limit, err = p.GetsockoptInt(l, SOL_LISTENQ, LISTENQ_LIMIT)
	require.NoError(t, err)
	require.Equal(t, 3, limit)
}

// A process shows the credentials that it was given.
func TestUnixCredentials(t *testing.T) {
	ns := NewNamespace(newTestStack(t))
	server, client := ns.Process(10), ns.Process(10)
	server.SetCredentials(unix.Ucred{Pid: 1, Uid: 10, Gid: 100})
	client.SetCredentials(unix.Ucred{Pid: 2, Uid: 20, Gid: 200})
	l := (&bubble{server, t}).listener(stream, 1)
	c := (&bubble{client, t}).socket(stream)
	require.NoError(t, client.Connect(c, &unix.SockaddrUnix{Name: "@l"}))
	s, _, err := server.Accept4(l, 0)
	require.NoError(t, err)
	peer := func(p *Process, fd int) (cred unix.Ucred) {
		v := make([]byte, unix.SizeofUcred)
		_, err := p.Getsockopt(fd, unix.SOL_SOCKET, unix.SO_PEERCRED, v)
		require.NoError(t, err)
		require.NoError(t, structValue(&cred, v))
		return cred
	}
	require.Equal(t, client.Credentials(), peer(server, s))
	require.Equal(t, server.Credentials(), peer(client, c))

	require.NoError(t, server.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	forged := unix.UnixCredentials(&unix.Ucred{Pid: 1})
	_, err = client.Sendmsg(c, [][]byte{{1}}, forged, nil, 0)
	require.Equal(t, unix.EPERM, err)
	_, err = client.Write(c, []byte{1})
	require.NoError(t, err)
	oob := make([]byte, 100)
	_, n, _, _, err := server.Recvmsg(s, [][]byte{{0}}, oob, 0)
	require.NoError(t, err)
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	require.NoError(t, err)
	got, err := unix.ParseUnixCredentials(&messages[0])
	require.NoError(t, err)
	require.Equal(t, client.Credentials(), *got)

	// A descriptor crosses from one table to the other.
	_, err = client.Sendmsg(c, [][]byte{{1}}, unix.UnixRights(c), nil, 0)
	require.NoError(t, err)
	_, n, _, _, err = server.Recvmsg(s, [][]byte{{0}}, oob, 0)
	require.NoError(t, err)
	messages, err = unix.ParseSocketControlMessage(oob[:n])
	require.NoError(t, err)
	fds, err := unix.ParseUnixRights(&messages[1])
	require.NoError(t, err)
	client.CloseAll()
	_, err = server.Write(fds[0], []byte("through the client's socket"))
	require.NoError(t, err)
	b := make([]byte, 50)
	size, err := server.Read(s, b)
	require.NoError(t, err)
	require.Equal(t, "through the client's socket", string(b[:size]))
	server.CloseAll()
	require.Zero(t, ns.filesUnderWay.Load())
}

// Files under way are bounded by what the sender may have open, since a socket that
// is sent to itself is never closed.
func TestUnixFilesUnderWayAreBounded(t *testing.T) {
	ns := NewNamespace(newTestStack(t))
	p := ns.Process(10)
	for i := range 100 {
		fds, err := p.Socketpair(unix.AF_UNIX, stream, 0)
		require.NoError(t, err)
		_, err = p.Sendmsg(fds[0], [][]byte{{1}}, unix.UnixRights(fds[0], fds[1]), nil, 0)
		if i < 5 {
			require.NoError(t, err)
		} else {
			require.Equal(t, unix.ETOOMANYREFS, err)
		}
		require.NoError(t, p.Close(fds[0]))
		require.NoError(t, p.Close(fds[1]))
	}
	require.Equal(t, int64(10), ns.filesUnderWay.Load())
}

// Names that nobody unlinks are bounded too, and abstract ones leave nothing.
func TestUnixNamesAreBounded(t *testing.T) {
	p := newTestProcess(t)
	n := &p.ns.names
	n.paths = map[string]*unixSocket{}
	for i := range pathsMax {
		n.paths[strings.Repeat("x", i%100)+string(rune(i+0x10000))] = nil
	}
	b := &bubble{p, t}
	fd := b.socket(stream)
	require.Equal(t, unix.ENOSPC, p.Bind(fd, &unix.SockaddrUnix{Name: "one more"}))
	require.NoError(t, p.Bind(fd, &unix.SockaddrUnix{Name: "@abstract"}))
	require.NoError(t, p.Close(fd))
	for range 1000 {
		fd := b.socket(dgram)
		require.NoError(t, p.Bind(fd, &unix.SockaddrUnix{}))
		require.NoError(t, p.Close(fd))
	}
	require.Empty(t, n.abstract)
}

// Many at once: connects, accepts, messages with descriptors, closes, in every
// order that comes.
func TestUnixConcurrency(t *testing.T) {
	p := newTestProcess(t)
	b := &bubble{p, t}
	l := b.listener(stream, 2)
	var servers, clients sync.WaitGroup
	for range 4 {
		servers.Go(func() {
			buf := make([]byte, 100)
			oob := make([]byte, 100)
			for {
				fd, _, err := p.Accept4(l, 0)
				if err != nil {
					return
				}
				n, oobn, _, _, err := p.Recvmsg(fd, [][]byte{buf}, oob, 0)
				if err == nil && n > 0 {
					p.Write(fd, buf[:n])
				}
				if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) > 0 {
					fds, _ := unix.ParseUnixRights(&messages[0])
					for _, passed := range fds {
						p.Close(passed)
					}
				}
				p.Close(fd)
			}
		})
	}
	for i := range 8 {
		clients.Go(func() {
			for j := range 100 {
				fd, err := p.Socket(unix.AF_UNIX, stream, 0)
				if err == nil {
					err = b.connectTo(fd, "@l")
				}
				if err != nil {
					t.Error(err)
					return
				}
				var oob []byte
				if j%3 == 0 {
					oob = unix.UnixRights(fd)
				}
				p.Sendmsg(fd, [][]byte{[]byte("hello")}, oob, nil, 0)
				if (i+j)%2 == 0 {
					n, err := p.Read(fd, make([]byte, 10))
					if err != nil || n != 5 {
						t.Error(n, err)
					}
				}
				p.Close(fd)
			}
		})
	}
	clients.Wait()
	require.NoError(t, p.Close(l))
	servers.Wait()
	b.noWaiters()
	require.Zero(t, p.ns.filesUnderWay.Load())
	require.Empty(t, p.ns.names.abstract)
	fd := b.socket(stream)
	require.Zero(t, fd, "every descriptor is closed")
}
