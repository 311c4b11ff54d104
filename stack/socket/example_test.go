//go:build linux

package socket_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/tun"
)

// newNamespace returns the namespace of a stack that has a loopback, and what ends
// it.
func newNamespace() (ns *socket.Namespace, closeStack func() error) {
	link, _ := tun.Pipe(tun.PipeConfig{})
	s := must(stack.New(stack.Config{Link: link, Addresses: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}}))
	return socket.NewNamespace(s), s.Close
}

// try fails for good.
func try(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A TCP server and its client, call by call as in C.
func Example() {
	ns, closeStack := newNamespace()
	defer closeStack()
	p := ns.Process(1024)
	defer p.CloseAll()

	listener := must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try(p.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	try(p.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 5000}))
	try(p.Listen(listener, 1))

	client := must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try(p.Connect(client, must(p.Getsockname(listener))))
	conn, _, err := p.Accept4(listener, unix.SOCK_CLOEXEC)
	try(err)

	must(p.Write(client, []byte("hello, ")))
	must(p.Send(client, []byte("server"), unix.MSG_NOSIGNAL))
	try(p.Shutdown(client, unix.SHUT_WR))
	b := make([]byte, 100)
	n := must(p.Recv(conn, b, unix.MSG_WAITALL))
	fmt.Printf("%s\n", b[:n])
	n = must(p.Read(conn, b))
	fmt.Println("the end:", n == 0)
	try(p.Close(conn))
	// Output:
	// hello, server
	// the end: true
}

// What became of the backlog, and why.
func ExampleProcess_Getsockopt() {
	ns, closeStack := newNamespace()
	defer closeStack()
	p := ns.Process(1024)
	defer p.CloseAll()
	listener := must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try(p.Listen(listener, 100000)) // on a port that is free

	fmt.Println("limit", must(p.GetsockoptInt(listener, socket.SOL_LISTENQ, socket.LISTENQ_LIMIT)))
	b := make([]byte, 1000)
	n := must(p.Getsockopt(listener, socket.SOL_LISTENQ, socket.LISTENQ_WHY, b))
	fmt.Printf("%s", b[:n])
	_, err := p.GetsockoptInt(listener, unix.IPPROTO_IP, unix.IP_TRANSPARENT)
	fmt.Println(socket.Strerror(err.(unix.Errno)))
	// Output:
	// limit 4096
	// the number handed to listen(2), a C int: 100000
	// cut to the maximum: 4096
	// the limit: 4096
	// connections in the accept queue at which a SYN finds it full (n+1): 4097
	// connections in the accept queue at which a final ACK finds it full (n+1): 4097
	// requests in the SYN queue (n+1): 4097
	// Protocol not available
}

