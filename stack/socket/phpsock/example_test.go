//go:build linux

package phpsock_test

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/stack/socket/phpsock"
)

// The example of the manual page, line by line, and what netstat shows while it
// sleeps.
func Example() {
	ns, s := loopback()
	defer s.Close()
	php := phpsock.New(ns)
	php.Process().SetCredentials(unix.Ucred{Pid: 1839})

	sock := php.Create(unix.AF_INET, unix.SOCK_STREAM, php.GetProtoByName("tcp"))
	php.Bind(sock, "127.0.0.1", 5000)
	php.Listen(sock, 1)

	ns.Netstat(os.Stdout, socket.Program{Name: "php", Process: php.Process()})
	// Output:
	// Active Internet connections (only servers)
	// Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
	// tcp        0      0 127.0.0.1:5000          0.0.0.0:*               LISTEN      1839/php
}

// A server and its client, with the errors that the page tells to look for.
func ExampleSockets_Accept() {
	ns, s := loopback()
	defer s.Close()
	php := phpsock.New(ns)
	listener := php.CreateListen(5000)

	client := php.Create(unix.AF_INET, unix.SOCK_STREAM, 0)
	if !php.Connect(client, "127.0.0.1", 5000) {
		fmt.Println(php.Strerror(php.LastError(client)))
	}
	conn := php.Accept(listener)
	php.Write(conn, "hello\n")
	line, _ := php.Read(client, 100, phpsock.PHP_NORMAL_READ)
	fmt.Print(line)

	php.Send(client, "thanks, bye", 6, 0)
	var buf string
	n, _ := php.Recv(conn, &buf, 100, 0)
	fmt.Println(n, buf)

	var address string
	var port int
	php.GetSockName(conn, &address, &port)
	fmt.Println(address, port)
	php.GetPeerName(client, &address, &port)
	fmt.Println(address, port)

	php.Shutdown(client, 1)
	end, ok := php.Read(conn, 100)
	fmt.Printf("%q %v\n", end, ok)
	php.Close(client)
	php.Close(conn)
	php.Close(listener)
	// Output:
	// hello
	// 6 thanks
	// 127.0.0.1 5000
	// 127.0.0.1 5000
	// "" true
}

func ExampleSockets_LastError() {
	ns, s := loopback()
	defer s.Close()
	php := phpsock.New(ns)
	php.Warning = func(text string) { fmt.Println("Warning:", text) }
	sock := php.Create(unix.AF_INET, unix.SOCK_STREAM, 0)
	if !php.Connect(sock, "127.0.0.1", 5000) {
		fmt.Println(php.LastError(sock), php.Strerror(php.LastError()))
	}
	php.ClearError(sock)
	fmt.Println(php.LastError(sock), php.LastError())
	php.ClearError()
	fmt.Println(php.LastError())
	// Output:
	// Warning: socket_connect(): unable to connect [111]: Connection refused
	// 111 Connection refused
	// 0 111
	// 0
}

func ExampleSockets_Select() {
	ns, s := loopback()
	defer s.Close()
	php := phpsock.New(ns)
	var pair [2]*phpsock.Socket
	php.CreatePair(unix.AF_UNIX, unix.SOCK_STREAM, 0, &pair)
	php.SetNonblock(pair[0])
	_, ok := php.Read(pair[0], 10)
	fmt.Println(ok, php.Strerror(php.LastError()))
	php.SetBlock(pair[0])

	read, now := pair[:], 0
	n, _ := php.Select(&read, nil, nil, &now)
	fmt.Println(n)
	php.Write(pair[1], "x")
	read = pair[:]
	n, _ = php.Select(&read, nil, nil, nil)
	fmt.Println(n, read[0] == pair[0])
	// Output:
	// false Resource temporarily unavailable
	// 0
	// 1 true
}

func ExampleSockets_SetOption() {
	ns, s := loopback()
	defer s.Close()
	php := phpsock.New(ns)
	sock := php.Create(unix.AF_INET, unix.SOCK_STREAM, 0)
	php.SetOption(sock, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	php.SetOption(sock, unix.SOL_SOCKET, unix.SO_LINGER, phpsock.Linger{OnOff: 1, Linger: 5})
	php.SetOpt(sock, unix.SOL_SOCKET, unix.SO_RCVTIMEO, phpsock.Timeval{Sec: 1, Usec: 500000})
	for _, name := range []int{unix.SO_REUSEADDR, unix.SO_LINGER} {
		value, _ := php.GetOption(sock, unix.SOL_SOCKET, name)
		fmt.Printf("%+v\n", value)
	}
	value, _ := php.GetOpt(sock, unix.SOL_SOCKET, unix.SO_RCVTIMEO)
	fmt.Printf("%+v\n", value)
	// Output:
	// 1
	// {OnOff:1 Linger:5}
	// {Sec:1 Usec:500000}
}

// Datagrams, with what the receiver asks to know of them.
func ExampleSockets_RecvMsg() {
	ns, s := loopback()
	defer s.Close()
	php := phpsock.New(ns)
	receiver := php.Create(unix.AF_INET, unix.SOCK_DGRAM, php.GetProtoByName("udp"))
	php.Bind(receiver, "127.0.0.1", 53)
	php.SetOption(receiver, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	sender := php.Create(unix.AF_INET, unix.SOCK_DGRAM, 0)
	php.Bind(sender, "127.0.0.1", 5353)

	php.SendMsg(sender, phpsock.Message{
		Name: "127.0.0.1", Port: 53,
		IOV:     []string{"two ", "pieces"},
		Control: []phpsock.Control{{Level: unix.IPPROTO_IP, Type: unix.IP_TTL, Data: []byte{7, 0, 0, 0}}},
	}, 0)
	space, _ := php.CmsgSpace(unix.IPPROTO_IP, unix.IP_TTL)
	m := phpsock.Message{BufferSize: 100, ControlLen: space}
	n, _ := php.RecvMsg(receiver, &m, 0)
	fmt.Println(n, m.Name, m.Port, m.IOV, m.Control)

	php.SendTo(sender, "hello", 5, 0, "127.0.0.1", 53)
	var buf, from string
	var port int
	n, _ = php.RecvFrom(receiver, &buf, 100, 0, &from, &port)
	fmt.Println(n, buf, from, port)
	// Output:
	// 10 127.0.0.1 5353 [two pieces] [{0 2 [7 0 0 0]}]
	// 5 hello 127.0.0.1 5353
}

// A connection of Go's view becomes a socket.
func ExampleSockets_ImportStream() {
	ns, s := loopback()
	defer s.Close()
	php := phpsock.New(ns)
	listener := php.Create(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	php.Bind(listener, "/run/example")
	php.Listen(listener, 1)
	stream, err := ns.Dial("unixpacket", "/run/example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stream.Close()
	sock := php.ImportStream(stream)
	php.SetBlock(sock)
	php.Write(php.Accept(listener), "a packet")
	packet, _ := php.Read(sock, 100)
	fmt.Println(packet)
	// Output: a packet
}
