//go:build linux

// Package syscalls compares the sockets API of package socket with the kernel's:
// the same calls, in the same order, on both sides.
//
// A script is a list of calls. Its text is one call a line, with the names of the
// descriptors that the call makes in front:
//
//	l = socket inet stream|nonblock
//	bind l 192.0.2.1:p1
//	listen l 1
//	c = socket inet stream|nonblock
//	connect c &l                # the address that l is bound to
//	s = accept l nonblock
//	write c "hello"
//	recv s 100 peek
//
// Playing it notes, for each call, what it returned, and for every descriptor
// what poll(2) says afterwards. What two sides may choose for themselves gets a
// name in the order of appearance: ephemeral ports e1, e2 and so on, names that
// bind(2) makes up for unix sockets auto1, auto2. p1 to p8 are ports that the two
// sides agree on.
//
// The tests play the scripts in testdata, tables of wrong arguments, and random
// scripts. A random script that is not the same on both sides is made as short as
// it can be and printed; put it into testdata when the cause is mended. What is
// different for a reason stands in differences.txt, each entry with a script in
// which it must occur.
//
//	go test ./tests/syscalls                                       # 30,000 random calls
//	ULISTEN_SYSCALLS=300000 go test -timeout 30m ./tests/syscalls  # more of them
package syscalls
