package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Fate is what became of a client by the end of a run.
type Fate uint8

// The fates.
const (
	Absent     Fate = iota // had not connected yet
	Connecting             // connect(2) had not returned
	Waiting                // connected, had no reply yet
	Served                 // connected and got its reply
	Refused                // connect(2) failed because of a RST
	TimedOut               // connect(2) failed because nothing came
	Reset                  // connected, then got a RST: ECONNRESET
	GaveUp                 // ran out of patience
	Silent                 // sent one SYN, as a flood does
)

var fateNames = [...]string{
	"absent", "connecting", "waiting", "served", "refused", "timed out", "reset", "gave up", "silent",
}

// String returns the fate in words.
func (f Fate) String() string {
	if int(f) < len(fateNames) {
		return fateNames[f]
	}
	return fmt.Sprintf("unknown(%d)", int(f))
}

// MarshalText makes the fate print as text in JSON.
func (f Fate) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (f *Fate) UnmarshalText(text []byte) error {
	i := slices.Index(fateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown fate %q: use one of %s", text, strings.Join(fateNames[:], ", "))
	}
	*f = Fate(i)
	return nil
}

// Never is the time of what did not happen.
const Never time.Duration = -1

// A Client is what one client lived through. Times count from the start of the
// run; what did not happen has the time Never.
type Client struct {
	Fate Fate
	// Error is the error that the client's program saw, under its platform's
	// name; "" if none.
	Error string
	// SYNs are the times at which it sent a SYN; the first is when connect(2)
	// was called.
	SYNs []time.Duration
	// Connected is when connect(2) succeeded.
	Connected time.Duration
	// Queued is when the connection entered the accept queue, on the server. A
	// client can be connected and not queued: its final ACK was ignored.
	Queued time.Duration
	// Accepted is when accept(2) returned the connection.
	Accepted time.Duration
	// End is when the fate was decided: when the reply, the RST or the last
	// timeout came.
	End time.Duration
}

// ConnectTime is how long connect(2) took to succeed, or Never.
func (c *Client) ConnectTime() time.Duration {
	if c.Connected == Never {
		return Never
	}
	return c.Connected - c.SYNs[0]
}

// Retransmissions is how often the SYN was sent again.
func (c *Client) Retransmissions() int { return max(len(c.SYNs)-1, 0) }

// A Result is what became of a scenario.
type Result struct {
	Scenario Scenario
	// Limit is what became of the backlog. SYNCapacity and AcceptCapacity are how
	// much fits the queues, -1 if there is no bound.
	Limit, SYNCapacity, AcceptCapacity int
	Clients                            []Client
	// Depths are the queues over time.
	Depths []Depth
	// MostSYN and MostAccept are the greatest depths.
	MostSYN, MostAccept int
	Counters            listenq.Counters
	// Decisions are what the listener decided, the commonest first.
	Decisions []DecisionCount
	// End is when nothing was left to happen, or the scenario's duration.
	End time.Duration
	// Events is how many steps the run took.
	Events int
}

// Fates counts the clients by their fate.
func (r *Result) Fates() map[Fate]int {
	n := map[Fate]int{}
	for i := range r.Clients {
		n[r.Clients[i].Fate]++
	}
	return n
}