// A datagram that says where it came in, and an answer from there.
func ExampleProcess_Recvmsg() {
	ns, closeStack := newNamespace()
	defer closeStack()
	p := ns.Process(1024)
	defer p.CloseAll()
	server := must(p.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	try(p.Bind(server, &unix.SockaddrInet4{Port: 53})) // all addresses
	try(p.SetsockoptInt(server, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
	client := must(p.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	must(p.Sendto(client, []byte("who?"), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 53}))

	b, oob := make([]byte, 100), make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	n, oobn, _, from, err := p.Recvmsg(server, [][]byte{b}, oob, 0)
	try(err)
	messages := must(unix.ParseSocketControlMessage(oob[:oobn]))
	fmt.Printf("%s, for %v\n", b[:n], net.IP(messages[0].Data[8:12]))
	must(p.Sendmsg(server, [][]byte{[]byte("it is "), []byte("me")}, oob[:oobn], from, 0))
	n, from, err = p.Recvfrom(client, b, 0)
	try(err)
	fmt.Printf("%s, from %v\n", b[:n], net.IP(from.(*unix.SockaddrInet4).Addr[:]))
	// Output:
	// who?, for 127.0.0.1
	// it is me, from 127.0.0.1
}

// A pair of unix sockets, and what descriptors can do besides.
func ExampleProcess_Socketpair() {
	ns, closeStack := newNamespace()
	defer closeStack()
	p := ns.Process(1024)
	defer p.CloseAll()
	pair := must(p.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	must(p.Writev(pair[0], [][]byte{[]byte("in "), []byte("parts")}))
	fmt.Println("to read:", must(p.Ioctl(pair[1], unix.TIOCINQ)))
	again := must(p.Dup(pair[1]))
	try(p.Close(pair[1]))
	one, two := make([]byte, 2), make([]byte, 10)
	n := must(p.Readv(again, [][]byte{one, two}))
	fmt.Printf("%q %q\n", one, two[:n-2])
	flags := must(p.Fcntl(again, unix.F_GETFL, 0))
	must(p.Fcntl(again, unix.F_SETFL, flags|unix.O_NONBLOCK))
	_, err := p.Read(again, one)
	fmt.Println(err == unix.EAGAIN)
	// Output:
	// to read: 8
	// "in" " parts"
	// true
}

// Waiting for several descriptors.
func ExampleProcess_Poll() {
	ns, closeStack := newNamespace()
	defer closeStack()
	p := ns.Process(1024)
	defer p.CloseAll()
	pair := must(p.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	udp := must(p.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	must(p.Write(pair[0], []byte("x")))
	fds := []unix.PollFd{{Fd: int32(pair[1]), Events: unix.POLLIN}, {Fd: int32(udp), Events: unix.POLLIN | unix.POLLOUT}}
	fmt.Println(must(p.Poll(fds, -1)))
	fmt.Println(fds[0].Revents == unix.POLLIN, fds[1].Revents == unix.POLLOUT)

	var read unix.FdSet
	read.Set(pair[1])
	read.Set(udp)
	fmt.Println(must(p.Select(udp+1, &read, nil, nil, &unix.Timeval{})), read.IsSet(pair[1]), read.IsSet(udp))
	// Output:
	// 2
	// true true
	// 1 true false
}

// What netstat -ntpl shows, with a connection that waits to be accepted.
func ExampleNamespace_Netstat() {
	ns, closeStack := newNamespace()
	defer closeStack()
	p := ns.Process(1024)
	defer p.CloseAll()
	p.SetCredentials(unix.Ucred{Pid: 42})
	listener := must(p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try(p.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 80}))
	try(p.Listen(listener, 5))
	other := must(ns.Listen("tcp", ":8080", 5))
	defer other.Close()
	defer must(ns.Dial("tcp", "127.0.0.1:80")).Close()
	must(p.Poll([]unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}, -1))
	try(ns.Netstat(os.Stdout, socket.Program{Name: "server", Process: p}))
	// Output:
	// Active Internet connections (only servers)
	// Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
	// tcp        1      0 127.0.0.1:80            0.0.0.0:*               LISTEN      42/server
	// tcp6       0      0 :::8080                 :::*                    LISTEN      -
}

// net/http on the sockets of a stack, unchanged.
func ExampleNamespace_Listen() {
	ns, closeStack := newNamespace()
	defer closeStack()
	l := must(ns.Listen("tcp", "127.0.0.1:80", 128))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello,", r.URL.Path)
	})}
	go server.Serve(l)
	defer server.Close()

	client := &http.Client{Transport: &http.Transport{DialContext: ns.DialContext}}
	defer client.CloseIdleConnections()
	res := must(client.Get("http://127.0.0.1/world"))
	defer res.Body.Close()
	fmt.Printf("%s", must(io.ReadAll(res.Body)))
	fmt.Println(l.(*stack.Listener).Stats().Limit)
	// Output:
	// hello, /world
	// 128
}

// A dialer with an address of its own and a limit.
func ExampleDialer() {
	ns, closeStack := newNamespace()
	defer closeStack()
	lc := socket.ListenConfig{Namespace: ns, Backlog: 1, KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	l := must(lc.Listen(context.Background(), "tcp6", "[::1]:0"))
	defer l.Close()
	d := socket.Dialer{
		Namespace: ns,
		LocalAddr: &net.TCPAddr{IP: net.IPv6loopback, Port: 4000},
		Timeout:   10 * time.Second,
	}
	c := must(d.Dial("tcp", l.Addr().String()))
	defer c.Close()
	conn := must(l.Accept())
	defer conn.Close()
	fmt.Println(conn.RemoteAddr())

	_, err := d.Dial("tcp", "[::1]:1")
	fmt.Println(err)
	// Output:
	// [::1]:4000
	// dial tcp [::1]:4000->[::1]:1: bind: address already in use
}

func ExampleNamespace_ListenPacket() {
	ns, closeStack := newNamespace()
	defer closeStack()
	server := must(ns.ListenPacket("udp", ":53"))
	defer server.Close()
	client := must(ns.Dial("udp", "127.0.0.1:53"))
	defer client.Close()
	must(client.Write([]byte("question")))
	b := make([]byte, 100)
	n, from, err := server.ReadFrom(b)
	try(err)
	fmt.Printf("%s\n", b[:n])
	must(server.WriteTo([]byte("answer"), from))
	n = must(client.Read(b))
	fmt.Printf("%s\n", b[:n])
	// Output:
	// question
	// answer
}

// A connection of Go's view gets a descriptor, for what package net has no name
// for.
func ExampleProcess_Import() {
	ns, closeStack := newNamespace()
	defer closeStack()
	p := ns.Process(1024)
	defer p.CloseAll()
	c := must(ns.ListenPacket("udp", "127.0.0.1:53"))
	defer c.Close()
	fd := must(p.Import(c))
	try(p.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 1))
	fmt.Println(must(p.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL)), c.LocalAddr())
	// Output: 1 127.0.0.1:53
}
