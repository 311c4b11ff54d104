// Package platforms plays short scripts of segments on TCP stacks other than
// ours and on listenq under the profile of that stack, and compares what they
// answer:
//
//   - lwIP, the library that Debian ships and the same source built with
//     TCP_LISTEN_BACKLOG 1, in a process of its own (testdata/lwip);
//   - gVisor netstack as it comes, its own listener included.
//
// Both run in virtual time. The library also runs once on a TUN device, with
// sockets of the kernel as its clients.
//
// A script (testdata/scripts) opens with what it shows and lists commands:
//
//	listen N            listen(2), first or again
//	open a b            SYN, and the ACK of the SYN-ACK if one came
//	syn a, ack a        one segment each
//	data a 10, fin a    in place of the ACK, or after it
//	send a RST seq=1    any flags; seq and ack are relative, len is in bytes
//	icmp a 3/1 seq=1    an ICMP error; seq is relative to the SYN-ACK's number, or 0
//	wait 10s            time passes
//	accept              one connection, without waiting
//	close               the listener
//
// A difference that is known has its reason in testdata/divergence.txt, and
// must be there when the script is played.
package platforms
