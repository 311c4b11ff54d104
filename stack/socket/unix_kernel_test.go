//go:build linux

package socket

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	stream    = unix.SOCK_STREAM
	dgram     = unix.SOCK_DGRAM
	seqpacket = unix.SOCK_SEQPACKET
)

// Every call of AF_UNIX with what can be wrong about it, made on the running kernel
// and on ours: both must say the same.
func TestUnixLikeTheKernel(t *testing.T) {
	for name, script := range map[string]func(w *world){
		"socket": func(w *world) {
			for _, typ := range []int{0, stream, dgram, unix.SOCK_RAW, unix.SOCK_RDM, seqpacket, 6, 10} {
				w.socket("a", typ)
				w.option("a", unix.SOL_SOCKET, unix.SO_TYPE)
				w.option("a", unix.SOL_SOCKET, unix.SO_DOMAIN)
				w.option("a", unix.SOL_SOCKET, unix.SO_PROTOCOL)
			}
			for _, protocol := range []int{0, 1, 2, -1} {
				_, err := w.Socket(unix.AF_UNIX, stream, protocol)
				w.note("socket(protocol %d): %s", protocol, errnoName(err))
			}
		},
		"bind": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.socket("a", typ)
				w.names("a")
				w.bind("a", "inet")
				w.bind("a", "@a")
				w.names("a")
				w.bind("a", "@a")
				w.bind("a", "@b")
				w.bind("a", "/b")
				w.bind("a", "/b") // taken: the file is made before the socket is looked at
				w.bind("a", "")
				w.socket("b", typ)
				w.bind("b", "@a")
				w.bind("b", "")
				w.names("b")
				w.bind("b", "")
				w.socket("c", typ)
				w.bind("c", string(bytes.Repeat([]byte("x"), 108)))
				w.bind("c", "@"+string(bytes.Repeat([]byte("x"), 107)))
				w.bind("c", "/c")
				w.names("c")
				w.socket("d", typ)
				w.bind("d", "/c")
				w.close("c")
				w.bind("d", "/c")
				w.connect("d", "/c")
				w.unlink("/c")
				w.connect("d", "/c")
				w.unlink("/c")
				w.bind("d", "/c")
				w.unlink("/c")
				w.names("d")
				for _, h := range []string{"a", "b", "d"} {
					w.close(h)
				}
			}
		},
		"names of each type": func(w *world) {
			w.socket("s", stream)
			w.socket("d", dgram)
			w.socket("q", seqpacket)
			w.bind("s", "@x")
			w.bind("d", "@x")
			w.bind("q", "@x")
			w.listen("s", 1)
			w.socket("c", seqpacket)
			w.connect("c", "@x") // it does not listen
			w.bind("s", "/p")
			w.socket("e", stream)
			w.bind("e", "/p")
			w.listen("e", 1)
			w.connect("c", "/p")
			w.connect("d", "/p")
			w.send("d", "x", "/p", 0)
			w.send("d", "x", "/none", 0)
			w.send("d", "x", "@none", 0)
			w.connect("d", "/none")
			w.connect("c", "/none")
			w.connect("c", "@none")
		},
		"listen": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.socket("a", typ)
				w.option("a", unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
				w.accept("none", "a")
				w.listen("a", 1)
				w.bind("a", "@a")
				w.accept("none", "a")
				w.listen("a", 1)
				w.option("a", unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
				w.accept("none", "a")
				w.send("a", "x", "-", 0)
				w.send("a", "x", "@a", 0)
				w.recv("a", 1, 0)
				w.connect("a", "@a")
				w.names("a")
				w.ioctl("a", unix.TIOCINQ)
				w.ioctl("a", unix.TIOCOUTQ)
				w.socket("b", typ)
				w.connect("b", "@a")
				w.connect("b", "@a")
				w.listen("b", 1)
				w.names("b")
				w.ioctl("a", unix.TIOCINQ)
				w.bind("b", "@b")
				w.listen("b", 1)
				w.accept("c", "a")
				w.names("c")
				w.listen("c", 1)
				w.shutdown("a", unix.SHUT_RD)
				w.socket("d", typ)
				w.connect("d", "@a")
				w.accept("none", "a")
				w.listen("a", 5)
				w.connect("d", "@a")
				for _, h := range []string{"a", "b", "c", "d"} {
					w.close(h)
				}
			}
		},
		"backlog": func(w *world) {
			for _, typ := range []int{stream, seqpacket} {
				for _, backlog := range []int{-1, 0, 1, 5, 5000} {
					w.socket("a", typ)
					w.bind("a", "@a")
					w.listen("a", backlog)
					fit := 0
					var clients []int
					var err error
					for err == nil {
						var fd int
						fd, err = w.Socket(unix.AF_UNIX, typ|unix.SOCK_NONBLOCK, 0)
						require.NoError(w.t, err)
						clients = append(clients, fd)
						if err = w.Connect(fd, w.addr("@a")); err == nil {
							fit++
						}
					}
					w.note("listen(%d) holds %d, then %s", backlog, fit, errnoName(err))
					w.accept("b", "a")
					last := clients[len(clients)-1]
					w.note("after accept: %s", errnoName(w.Connect(last, w.addr("@a"))))
					w.listen("a", 0)
					w.note("at limit 0: %s", errnoName(w.Connect(last, w.addr("@a"))))
					for _, fd := range clients {
						w.Close(fd)
					}
					w.close("a")
					w.close("b")
				}
			}
		},
		"queued": func(w *world) {
			for _, typ := range []int{stream, seqpacket} {
				w.socket("l", typ)
				w.bind("l", "@l")
				w.listen("l", 2)
				for _, h := range []string{"a", "b", "c"} {
					w.socket(h, typ)
					w.connect(h, "@l")
					w.send(h, "from "+h, "-", 0)
				}
				w.ioctl("a", unix.TIOCOUTQ)
				w.close("b")
				w.accept("a2", "l")
				w.recv("a2", 10, 0)
				w.accept("b2", "l")
				w.names("b2")
				w.recv("b2", 10, 0)
				w.recv("b2", 10, 0)
				w.close("l") // c is not accepted
				w.option("c", unix.SOL_SOCKET, unix.SO_ERROR)
				w.names("c")
				w.send("c", "x", "-", 0)
				w.recv("c", 10, 0)
				w.names("a")
				w.send("a", "more", "-", 0)
				w.recv("a2", 10, 0)
				for _, h := range []string{"a", "c", "a2", "b2"} {
					w.close(h)
				}
			}
		},
		"connect": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.socket("a", typ)
				w.connect("a", "inet")
				w.connect("a", "")
				w.connect("a", "unspec")
				w.names("a")
				w.shutdown("a", unix.SHUT_WR)
				w.send("a", "x", "-", 0)
				w.recv("a", 1, 0)
				w.pair("b", "c", typ)
				w.connect("b", "@none")
				w.connect("b", "unspec")
				w.listen("b", 1)
				w.names("b")
				w.send("b", "x", "@none", 0)
				w.send("b", "x", "inet", 0)
				for _, h := range []string{"a", "b", "c"} {
					w.close(h)
				}
			}
		},
		"shutdown": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				for how := -1; how <= 3; how++ {
					w.pair("a", "b", typ)
					w.send("b", "queued", "-", 0)
					w.shutdown("a", how)
					for _, h := range []string{"a", "b"} {
						w.send(h, "later", "-", 0)
						w.recv(h, 10, unix.MSG_PEEK)
						w.recv(h, 10, 0)
						w.recv(h, 10, 0)
						w.option(h, unix.SOL_SOCKET, unix.SO_ERROR)
						w.names(h)
						w.close(h)
					}
				}
			}
		},
		"close": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				for _, unread := range []bool{false, true} {
					for _, first := range []string{"send", "recv", "option"} {
						w.pair("a", "b", typ)
						w.send("b", "to b", "-", 0)
						w.send("a", "to a", "-", 0)
						if !unread {
							w.recv("a", 10, 0)
						}
						w.close("a")
						switch first {
						case "send":
							w.send("b", "x", "-", 0)
						case "option":
							w.option("b", unix.SOL_SOCKET, unix.SO_ERROR)
						}
						w.recv("b", 10, 0)
						w.recv("b", 10, 0)
						w.recv("b", 10, 0)
						w.send("b", "x", "-", 0)
						w.send("b", "x", "-", 0)
						w.names("b")
						w.close("b")
						w.close("b")
					}
				}
			}
		},
		"close with empty messages": func(w *world) {
			for _, typ := range []int{dgram, seqpacket} {
				for empty := range 3 {
					w.pair("a", "b", typ)
					for range empty {
						w.send("b", "", "-", 0)
					}
					w.close("a")
					w.recv("b", 10, 0)
					w.recv("b", 10, 0)
					w.close("b")
				}
			}
		},
		"stream": func(w *world) {
			w.pair("a", "b", stream)
			w.recv("b", 0, 0)
			w.send("a", "", "-", 0)
			w.recv("b", 10, 0)
			w.send("a", "one", "-", 0)
			w.send("a", "two", "-", 0)
			w.recv("b", 0, 0)
			w.recv("b", 10, unix.MSG_PEEK)
			w.recv("b", 2, unix.MSG_PEEK)
			w.ioctl("b", unix.TIOCINQ)
			w.recv("b", 2, unix.MSG_TRUNC)
			w.ioctl("b", unix.TIOCINQ)
			w.ioctl("a", unix.TIOCOUTQ)
			w.recv("b", 10, unix.MSG_DONTWAIT)
			w.ioctl("a", unix.TIOCOUTQ)
			w.send("a", "x", "@none", 0)
			w.socket("c", stream)
			w.send("c", "x", "@none", 0)
			w.send("c", "x", "-", 0)
			w.recv("c", 1, 0)
		},
		"seqpacket": func(w *world) {
			w.pair("a", "b", seqpacket)
			for _, m := range []string{"one", "two", "", "long message"} {
				w.send("a", m, "-", 0)
			}
			w.ioctl("b", unix.TIOCINQ)
			w.recv("b", 10, unix.MSG_PEEK)
			w.recv("b", 2, unix.MSG_PEEK|unix.MSG_TRUNC)
			w.recv("b", 2, 0)
			w.recv("b", 10, 0)
			w.recv("b", 10, 0)
			w.recv("b", 4, unix.MSG_TRUNC)
			w.recv("b", 4, 0)
			w.send("a", "x", "@none", 0)
			w.send("a", "x", "inet", 0)
			w.socket("c", seqpacket)
			w.send("c", "x", "-", 0)
			w.recv("c", 1, 0)
		},
		"datagram": func(w *world) {
			for _, h := range []string{"a", "b", "c"} {
				w.socket(h, dgram)
			}
			w.send("a", "x", "-", 0)
			w.send("a", "x", "", 0)
			w.bind("b", "@b")
			w.send("a", "hello", "@b", 0)
			w.bind("a", "@a")
			w.send("a", "again", "@b", 0)
			w.ioctl("b", unix.TIOCINQ)
			w.recv("b", 2, unix.MSG_TRUNC|unix.MSG_PEEK)
			w.recv("b", 10, 0)
			w.recv("b", 3, 0)
			w.recv("b", 3, 0)
			w.connect("b", "@a")
			w.names("b")
			w.names("a")
			w.send("c", "x", "@b", 0) // b takes messages of a only
			w.connect("c", "@b")
			w.send("a", "x", "@b", 0)
			w.connect("b", "unspec")
			w.recv("b", 3, 0)
			w.send("c", "x", "@b", 0)
			w.recv("b", 3, 0)
			w.connect("a", "@b")
			w.send("a", "1", "-", 0)
			w.close("b")
			w.option("a", unix.SOL_SOCKET, unix.SO_ERROR)
			w.send("a", "2", "-", 0)
			w.send("a", "3", "-", 0)
			w.names("a")
			w.connect("a", "@a") // itself
			w.send("a", "self", "-", 0)
			w.recv("a", 9, 0)
		},
		"datagram disconnects": func(w *world) {
			w.pair("a", "b", dgram)
			w.send("a", "x", "-", 0)
			w.connect("b", "unspec") // and loses the message
			w.option("b", unix.SOL_SOCKET, unix.SO_ERROR)
			w.ioctl("b", unix.TIOCINQ)
			w.send("a", "y", "-", 0) // ECONNRESET
			w.send("a", "y", "-", 0)
			w.recv("b", 9, 0)
		},
		"full": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				for _, size := range []int{1, 100, 1000, 5000, 40000, 106432} {
					w.pair("a", "b", typ)
					sent := 0
					b := make([]byte, size)
					for {
						n, err := w.Sendmsg(w.fd("a"), [][]byte{b}, nil, nil, 0)
						if err != nil {
							w.note("%d of %d bytes: %d and %s", typ, size, sent, errnoName(err))
							break
						}
						sent += n
					}
					w.ioctl("a", unix.TIOCOUTQ)
					w.ioctl("b", unix.TIOCINQ)
					w.recv("b", size, 0)
					w.ioctl("a", unix.TIOCOUTQ)
					w.send("a", "x", "-", 0)
					w.close("b")
					w.ioctl("a", unix.TIOCOUTQ)
					w.close("a")
				}
			}
		},
		"queue length": func(w *world) {
			w.socket("r", dgram)
			w.bind("r", "@r")
			w.socket("c", dgram)
			w.connect("c", "@r")
			w.socket("s", dgram)
			for range 12 {
				w.send("c", "x", "-", 0)
				w.send("s", "x", "@r", 0)
			}
			w.recv("r", 1, 0)
			w.send("s", "x", "@r", 0)
			w.send("s", "x", "@r", 0)
			w.bind("s", "@s")
			w.recv("r", 1, 0)
			w.connect("r", "@s") // what is queued is lost
			w.ioctl("r", unix.TIOCINQ)
			w.send("c", "x", "-", 0)
		},
		"sizes": func(w *world) {
			for _, typ := range []int{dgram, seqpacket} {
				w.pair("a", "b", typ)
				for _, size := range []int{212959, 212960, 212961, 300000} {
					w.sendIov("a", [][]byte{make([]byte, size)}, "-", 0)
					w.ioctl("a", unix.TIOCOUTQ)
					w.recv("b", size, 0)
				}
				w.setOption("a", unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
				w.sendIov("a", [][]byte{make([]byte, 4576)}, "-", 0)
				w.sendIov("a", [][]byte{make([]byte, 4577)}, "-", 0)
				w.close("a")
				w.close("b")
			}
		},
		"charges": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.pair("a", "b", typ)
				for size := 0; size < 212000; size += 1 + size/3 {
					for _, more := range []int{0, 1} {
						w.sendIov("a", [][]byte{make([]byte, size/2), make([]byte, (size+1)/2+more)}, "-", 0)
						w.ioctl("a", unix.TIOCOUTQ)
						if typ != stream || size+more > 0 {
							w.recv("b", size+1, 0)
						}
					}
				}
				w.close("a")
				w.close("b")
			}
		},
		"options": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.socket("a", typ)
				for _, name := range []int{unix.SO_REUSEADDR, unix.SO_TYPE, unix.SO_ERROR, unix.SO_DONTROUTE,
					unix.SO_BROADCAST, unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_KEEPALIVE, unix.SO_REUSEPORT,
					unix.SO_PASSCRED, unix.SO_PEERCRED, unix.SO_ACCEPTCONN, unix.SO_DOMAIN, unix.SO_PROTOCOL, 22, 200} {
					w.option("a", unix.SOL_SOCKET, name)
					for _, v := range []int{0, 1, -1, 1 << 20, 1 << 30} {
						w.setOption("a", unix.SOL_SOCKET, name, v)
						w.option("a", unix.SOL_SOCKET, name)
					}
				}
				w.option("a", unix.IPPROTO_TCP, unix.TCP_NODELAY)
				w.setOption("a", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
				w.close("a")
			}
		},
		"passcred": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.socket("a", typ)
				w.setOption("a", unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
				w.connect("a", "@none")
				w.names("a") // named all the same
				w.send("a", "x", "-", 0)
				w.names("a")
				w.close("a")
			}
		},
		"descriptors": func(w *world) {
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.pair("a", "b", typ)
				w.pair("c", "d", stream)
				w.sendFiles("a", nil, "c", "c", "a")
				w.send("a", "y", "-", 0)
				w.close("c")
				w.send("d", "for c", "-", 0)
				w.recvFiles("b", 9, 99, unix.MSG_PEEK, "p")
				w.recv("p0", 3, 0)
				w.recvFiles("b", 9, 99, unix.MSG_CMSG_CLOEXEC, "q")
				w.recv("q1", 3, 0)
				w.recvFiles("b", 9, 99, 0, "r")
				for _, h := range []string{"p0", "p1", "q0"} {
					w.close(h)
				}
				w.send("d", "still", "-", 0)
				w.close("q1")
				w.send("d", "gone", "-", 0)
				for _, room := range []int{0, 8, 16, 19, 20, 23, 24, 28} {
					w.sendFiles("a", nil, "d", "d")
					w.recvFiles("b", 9, room, 0, "t")
				}
				w.sendFiles("a", nil, "d", "none")
				w.sendFiles("a", nil, slices.Repeat([]string{"d"}, 253)...)
				w.sendFiles("a", nil, slices.Repeat([]string{"d"}, 254)...)
				w.sendFiles("a", unix.UnixRights(w.fd("d")), slices.Repeat([]string{"d"}, 253)...)
				w.sendFiles("a", make([]byte, 15))
				w.sendFiles("a", make([]byte, 16))
				w.sendFiles("a", unix.UnixRights()[:16])
				bad := unix.UnixRights(w.fd("d"))
				bad[0] = 25
				w.sendFiles("a", bad)
				bad[0] = 15
				w.sendFiles("a", bad)
				bad[0], bad[12] = 20, 99
				w.sendFiles("a", bad) // no such type
				bad[8] = 99
				w.sendFiles("a", bad) // another level
				// Thrown away with their messages.
				w.sendFiles("a", nil, "d")
				w.close("b")
				w.sendFiles("a", nil, "d")
				w.poll(allPoll)
				for h := range w.handles {
					w.Close(w.fd(h))
				}
				clear(w.handles)
			}
		},
		"descriptors in a stream": func(w *world) {
			w.pair("a", "b", stream)
			w.send("a", "12", "-", 0)
			w.sendFiles("a", nil, "a")
			w.send("a", "34", "-", 0)
			w.sendFiles("a", nil, "b")
			w.sendFiles("a", nil, "b")
			w.recvFiles("b", 1, 99, 0, "p")
			w.recvFiles("b", 9, 99, unix.MSG_PEEK, "q")
			w.recvFiles("b", 9, 99, 0, "r")
			w.recvFiles("b", 9, 99, 0, "s")
			w.recvFiles("b", 9, 99, 0, "u")
		},
		"credentials": func(w *world) {
			own := mine()
			somebody := own
			somebody.Uid++
			for _, typ := range []int{stream, dgram, seqpacket} {
				w.pair("a", "b", typ)
				w.send("a", "before", "-", 0)
				w.setOption("b", unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
				w.send("a", "after", "-", 0)
				w.sendFiles("a", unix.UnixCredentials(&own), "a")
				w.sendFiles("a", unix.UnixCredentials(&somebody))
				w.sendFiles("a", unix.UnixCredentials(&own)[:20])
				for range 5 {
					w.recvFiles("b", 20, 99, 0, "p")
				}
				w.sendFiles("a", nil, "a")
				w.recvFiles("b", 20, 40, 0, "q")
				w.names("a")
				w.names("b")
				w.send("b", "x", "-", 0) // names b
				w.names("b")
				for h := range w.handles {
					w.Close(w.fd(h))
				}
				clear(w.handles)
				if typ == dgram {
					continue
				}
				w.socket("l", typ)
				w.bind("l", "@l")
				w.listen("l", 1)
				w.setOption("l", unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
				w.socket("c", typ)
				w.connect("c", "@l")
				w.send("c", "x", "-", 0)
				w.accept("s", "l")
				w.option("s", unix.SOL_SOCKET, unix.SO_PASSCRED)
				w.recvFiles("s", 20, 99, 0, "p")
				for _, h := range []string{"l", "c", "s"} {
					w.option(h, unix.SOL_SOCKET, unix.SO_PEERCRED)
					w.close(h)
				}
			}
		},
		"socketpair": func(w *world) {
			w.pair("a", "b", stream)
			w.pair("c", "d", 0)
			w.pair("c", "d", unix.SOCK_RDM)
			for _, c := range []struct{ domain, typ, protocol int }{
				{unix.AF_UNIX, stream, 2}, {unix.AF_UNIX, stream | 1<<20, 0}, {unix.AF_UNIX, seqpacket, 1},
				{unix.AF_INET, 99, 0},
			} {
				fds, err := w.Socketpair(c.domain, c.typ, c.protocol)
				w.note("socketpair(%v): %s", c, errnoName(err))
				if err == nil {
					w.Close(fds[0])
					w.Close(fds[1])
				}
			}
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
