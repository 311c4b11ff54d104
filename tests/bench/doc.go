//go:build linux

// Command bench compares TCP stacks with one another on this machine:
//
//	go run ./tests/bench                      # everything, under three minutes
//	go run ./tests/bench --only bulk --seconds 2
//	go run ./tests/bench --json > result.json
//	go run ./tests/bench --contestants ulisten --against HEAD~1 --rounds 7
//
// The contestants are the kernel over a veth pair, stock gVisor netstack over a
// plain TUN, and ulisten over a TUN with and without offload. Their peer is
// always a kernel client. Server and client are processes of their own in
// network namespaces of their own, made afresh for every trial, so nothing is
// left over from the trial before and the CPU time of the server is its own.
// Any user may run it where /dev/net/tun can be opened.
//
// Machines are noisy, and absolute figures travel badly. Contestants therefore
// take turns round by round, and targets compare them within a round: what is
// printed is the median of the ratios of all rounds, with their range.
//
// CPU time is what the kernel charges to the server process. Over a TUN that
// includes the kernel's own work on packets that the process sends. Over veth
// packets are handled in interrupts that belong to nobody, so there it says
// little and is left out.
package main
