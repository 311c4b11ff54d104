package listenq

import (
	"fmt"
	"strings"
)

// Overflow is what a listener answers when a queue is full. The zero value is
// what Linux does: nothing for the SYN, and for the final ACK what
// tcp_abort_on_overflow says.
type Overflow struct {
	// ResetSYN answers a SYN that finds a queue full with RST: connect(2) fails
	// at once with ECONNREFUSED. Otherwise the SYN is ignored; the client sends
	// it again after 1 s, 3 s, 7 s ... and may succeed then.
	ResetSYN bool
	// ResetFinalACK answers a final ACK that finds the accept queue full with
	// RST, as tcp_abort_on_overflow=1 does for all listeners: connect(2) has
	// already succeeded, and the next read or write fails with ECONNRESET.
	// Otherwise the ACK is ignored and the SYN-ACK will be sent again. An ACK
	// that carries a SYN cookie is ignored either way, as on Linux.
	ResetFinalACK bool
}

var overflowNames = map[Overflow]string{
	{}:                                    "drop",
	{ResetSYN: true}:                      "reset",
	{ResetFinalACK: true}:                 "abort",
	{ResetSYN: true, ResetFinalACK: true}: "reset+abort",
}

// String returns the policy's name: "drop", "reset" (the SYN), "abort" (the
// final ACK) or "reset+abort".
func (o Overflow) String() string { return overflowNames[o] }

// MarshalText makes the policy print as its name in JSON.
func (o Overflow) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a policy's name; the error lists the names.
func (o *Overflow) UnmarshalText(text []byte) error {
	for policy, name := range overflowNames {
		if name == strings.ToLower(string(text)) {
			*o = policy
			return nil
		}
	}
	return fmt.Errorf("unknown overflow policy %q: use drop, reset, abort or reset+abort", text)
}
