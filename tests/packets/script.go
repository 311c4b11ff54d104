//go:build linux

package packets

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A Script is a packet script.
type Script struct {
	// Name is how errors call it.
	Name   string
	Events []Event
	// IPv4 and IPv6 say whether the script has words of one version only; it
	// cannot have both.
	IPv4, IPv6 bool
}

// Versions returns the versions of IP that a script can be played over.
func (s *Script) Versions() []int {
	switch {
	case s.IPv4:
		return []int{4}
	case s.IPv6:
		return []int{6}
	}
	return []int{4, 6}
}

// An Event is one line.
type Event struct {
	Line int
	Text string
	At   Moment
	// Action is a *Call, *Segment, *ICMP, Settings or Assertion.
	Action any
}

// A Moment is when an event is due.
type Moment struct {
	// Relative says that the times count from the event before, not from the
	// start.
	Relative bool
	// From and To are the same unless the event is a packet that may come within
	// a range.
	From, To time.Duration
	// Waits says that a call must wait, until End.
	Waits bool
	End   time.Duration
}

// A Call is a system call and what it must return.
type Call struct {
	Name string
	Args []value
	// Result is what the call returns, and Error, unless it is 0, the error.
	Result int
	Error  unix.Errno
}

// Packet says what scripts say about the IP header of a packet.
type Packet struct {
	// TTL and TOS are fields of the IP header. If they are not Set, any will do,
	// and 64 and 0 are sent.
	TTL, TOS optional[uint8]
}

// A Segment is a TCP segment, to send or to expect. Its numbers are relative.
type Segment struct {
	Packet
	// In says that it goes to the stack.
	In      bool
	Flags   header.TCPFlags
	Seq     uint32
	Len     int
	Ack     uint32
	Window  optional[uint16]
	Options []option
	// AnyOptions says that the options do not matter.
	AnyOptions bool
}

// An ICMP is an error for the stack, about a segment that it has, or has not, sent.
type ICMP struct {
	Packet
	// Type is a name, the same for both versions of IP where both have one.
	Type string
	// Code is the name of a code, or a number.
	Code string
	MTU  uint32
	Seq  uint32
	Len  int
}

// Settings are sysctls to set.
type Settings []Setting

// A Setting is a sysctl and its new value.
type Setting struct{ Name, Value string }

// An Assertion is a list of comparisons that must hold.
type Assertion []comparison

// A comparison is of a field of TCP_INFO with a number.
type comparison struct {
	field string // of unix.TCPInfo
	op    string
	value uint64
}

// An optional is a value that may be absent.
type optional[T any] struct {
	Set   bool
	Value T
}

func some[T any](v T) optional[T] { return optional[T]{true, v} }

// or returns the value, or another one if there is none.
func (o optional[T]) or(other T) T {
	if o.Set {
		return o.Value
	}
	return other
}
