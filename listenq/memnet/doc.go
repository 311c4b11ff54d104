// Package memnet is a network in memory whose listeners have real listen queues.
//
// It is for tests of programs that listen and dial: a backlog of 5 on Windows
// shows ECONNREFUSED, one on Linux a connect that takes exactly a second, and
// nothing but package time and sync is involved, so it all works inside a
// testing/synctest bubble, where that second takes no time:
//
//	windows, err := listenq.ProfileNamed("windows")
//	n := memnet.New(memnet.Config{Server: windows})
//	l, err := n.Listen("tcp", "shop:80", 5, nil) // a net.Listener
//	c, err := n.Dial("tcp", "shop:80")           // a net.Conn
//	http.Transport{DialContext: n.DialContext}   // and so on
//
// Between Dial and Listen go the segments of the handshake, a SYN, a SYN-ACK, an
// ACK or a RST at a time, from a client.Attempt to a listenq.Listener and back:
// which platform serves and which one dials is chosen independently, for the
// network, a listener or a dialer.
//
// # In a test
//
// Make the network inside the bubble; its time starts there. This is a whole
// test, of what a user feels when a server is busy for 1.5 s:
//
//	func TestBusyServer(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			n := memnet.New(memnet.Config{})
//			l, _ := n.Listen("tcp", "shop:80", 0, nil) // room for one
//			n.Dial("tcp", "shop:80")                   // takes it
//			time.AfterFunc(1500*time.Millisecond, func() { l.Accept() })
//
//			start := time.Now()
//			n.Dial("tcp", "shop:80") // SYNs at 0 s, 1 s and 2 s
//			if took := time.Since(start); took != 2*time.Second {
//				t.Errorf("connected after %v", took)
//			}
//		})
//	}
//
// Outside a bubble the same happens in real time.
//
// # Addresses
//
// The network is a host with all addresses. A host in "host:port" is an IP
// address or any name; a name gets an address of its own in 198.18.0.0/16 (with
// "tcp6" in 2001:2::/48) when it is used first, and localhost is 127.0.0.1 or
// ::1. Nobody listens where Listen was not called: a connect there is refused.
// Clients connect from 192.0.2.1, 2001:db8::1 or loopback, with ports from 32768
// to 60999.
//
// # Connections
//
// A Conn behaves as a TCP connection does: deadlines, half-close, bounded
// buffers that make a writer wait, data that is kept while the connection waits
// for accept, RST after SetLinger(0) or a Close that leaves data unread. A RST
// is reported once as ECONNRESET, after the data that came before it; then Read
// returns io.EOF and Write EPIPE. Errors are those of package net around this
// system's errno values, whatever the platform: WSAECONNREFUSED is
// syscall.ECONNREFUSED.
//
// A connect that succeeded is not yet a connection at the listener: its final
// ACK may have met a full accept queue. What the client writes then is sent
// again as Linux does it, first after 200 ms and a round trip, until the listener
// has room, answers with RST or 16 repetitions are over.
//
// # Limits
//
// Segments are never lost, duplicated or reordered on the way. Established
// connections are not simulated segment by segment: there is no congestion
// control, no keep-alive, no TIME-WAIT. As long as the listener's host has not got
// all that a client has sent, each segment of the client carries everything.
//
// # Purity
//
// Unlike listenq, of which it is the shell, this package uses package net, sync,
// os and syscall. It starts no goroutine of its own; timers are those of package
// time.
package memnet
