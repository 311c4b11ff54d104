//go:build linux

package socket

import (
	"testing"

	"golang.org/x/sys/unix"
)

const (
	add = unix.EPOLL_CTL_ADD
	mod = unix.EPOLL_CTL_MOD
	del = unix.EPOLL_CTL_DEL

	in        = unix.EPOLLIN
	out       = unix.EPOLLOUT
	rdhup     = unix.EPOLLRDHUP
	edge      = unix.EPOLLET
	oneShot   = unix.EPOLLONESHOT
	exclusive = unix.EPOLLEXCLUSIVE
	// allPoll asks for all that poll(2) knows.
	allPoll = 0x3fff
)

// poll, select and epoll, on the running kernel and on ours.
func TestPollingLikeTheKernel(t *testing.T) {
	for name, script := range map[string]func(w *world){
		"poll": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.socket("a", typ)
				w.poll(allPoll)
				w.bind("a", "@a")
				w.listen("a", 1)
				w.poll(allPoll)
				w.socket("b", typ)
				w.connect("b", "@a")
				w.poll(allPoll)
				w.accept("c", "a")
				w.poll(allPoll)
				w.send("b", "x", "-", 0)
				w.poll(allPoll)
				w.poll(0)
				w.poll(unix.POLLPRI)
				w.shutdown("b", unix.SHUT_WR)
				w.poll(allPoll)
				w.shutdown("b", unix.SHUT_RD)
				w.poll(allPoll)
				w.close("b")
				w.poll(allPoll)
				w.close("c")
				w.shutdown("a", unix.SHUT_RDWR)
				w.poll(allPoll)
				w.close("a")
			}
		},
		"poll of a full socket": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.pair("a", "b", typ)
				for range 230 {
					w.sendIov("a", [][]byte{make([]byte, 100)}, "-", 0)
					w.poll(allPoll)
				}
				for range 230 {
					w.recv("b", 100, 0)
					w.poll(allPoll)
				}
				w.close("a")
				w.close("b")
			}
		},
		"poll of a crowded receiver": func(w *world) {
			w.socket("r", dgram)
			w.bind("r", "@r")
			w.socket("c", dgram)
			w.connect("c", "@r")
			w.socket("s", dgram)
			for range 12 {
				w.send("s", "x", "@r", 0)
				w.poll(allPoll)
			}
			w.connect("s", "@r") // now it polls for what it could not send
			w.epoll("e")
			w.ctl("e", add, "c", out|edge)
			w.ctl("e", add, "s", out|edge)
			w.wait("e", 9)
			w.recv("r", 9, 0)
			w.wait("e", 9)
			w.poll(allPoll)
			w.send("c", "x", "-", 0)
			w.close("r")
			w.wait("e", 9)
			w.poll(allPoll)
			w.send("c", "x", "-", 0)
		},
		"poll arguments": func(w *world) {
			fds := []unix.PollFd{{Fd: -1, Events: in, Revents: 5}, {Fd: 9999, Events: in}}
			n, err := w.Poll(fds, -1)
			w.note("poll: %d %s %v", n, errnoName(err), fds)
			n, err = w.Poll(nil, 0)
			w.note("poll: %d %s", n, errnoName(err))
			_, err = w.Poll(make([]unix.PollFd, 1<<21), 0)
			w.note("poll: %s", errnoName(err))
		},
		"select": func(w *world) {
			w.pair("a", "b", stream)
			w.send("a", "x", "-", 0)
			a, b := w.fd("a"), w.fd("b")
			try := func(nfd int, timeout unix.Timeval, handles ...int) {
				var r, wr, e unix.FdSet
				for _, fd := range handles {
					r.Set(fd)
					wr.Set(fd)
					e.Set(fd)
				}
				n, err := w.Select(nfd, &r, &wr, &e, &timeout)
				w.note("select: %d %s, r %v %v, w %v %v, e %v", n, errnoName(err), r.IsSet(a), r.IsSet(b), wr.IsSet(a), wr.IsSet(b), e != unix.FdSet{})
				w.note("left: %v", timeout == unix.Timeval{})
			}
			top := max(a, b) + 1
			try(top, unix.Timeval{}, a, b)
			try(a+1, unix.Timeval{Sec: 9}, a)
			try(top, unix.Timeval{Usec: 1500000}, a)
			try(top, unix.Timeval{Usec: 100})
			try(-1, unix.Timeval{}, a)
			try(top, unix.Timeval{Sec: -1}, a)
			try(top, unix.Timeval{Usec: -1}, a)
			w.close("a")
			try(top, unix.Timeval{}, b)
			try(top, unix.Timeval{}, a)
			w.dup("a", "b")
			n, err := w.Select(b+1, nil, nil, nil, &unix.Timeval{})
			w.note("select: %d %s", n, errnoName(err))
		},
		"epoll_ctl": func(w *world) {
			_, err := w.EpollCreate1(1)
			w.note("epoll_create1: %s", errnoName(err))
			w.epoll("e")
			w.epoll("f")
			w.pair("a", "b", stream)
			for _, op := range []int{add, mod, del, 7, 0, -1} {
				w.ctl("none", op, "a", in)
				w.ctl("e", op, "none", in)
				w.ctl("a", op, "b", in)
				w.ctl("e", op, "e", in)
				w.ctl("e", op, "f", in|exclusive)
				w.note("no event: %s", errnoName(w.EpollCtl(-1, op, -1, nil)))
				for _, events := range []uint32{in | exclusive, rdhup | exclusive, in | oneShot | exclusive, out | edge | exclusive, in} {
					w.ctl("e", op, "a", events)
					w.ctl("e", op, "a", events)
					w.wait("e", 9)
				}
			}
			w.ctl("e", add, "a", in|exclusive)
			w.ctl("e", mod, "a", in)
			w.wait("none", 0)
			w.wait("none", 1)
			w.wait("a", 1)
			w.wait("e", 0)
			n, err := w.Sendmsg(w.fd("e"), [][]byte{{1}}, nil, nil, 0)
			w.note("send: %d %s", max(n, 0), errnoName(err))
		},
		"level": func(w *world) {
			w.epoll("e")
			w.pair("a", "b", stream)
			w.ctl("e", add, "a", in|rdhup)
			w.wait("e", 9)
			w.send("b", "xx", "-", 0)
			w.wait("e", 9)
			w.wait("e", 9)
			w.recv("a", 1, 0)
			w.wait("e", 9)
			w.recv("a", 1, 0)
			w.wait("e", 9)
			w.ctl("e", mod, "a", in|out)
			w.wait("e", 9)
			w.close("b")
			w.wait("e", 9)
			w.ctl("e", mod, "a", 0)
			w.wait("e", 9)
			w.ctl("e", del, "a", 0)
			w.wait("e", 9)
		},
		"edge": func(w *world) {
			w.epoll("e")
			w.pair("a", "b", stream)
			w.ctl("e", add, "a", in|out|rdhup|edge)
			w.wait("e", 9)
			w.wait("e", 9)
			w.send("b", "x", "-", 0)
			w.wait("e", 9)
			w.wait("e", 9)
			w.send("b", "y", "-", 0) // not drained, and an edge all the same
			w.wait("e", 9)
			w.recv("a", 1, 0)
			w.wait("e", 9)
			w.send("a", "x", "-", 0)
			w.wait("e", 9)
			w.recv("b", 1, 0) // room, though there was room before
			w.wait("e", 9)
			w.ctl("e", mod, "a", in|edge)
			w.wait("e", 9)
			w.wait("e", 9)
			w.shutdown("b", unix.SHUT_WR)
			w.wait("e", 9)
			w.wait("e", 9)
			w.close("b")
			w.wait("e", 9)
			w.wait("e", 9)
		},
		"edge of a full socket": func(w *world) {
			w.epoll("e")
			w.pair("a", "b", stream)
			w.setOption("a", unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
			w.ctl("e", add, "a", out|edge)
			w.wait("e", 9)
			for range 7 {
				w.send("a", "x", "-", 0)
				w.wait("e", 9)
			}
			for range 7 {
				w.recv("b", 1, 0)
				w.wait("e", 9)
			}
		},
		"one shot": func(w *world) {
			w.epoll("e")
			w.pair("a", "b", seqpacket)
			w.ctl("e", add, "a", in|oneShot)
			w.wait("e", 9)
			w.send("b", "x", "-", 0)
			w.wait("e", 9)
			w.send("b", "y", "-", 0)
			w.wait("e", 9)
			w.ctl("e", mod, "a", in|oneShot)
			w.wait("e", 9)
			w.recv("a", 1, 0)
			w.ctl("e", mod, "a", in|oneShot)
			w.recv("a", 1, 0)
			w.wait("e", 9)
			w.ctl("e", mod, "a", in|oneShot)
			w.close("b")
			w.wait("e", 9)
			w.wait("e", 9)
			w.ctl("e", mod, "a", oneShot)
			w.wait("e", 9)
		},
		"turns": func(w *world) {
			w.epoll("e")
			for _, h := range []string{"a", "b", "c", "d"} {
				w.pair(h, h+"2", dgram)
				w.ctl("e", add, h, in)
			}
			for _, h := range []string{"c2", "a2", "d2", "b2"} {
				w.send(h, "x", "-", 0)
			}
			for range 6 {
				w.wait("e", 3)
			}
			w.recv("d", 1, 0)
			for range 6 {
				w.wait("e", 2)
			}
		},
		"duplicates": func(w *world) {
			w.epoll("e")
			w.pair("a", "b", stream)
			w.dup("a2", "a")
			w.ctl("e", add, "a", in)
			w.ctl("e", add, "a2", in)
			w.send("b", "x", "-", 0)
			w.waitUnordered("e", 9) // Linux tells the last to come first
			w.close("a")            // still watched: a2 is the same file
			w.waitUnordered("e", 9)
			w.ctl("e", del, "a", 0)
			w.dup("c", "b") // takes the number of a
			w.ctl("e", del, "c", 0)
			w.ctl("e", add, "c", out)
			w.waitUnordered("e", 9)
			w.ctl("e", del, "a2", 0)
			w.wait("e", 9)
			w.close("a2")
			w.wait("e", 9)
		},
		"nested": func(w *world) {
			names := []string{"e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7"}
			for _, h := range names {
				w.epoll(h)
			}
			w.pair("a", "b", stream)
			for i := range 6 {
				w.ctl(names[i+1], add, names[i], in)
			}
			w.ctl("e0", add, "e4", in)
			w.ctl("e6", add, "e0", in)
			w.ctl("e4", add, "e3", in)
			w.ctl("e7", add, "e6", in)
			w.ctl("e0", add, "a", in)
			w.wait("e4", 9)
			w.send("b", "x", "-", 0)
			for _, h := range []string{"e4", "e1", "e0", "e3", "e4", "e6"} {
				w.wait(h, 9)
			}
			w.poll(allPoll)
			w.recv("a", 1, 0)
			w.wait("e4", 9)
			w.ctl("e3", mod, "e2", in|edge)
			w.wait("e4", 9)
			w.send("b", "x", "-", 0)
			w.wait("e3", 9)
			w.wait("e3", 9)
			w.wait("e4", 9)
			w.close("e2")
			w.send("b", "x", "-", 0)
			w.wait("e4", 9)
			w.ctl("e4", del, "e3", 0)
			w.ctl("e0", add, "e4", in) // no circle any more
		},
	} {
		t.Run(name, func(t *testing.T) {
			linux, own := newWorlds(t, newTestStack(t))
			defer linux.end()
			defer own.end()
			script(linux)
			script(own)
			requireSameLog(t, linux, own)
		})
	}
}
