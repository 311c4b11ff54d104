//go:build linux

package socket_test

import (
	"fmt"
	"log"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/tun"
)

// newProcess returns a process on a stack whose link leads nowhere: unix sockets
// need none.
func newProcess() (p *socket.Process, closeAll func()) {
	link, _ := tun.Pipe(tun.PipeConfig{})
	s, err := stack.New(stack.Config{Link: link, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	if err != nil {
		log.Fatal(err)
	}
	p = socket.NewNamespace(s).Process(64)
	return p, func() {
		p.CloseAll()
		s.Close()
	}
}

// must fails for good; an example has no better idea.
func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A server of records: SOCK_SEQPACKET keeps the borders of messages, and has a
// listen queue like a stream. The third client finds it full.
func ExampleProcess_Listen_seqpacket() {
	p, closeAll := newProcess()
	defer closeAll()
	name := &unix.SockaddrUnix{Name: "@records"} // NUL, then "records": no file anywhere

	server := must(p.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0))
	if err := p.Bind(server, name); err != nil {
		log.Fatal(err)
	}
	if err := p.Listen(server, 1); err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		client := must(p.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK, 0))
		if err := p.Connect(client, name); err != nil {
			fmt.Printf("client %d: %v\n", i, err) // one that blocks would wait
			continue
		}
		must(p.Write(client, fmt.Appendf(nil, "hello from client %d", i)))
		must(p.Write(client, []byte("bye")))
	}
	for range 2 {
		conn, _, err := p.Accept4(server, 0)
		if err != nil {
			log.Fatal(err)
		}
		b := make([]byte, 100)
		for range 2 {
			n := must(p.Read(conn, b))
			fmt.Printf("%q\n", b[:n])
		}
	}
	// Output:
	// client 2: resource temporarily unavailable
	// "hello from client 0"
	// "bye"
	// "hello from client 1"
	// "bye"
}

// An event loop with epoll: one goroutine, many descriptors.
func ExampleProcess_EpollWait() {
	p, closeAll := newProcess()
	defer closeAll()
	name := &unix.SockaddrUnix{Name: "/run/echo.sock"} // a name of the namespace, no file

	server := must(p.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0))
	if err := p.Bind(server, name); err != nil {
		log.Fatal(err)
	}
	if err := p.Listen(server, 16); err != nil {
		log.Fatal(err)
	}
	epoll := must(p.EpollCreate1(0))
	watch := func(fd int, events uint32) {
		if err := p.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
			log.Fatal(err)
		}
	}
	watch(server, unix.EPOLLIN)

	client := must(p.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	if err := p.Connect(client, name); err != nil {
		log.Fatal(err)
	}
	must(p.Write(client, []byte("hello")))
	if err := p.Shutdown(client, unix.SHUT_WR); err != nil {
		log.Fatal(err)
	}

	events := make([]unix.EpollEvent, 8)
	for open := -1; open != 0; {
		n := must(p.EpollWait(epoll, events, -1))
		for _, e := range events[:n] {
			fd := int(e.Fd)
			if fd == server {
				conn, _, err := p.Accept4(server, unix.SOCK_NONBLOCK)
				if err != nil {
					log.Fatal(err)
				}
				watch(conn, unix.EPOLLIN)
				open = max(open, 0) + 1
				continue
			}
			b := make([]byte, 100)
			if n := must(p.Read(fd, b)); n > 0 {
				must(p.Write(fd, b[:n]))
				continue
			}
			fmt.Println("end of the stream")
			p.Close(fd) // and epoll forgets it
			open--
		}
	}
	b := make([]byte, 100)
	n := must(p.Read(client, b))
	fmt.Printf("echo: %s\n", b[:n])
	// Output:
	// end of the stream
	// echo: hello
}

// A full queue may refuse, as on the BSDs, where Linux lets connect wait.
func ExampleProcess_Setsockopt_overflow() {
	p, closeAll := newProcess()
	defer closeAll()
	name := &unix.SockaddrUnix{Name: "@refuses"}
	server := must(p.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	p.Bind(server, name)
	p.Listen(server, 0)
	if err := p.Setsockopt(server, socket.SOL_LISTENQ, socket.LISTENQ_OVERFLOW, []byte("refuse")); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		fmt.Println(p.Connect(must(p.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)), name))
	}
	why := make([]byte, 200)
	n := must(p.Getsockopt(server, socket.SOL_LISTENQ, socket.LISTENQ_WHY, why))
	fmt.Printf("%s", why[:n])
	// Output:
	// <nil>
	// connection refused
	// listen(0)
	// limit 0, with net.core.somaxconn=4096
	// holds 1 connections
}

// A file crosses from one process to another with a message.
func ExampleProcess_Sendmsg_rights() {
	p, closeAll := newProcess()
	defer closeAll()
	pair := must(p.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0))
	gift := must(p.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	must(p.Sendmsg(pair[0], [][]byte{[]byte("take this")}, unix.UnixRights(gift[0]), nil, 0))
	p.Close(gift[0]) // the message has it

	text, control := make([]byte, 20), make([]byte, unix.CmsgSpace(4))
	n, controlled, _, _, err := p.Recvmsg(pair[1], [][]byte{text}, control, 0)
	if err != nil {
		log.Fatal(err)
	}
	messages := must(unix.ParseSocketControlMessage(control[:controlled]))
	fds := must(unix.ParseUnixRights(&messages[0]))
	must(p.Write(fds[0], []byte("from the other side")))
	b := make([]byte, 100)
	m := must(p.Read(gift[1], b))
	fmt.Printf("%s: %s\n", text[:n], b[:m])
	// Output:
	// take this: from the other side
}
