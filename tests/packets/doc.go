//go:build linux

// Package packets plays packet scripts: what a program calls and what crosses the
// wire, each with its time, against our stack in virtual time and against the
// kernel of this machine. Every script in testdata holds on the kernel; those that
// do not hold on ours yet stand in testdata/open.txt, with the reason.
//
// The notation is a subset of packetdrill's
// (https://github.com/google/packetdrill). One event a line, // begins a comment:
//
//	`sysctl -q net.ipv4.tcp_fin_timeout=5`
//	   0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
//	  +0 bind(3, ..., ...) = 0
//	  +0 listen(3, 1) = 0
//	  +0 < S 0:0(0) win 32792 <mss 1000,nop,wscale 7>
//	  +0 > S. 0:0(0) ack 1 <...>
//	+.01 < . 1:1(0) ack 1 win 257
//	  +0 accept(3, ..., ...) = 4
//	  +0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0
//	  +0 read(4, ..., 10) = -1 EAGAIN (Resource temporarily unavailable)
//	  +0 write(4, ..., 40) = 40
//	  +0 > P. 1:41(40) ack 1
//	+.2~+.22 > P. 1:41(40) ack 1
//	  +0 %{ assert tcpi_snd_cwnd == 1 }%
//
// A time is in seconds: since the start (0), since the event before (+.01), or
// between two of the latter (+.2~+.22). A call that has to wait for something has
// the time of its end, too, counted like that of its beginning: +0...1.1 connect(...).
// A packet may be off its time by the machine's tolerance: see OurTolerance and
// KernelTolerance.
//
// Packets: < goes to the stack, > must come from it, next. Sequence numbers are
// relative: those of the peer count from a fixed number, those of the stack from
// its latest SYN. Flags are S F R P . U E W, and - is none. What is left out of an
// expected packet may be anything (ack stands if and only if the dot does), except
// for the options: none are none, <...> are any, and the value of a timestamp
// (TS val 600 ecr 1500) counts in ms from the first one that a script gives. A
// segment longer than the MSS stands for the segments that carry it, all of the
// same length but the last, whatever is pushed. The payload is a pattern by sequence number, and is
// checked wherever it arrives. [ttl 42] and [tos 0x10] before the flags are fields
// of the IP header: hop limit and traffic class in IPv6.
//
// ICMP goes to the stack only; it quotes the numbers in brackets, and the stack's
// latest SYN counts:
//
//	+.1 < icmp unreachable frag_needed mtu 1000 [1:1461(1460)]
//
// Types are unreachable, time_exceeded, parameter_problem, for IPv4 source_quench,
// for IPv6 packet_too_big; codes are a number or one of the names in icmp.go.
//
// The calls are those in calls.go. A descriptor is a number of the script's own.
// Each call returns at once; one that waits is tried again until it has not to.
// poll waits for nothing.
//
// Settings stand between backticks: sysctl -q NAME=VALUE. Each play has a machine
// of its own, so "ip tcp_metrics flush all" is nothing. Assertions compare fields
// of TCP_INFO, of the connection accepted or connected last, with numbers.
//
// The right edge of the window that the stack offers must never move left, whether
// a script looks at windows or not.
//
// A script is played over IPv4 and IPv6, unless it has words of one of them. At
// the end nothing may have come from the stack that was not expected.
package packets
