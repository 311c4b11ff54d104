// Package e2e tests the stack against the kernel: real clients on the kernel's
// side of a TUN device, a stack.Stack on the other.
//
//	┌────────────── network namespace of one test ──────────────┐
//	│  kernel clients     forger                                │
//	│  192.0.2.1          192.0.2.77, any packet, any shape     │
//	│  2001:db8::1        2001:db8::77                          │
//	│        └─────── TUN device ───────┘                       │
//	└────────────────────────│──────────────────────────────────┘
//	              stack 192.0.2.2, 2001:db8::2
//
// Every test makes its own namespace and needs no privilege; where the machine
// has no namespaces or no TUN it is skipped, naming what is missing. Set
// ULISTEN_SHORT to move megabytes instead of gigabytes.
//
// After the last test no goroutine, endpoint or packet buffer of any stack may
// be left: TestMain fails otherwise.
package e2e
