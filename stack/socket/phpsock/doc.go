//go:build linux

// Package phpsock is the view that the manual page of socket_listen has of sockets:
// PHP's sockets extension, function by function, on the sockets of a stack.
//
//	php := phpsock.New(ns) // ns is a *socket.Namespace
//	sock := php.Create(unix.AF_INET, unix.SOCK_STREAM, php.GetProtoByName("tcp"))
//	php.Bind(sock, "127.0.0.1", 5000)
//	if !php.Listen(sock, 1) {
//		fmt.Println(php.Strerror(php.LastError(sock)))
//	}
//
// A method is the function whose name is its own with socket_ before it: Create is
// socket_create, SetNonblock is socket_set_nonblock. What PHP returns instead of
// FALSE comes with a bool; a nil *Socket is FALSE. What PHP takes by reference is
// a pointer here, and what may be left out comes last.
//
// # Errors
//
// A call that fails leaves its errno in the socket and in the extension, where
// LastError finds it until ClearError; calls that succeed leave it alone. Warning
// gets the text that PHP shows.
//
// # Limits
//
// Names of hosts are not looked up: they fail with -10001, "Unknown host", as they
// do in PHP where there is no such host. A PHP_NORMAL_READ of a socket that does
// not block returns what is there, where PHP tries without end.
//
// # Concurrency
//
// A Sockets and its sockets are safe for concurrent use, though a script has no
// threads: the last error is that of whichever call failed last.
package phpsock
