// Package stack is a userspace TCP stack whose listen queue is explicit: gVisor
// netstack carries established connections, and package listenq decides
// everything that happens before.
//
//	s, err := stack.New(stack.Config{
//		Link:      link, // any netstack link endpoint; package tun has some
//		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")},
//	})
//	l, err := s.Listen("tcp", "192.0.2.2:80", 2, nil)
//	go http.Serve(l, handler)
//	l.SetOverflow(listenq.Overflow{ResetSYN: true}) // from now on
//	fmt.Println(l.Stats().AcceptQueue)
//
// # How a connection comes to be
//
// Segments that reach a listening port without a connection go to a
// listenq.Listener, and its outcomes are what the wire shows: SYN-ACKs, cookies,
// challenge ACKs and RSTs are built here, and netstack's own listener never sees
// a segment. Only when listenq promotes a request is the connection grafted onto
// netstack: a synthetic SYN and ACK create the endpoint, netstack's own SYN-ACK
// is swallowed on its way out, and the endpoint is given the sequence number and
// timestamp offset that the client has already been told. Segments that arrive
// meanwhile are held and follow in order.
//
// # Profiles
//
// A listener follows the rules of a listenq.Profile, its own or the stack's. That
// is how it treats its queue, up to the moment when a connection is established:
// window, segment size and options of a SYN-ACK, the initial sequence number's
// randomness and everything after are netstack's under every profile. Where a
// platform keeps one queue of half-open connections for the whole machine, each
// listener here has one of that size.
//
// # Errors
//
// Errors of the socket calls are *net.OpError around *os.SyscallError around an
// errno, as in package net: errors.Is(err, syscall.EADDRINUSE) works. Closed
// sockets match net.ErrClosed and deadlines os.ErrDeadlineExceeded. ECONNABORTED
// from accept, which some profiles call for, is bare, so that it counts as a
// temporary error and servers go on.
//
// # Concurrency
//
// Everything exported is safe for concurrent use, unless it says otherwise.
//
// # Limits
//
// A stack cannot run in a bubble of testing/synctest: New refuses. Packages
// listenq/memnet (in a bubble) and stack/stacktest (in virtual time of its own) are for
// tests.
//
// TCP only (package socket adds UDP and unix sockets); one link. No TCP Fast Open and no ECN. Ports are shared by the rules
// of Linux: a listener on all addresses and one on a single address get along
// only if both have SO_REUSEPORT, and then the latter gets what is for its address.
package stack
