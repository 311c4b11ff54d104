//go:build linux

package socket

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// open gives a fake socket a descriptor.
func open(t *testing.T, p *Process, s sock) int {
	t.Helper()
	fd, err := p.installNew(s, 0)
	require.NoError(t, err)
	return fd
}

func TestNumbersAreTheLowestFree(t *testing.T) {
	p := newFakeProcess(4)
	socks := make([]fakeSock, 5)
	for i := range 4 {
		require.Equal(t, i, open(t, p, &socks[i]))
	}
	_, err := p.installNew(&socks[4], 0)
	require.Equal(t, unix.EMFILE, err)
	require.Equal(t, 1, socks[4].freed)
	_, err = p.Dup(0)
	require.Equal(t, unix.EMFILE, err)
	require.NoError(t, p.Close(2))
	require.NoError(t, p.Close(1))
	require.Equal(t, unix.EBADF, p.Close(1))
	fd, err := p.Fcntl(0, unix.F_DUPFD_CLOEXEC, 2)
	require.NoError(t, err)
	require.Equal(t, 2, fd)
	fd, err = p.Dup(3)
	require.NoError(t, err)
	require.Equal(t, 1, fd)
	for fd, closeOnExec := range []int{0, 0, 1, 0} {
		got, err := p.Fcntl(fd, unix.F_GETFD, 0)
		require.NoError(t, err)
		require.Equal(t, closeOnExec, got, fd)
	}
	p.CloseAll()
	for i := range 4 {
		require.Equal(t, 1, socks[i].freed, i)
	}
}

func TestDup(t *testing.T) {
	p := newFakeProcess(8)
	var a, b fakeSock
	fda, fdb := open(t, p, &a), open(t, p, &b)
	require.Equal(t, unix.EINVAL, p.Dup3(fda, fda, 0))
	require.Equal(t, unix.EINVAL, p.Dup3(fda, fdb, unix.O_NONBLOCK))
	require.Equal(t, unix.EBADF, p.Dup3(fda, 8, 0))
	require.Equal(t, unix.EBADF, p.Dup3(fda, -1, 0))
	require.Equal(t, unix.EBADF, p.Dup3(5, fdb, 0))
	require.Equal(t, unix.EBADF, p.Dup2(5, 5))
	require.NoError(t, p.Dup2(fda, fda))
	require.NoError(t, p.Dup3(fda, fdb, unix.O_CLOEXEC))
	require.Equal(t, 1, b.freed, "the socket that had the number is closed")
	require.NoError(t, p.SetNonblock(fdb, true))
	flags, err := p.Fcntl(fda, unix.F_GETFL, 0)
	require.NoError(t, err)
	require.Equal(t, unix.O_RDWR|unix.O_NONBLOCK, flags, "O_NONBLOCK is the file's")
	_, err = p.Fcntl(fda, unix.F_SETFL, 0)
	require.NoError(t, err)
	flags, _ = p.Fcntl(fdb, unix.F_GETFL, 0)
	require.Equal(t, unix.O_RDWR, flags)
	require.NoError(t, p.Close(fda))
	require.Zero(t, a.freed)
	require.NoError(t, p.Close(fdb))
	require.Equal(t, 1, a.freed)
}

