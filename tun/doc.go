// Package tun provides link endpoints for gVisor's netstack: a Linux TUN
// device with or without segmentation offload, and a pair joined in memory.
//
//	link, err := tun.Open(tun.Config{
//		Name:          "ul%d",
//		HostAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
//	})
//	if err != nil {
//		return err // one line: operation, value, cause, remedy
//	}
//	defer link.Close()
//	// s is a *stack.Stack of gVisor; the host is 192.0.2.1, s may be 192.0.2.2.
//	s.CreateNIC(1, link)
//
// # Device
//
// [Open] creates the device, gives it the host's addresses and brings it up.
// It is not persistent: [Link.Close], or the death of the process, removes
// it. It needs CAP_NET_ADMIN in the network namespace of the calling thread,
// and /dev/net/tun; `unshare -Urn` gives both to any user.
//
// With offload (the default where the kernel has it) segments of up to 64 KiB
// cross in one system call and checksums between the kernel and netstack are
// not computed at all. Without, each packet is at most the MTU and carries
// full checksums; the device is then opened with github.com/songgao/water.
//
// # Memory
//
// [Pipe] joins two stacks in one process and needs no privilege. With
// PipeConfig.Manual nothing moves until a driver calls [MemLink.Deliver].
//
// # Paths that are not perfect
//
// [NewImpaired] wraps any link: what is sent through it is delayed, lost,
// duplicated, reordered, damaged or slowed down, by chance that begins with a
// seed. It needs no netem in the kernel and follows any clock. Links nest: the
// outermost sees a packet first on its way out and last on its way in.
//
// # Order of closing
//
// Close the link before the stack: gVisor's Stack.Wait waits for the link's
// reader while it holds a lock that delivering a packet may need, so a stack
// destroyed under traffic with the link still open can deadlock.
//
// # Limits
//
// No link works in a bubble of testing/synctest together with netstack, whose workers
// hang there.
//
// One queue per device. No UDP segmentation and no TSO with ECN: netstack
// would misread the former and does not negotiate the latter. With offload
// the checksum of an IP fragment is not verified (it covers packets not yet
// seen) and netstack, told that the link verifies, does not do it either;
// packets that the kernel itself sends are always intact. Packets received
// with offload may carry partial checksums, so netstack should not forward
// them to another NIC.
package tun