// Every call that takes a descriptor fails with EBADF for a number that is none,
// and calls of sockets with ENOTSOCK for a file that is not one.
func TestWrongDescriptor(t *testing.T) {
	p := newFakeProcess(8)
	file, err := p.install(newFile(new(fakeFile), false), 0, false)
	require.NoError(t, err)
	b := make([]byte, 4)
	for name, tc := range map[string]struct {
		call    func(fd int) error
		notSock error
	}{
		"bind":        {func(fd int) error { return p.Bind(fd, nil) }, unix.ENOTSOCK},
		"listen":      {func(fd int) error { return p.Listen(fd, 1) }, unix.ENOTSOCK},
		"accept4":     {func(fd int) error { _, _, err := p.Accept4(fd, 0); return err }, unix.ENOTSOCK},
		"accept4 bad": {func(fd int) error { _, _, err := p.Accept4(fd, 1); return err }, unix.EINVAL},
		"connect":     {func(fd int) error { return p.Connect(fd, nil) }, unix.ENOTSOCK},
		"getsockname": {func(fd int) error { _, err := p.Getsockname(fd); return err }, unix.ENOTSOCK},
		"getpeername": {func(fd int) error { _, err := p.Getpeername(fd); return err }, unix.ENOTSOCK},
		"shutdown":    {func(fd int) error { return p.Shutdown(fd, 9) }, unix.ENOTSOCK},
		"read":        {func(fd int) error { _, err := p.Read(fd, b); return err }, unix.EINVAL},
		"write":       {func(fd int) error { _, err := p.Write(fd, b); return err }, unix.EINVAL},
		"readv":       {func(fd int) error { _, err := p.Readv(fd, [][]byte{b}); return err }, unix.EINVAL},
		"writev":      {func(fd int) error { _, err := p.Writev(fd, [][]byte{b}); return err }, unix.EINVAL},
		"recv":        {func(fd int) error { _, err := p.Recv(fd, b, 0); return err }, unix.ENOTSOCK},
		"recvfrom":    {func(fd int) error { _, _, err := p.Recvfrom(fd, b, 0); return err }, unix.ENOTSOCK},
		"recvmsg":     {func(fd int) error { _, _, _, _, err := p.Recvmsg(fd, nil, nil, 0); return err }, unix.ENOTSOCK},
		"send":        {func(fd int) error { _, err := p.Send(fd, b, 0); return err }, unix.ENOTSOCK},
		"sendto":      {func(fd int) error { _, err := p.Sendto(fd, b, 0, nil); return err }, unix.ENOTSOCK},
		"sendmsg":     {func(fd int) error { _, err := p.Sendmsg(fd, nil, nil, nil, 0); return err }, unix.ENOTSOCK},
		"getsockopt":  {func(fd int) error { _, err := p.Getsockopt(fd, 1, 1, b); return err }, unix.ENOTSOCK},
		"setsockopt":  {func(fd int) error { return p.Setsockopt(fd, 1, 1, b) }, unix.ENOTSOCK},
		"ioctl":       {func(fd int) error { _, err := p.Ioctl(fd, unix.TIOCINQ); return err }, unix.EINVAL},
		"dup":         {func(fd int) error { _, err := p.Dup(fd); return err }, nil},
		"dup3":        {func(fd int) error { return p.Dup3(fd, 7, 0) }, nil},
		"fcntl":       {func(fd int) error { _, err := p.Fcntl(fd, unix.F_GETFL, 0); return err }, nil},
	} {
		for _, fd := range []int{-1, 6, 8, 1 << 30} {
			require.Equal(t, unix.EBADF, tc.call(fd), "%s(%d)", name, fd)
		}
		if tc.notSock == nil {
			require.NoError(t, tc.call(file), name)
		} else {
			require.Equal(t, tc.notSock, tc.call(file), name)
		}
	}
}

func TestReceiveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeProcess(8)
		s := &fakeSock{}
		fd := open(t, p, s)
		b := make([]byte, 4)

		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			s.change(func() { s.data = []byte("abc") })
		}()
		n, err := p.Read(fd, b)
		require.NoError(t, err)
		require.Equal(t, "abc", string(b[:n]))
		require.Equal(t, time.Second, time.Since(start))

		_, err = p.Recv(fd, b, unix.MSG_DONTWAIT)
		require.Equal(t, unix.EAGAIN, err)
		require.NoError(t, p.SetNonblock(fd, true))
		_, err = p.Read(fd, b)
		require.Equal(t, unix.EAGAIN, err)
		require.NoError(t, p.SetNonblock(fd, false))

		tv := unix.NsecToTimeval(int64(1500 * time.Millisecond))
		require.NoError(t, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, structOption(&tv)))
		start = time.Now()
		_, err = p.Read(fd, b)
		require.Equal(t, unix.EAGAIN, err)
		require.Equal(t, 1500*time.Millisecond, time.Since(start))
		got := make([]byte, 16)
		n, err = p.Getsockopt(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, got)
		require.NoError(t, err)
		require.Equal(t, structOption(&tv), got[:n])

		tv = unix.Timeval{Sec: -1}
		require.NoError(t, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, structOption(&tv)))
		start = time.Now()
		_, err = p.Read(fd, b)
		require.Equal(t, unix.EAGAIN, err)
		require.Zero(t, time.Since(start))
		tv = unix.Timeval{Usec: 1e6}
		require.Equal(t, unix.EDOM, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, structOption(&tv)))
		require.Equal(t, unix.EINVAL, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, make([]byte, 15)))

		n, err = p.Read(fd, nil)
		require.NoError(t, err, "a read of nothing does not wait")
		require.Zero(t, n)
	})
}

func TestCloseEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeProcess(8)
		fd := open(t, p, &fakeSock{states: []error{unix.EINPROGRESS, unix.EALREADY}})
		other, err := p.Dup(fd)
		require.NoError(t, err)
		results := make(chan error)
		calls := []func() error{
			func() error { _, err := p.Read(fd, make([]byte, 1)); return err },
			func() error { _, err := p.Write(fd, make([]byte, 1)); return err },
			func() error { _, _, err := p.Accept4(fd, 0); return err },
			func() error { return p.Connect(fd, nil) },
		}
		for _, call := range calls {
			go func() { results <- call() }()
		}
		synctest.Wait()
		require.NoError(t, p.Close(fd))
		synctest.Wait()
		require.Empty(t, results, "the socket has another descriptor")
		require.NoError(t, p.Close(other))
		for range calls {
			require.Equal(t, unix.EBADF, <-results)
		}
	})
}

func TestWaitAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeProcess(8)
		s := &fakeSock{}
		fd := open(t, p, s)
		b := make([]byte, 4)
		dribble := func(final func()) {
			for _, part := range []string{"ab", "c"} {
				time.Sleep(time.Second)
				s.change(func() { s.data = append(s.data, part...) })
			}
			time.Sleep(time.Second)
			s.change(final)
		}
		go dribble(func() { s.data = append(s.data, "de"...) })
		n, err := p.Recv(fd, b, unix.MSG_WAITALL|unix.MSG_PEEK)
		require.NoError(t, err)
		require.Equal(t, "abcd", string(b[:n]))
		n, err = p.Recv(fd, b, unix.MSG_WAITALL)
		require.NoError(t, err)
		require.Equal(t, "abcd", string(b[:n]))
		n, err = p.Recv(fd, b, unix.MSG_WAITALL|unix.MSG_DONTWAIT)
		require.NoError(t, err)
		require.Equal(t, "e", string(b[:n]))

		// An error is for the next call, if this one has something to return.
		go dribble(func() { s.err = unix.ECONNRESET })
		n, err = p.Recv(fd, b, unix.MSG_WAITALL)
		require.NoError(t, err)
		require.Equal(t, "abc", string(b[:n]))
		_, err = p.Recv(fd, b, unix.MSG_WAITALL)
		require.Equal(t, unix.ECONNRESET, err)

		go dribble(func() { s.ended = true })
		n, err = p.Recv(fd, b, unix.MSG_WAITALL|unix.MSG_PEEK)
		require.NoError(t, err)
		require.Equal(t, "abc", string(b[:n]))
		n, err = p.Recv(fd, b, unix.MSG_WAITALL)
		require.NoError(t, err)
		require.Equal(t, "abc", string(b[:n]))
		n, err = p.Recv(fd, b, unix.MSG_WAITALL)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

func TestSendWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeProcess(8)
		s := &fakeSock{room: 3}
		fd := open(t, p, s)
		go func() {
			for range 2 {
				time.Sleep(time.Second)
				s.change(func() { s.room = 2 })
			}
		}()
		start := time.Now()
		n, err := p.Write(fd, []byte("abcdefg"))
		require.NoError(t, err)
		require.Equal(t, 7, n)
		require.Equal(t, 2*time.Second, time.Since(start))
		require.Equal(t, "abcdefg", string(s.data))

		s.room = 2
		n, err = p.Send(fd, []byte("abc"), unix.MSG_DONTWAIT)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		_, err = p.Send(fd, []byte("c"), unix.MSG_DONTWAIT)
		require.Equal(t, unix.EAGAIN, err)

		tv := unix.NsecToTimeval(int64(time.Second))
		require.NoError(t, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, structOption(&tv)))
		s.room = 1
		n, err = p.Write(fd, []byte("cd"))
		require.NoError(t, err)
		require.Equal(t, 1, n, "the timeout passes after a part")
		_, err = p.Write(fd, []byte("d"))
		require.Equal(t, unix.EAGAIN, err)
	})
}

func TestVectors(t *testing.T) {
	p := newFakeProcess(8)
	fd := open(t, p, &fakeSock{})
	many := make([][]byte, iovLimit+1)
	_, err := p.Readv(fd, many)
	require.Equal(t, unix.EINVAL, err)
	_, err = p.Writev(fd, many)
	require.Equal(t, unix.EINVAL, err)
	_, _, _, _, err = p.Recvmsg(fd, many, nil, 0)
	require.Equal(t, unix.EMSGSIZE, err)
	_, err = p.Sendmsg(fd, many, nil, nil, 0)
	require.Equal(t, unix.EMSGSIZE, err)
	n, err := p.Readv(fd, many[:iovLimit])
	require.NoError(t, err, "nothing to read is read at once")
	require.Zero(t, n)
}

func TestConnectWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeProcess(8)
		s := &fakeSock{states: []error{unix.EINPROGRESS, unix.EALREADY, unix.EALREADY, unix.ECONNREFUSED}}
		fd := open(t, p, s)
		go func() {
			for range 2 {
				time.Sleep(time.Second)
				s.change(func() {})
			}
		}()
		require.Equal(t, unix.ECONNREFUSED, p.Connect(fd, nil))

		tv := unix.NsecToTimeval(int64(time.Second))
		require.NoError(t, p.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, structOption(&tv)))
		s.states = []error{unix.EINPROGRESS, unix.EALREADY}
		require.Equal(t, unix.EINPROGRESS, p.Connect(fd, nil))
		require.Equal(t, unix.EALREADY, p.Connect(fd, nil))
	})
}

func TestAcceptReservesItsNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeProcess(2)
		s := &fakeSock{}
		fd := open(t, p, s)
		type result struct {
			fd   int
			addr unix.Sockaddr
			err  error
		}
		results := make(chan result)
		accept := func() {
			fd, addr, err := p.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			results <- result{fd, addr, err}
		}
		go accept()
		synctest.Wait()
		_, _, err := p.Accept4(fd, 0)
		require.Equal(t, unix.EMFILE, err, "there is no number left to wait with")
		require.Equal(t, unix.EBADF, p.Close(1))
		require.Equal(t, unix.EBUSY, p.Dup2(fd, 1))
		s.change(func() { s.accept1 = &fakeSock{} })
		got := <-results
		require.NoError(t, got.err)
		require.Equal(t, 1, got.fd)
		require.Equal(t, &unix.SockaddrUnix{Name: "peer"}, got.addr)
		flags, _ := p.Fcntl(1, unix.F_GETFL, 0)
		require.Equal(t, unix.O_RDWR|unix.O_NONBLOCK, flags)
		flags, _ = p.Fcntl(1, unix.F_GETFD, 0)
		require.Equal(t, unix.FD_CLOEXEC, flags)
		require.NoError(t, p.Close(1))

		go accept()
		synctest.Wait()
		p.CloseAll()
		require.Equal(t, unix.EBADF, (<-results).err)
		require.Equal(t, 0, open(t, p, &fakeSock{}))
		require.Equal(t, 1, open(t, p, &fakeSock{}), "the number is free again")
	})
}

func TestIoctl(t *testing.T) {
	p := newFakeProcess(8)
	fd := open(t, p, &fakeSock{data: []byte("abc")})
	n, err := p.Ioctl(fd, unix.TIOCINQ)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	_, err = p.Ioctl(fd, unix.TCGETS)
	require.Equal(t, unix.ENOTTY, err)
}
