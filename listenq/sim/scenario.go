package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

// Bounds of a scenario.
const (
	// MaxClients is how many clients a scenario may have; each needs an address
	// of its own in 198.18.0.0/15.
	MaxClients = 100_000
	// MaxDuration is the longest simulated time.
	MaxDuration = 24 * time.Hour
	// MaxDelay bounds a round trip and its jitter.
	MaxDelay = time.Minute
	// MaxEvents ends a run that would take more steps.
	MaxEvents = 50_000_000
)

// A Scenario is one run: who connects to whom, over what. The zero value of a
// field is what its comment says; Server, Client, Clients and Duration must be
// set.
type Scenario struct {
	// Server is the platform of the listener.
	Server *listenq.Profile
	// Backlog is the number handed to listen(2), in connections.
	Backlog int
	// Sysctls are the listener's settings; nil stands for the profile's.
	Sysctls *listenq.Sysctls
	// Overflow is the listener's policy; the zero value is the profile's rule.
	Overflow listenq.Overflow

	// Client is the platform of the clients.
	Client *client.Profile
	// Clients is how many connect, 1 to MaxClients.
	Clients int
	// Arrival says when; the zero value is all at time 0.
	Arrival Arrival
	// Silent is the share of clients, 0 to 1, that send one SYN and nothing
	// more, whatever they get: a SYN flood.
	Silent float64
	// Patience is how long after its first SYN a client waits for its reply; then
	// it gives up connecting, or resets its connection. 0 is for ever.
	Patience time.Duration

	// RTT is the round trip time, half of it in each direction, 0 to MaxDelay.
	RTT time.Duration
	// Jitter makes each segment up to this much slower, 0 to MaxDelay. Segments
	// may then overtake each other.
	Jitter time.Duration
	// Loss is the share of segments, 0 to 1, that never arrive.
	Loss float64

	// AcceptStart is when the application calls accept for the first time.
	AcceptStart time.Duration
	// AcceptEvery is how long the application is busy after each turn of
	// accepting; 0 accepts whatever comes at once.
	AcceptEvery time.Duration
	// AcceptBatch is how many connections it accepts in a turn, if as many wait;
	// 0 stands for 1.
	AcceptBatch int

	// Seed is where chance comes from.
	Seed uint64
	// Duration is when the run ends, if anything still happens then, up to
	// MaxDuration.
	Duration time.Duration
}

// validate says what is wrong, with the field, its value and its range.
func (s *Scenario) validate() error {
	switch {
	case s.Server == nil:
		return fmt.Errorf("sim: no server profile: set Scenario.Server, for example to one of listenq.Profiles()")
	case s.Client == nil:
		return fmt.Errorf("sim: no client profile: set Scenario.Client, for example to one of client.Profiles()")
	case s.Clients < 1 || s.Clients > MaxClients:
		return fmt.Errorf("sim: %d clients: use 1 to %d", s.Clients, MaxClients)
	case s.Duration <= 0 || s.Duration > MaxDuration:
		return fmt.Errorf("sim: a duration of %v: use more than 0 and at most %v", s.Duration, MaxDuration)
	case s.RTT < 0 || s.RTT > MaxDelay:
		return fmt.Errorf("sim: a round trip time of %v: use 0 to %v", s.RTT, MaxDelay)
	case s.Jitter < 0 || s.Jitter > MaxDelay:
		return fmt.Errorf("sim: a jitter of %v: use 0 to %v", s.Jitter, MaxDelay)
	case !isShare(s.Loss):
		return fmt.Errorf("sim: a loss of %v: use a share from 0 to 1", s.Loss)
	case !isShare(s.Silent):
		return fmt.Errorf("sim: %v of the clients silent: use a share from 0 to 1", s.Silent)
	case s.Patience < 0:
		return fmt.Errorf("sim: a patience of %v: use 0, which is for ever, or more", s.Patience)
	case s.AcceptStart < 0:
		return fmt.Errorf("sim: accept starts at %v: use 0 or more", s.AcceptStart)
	case s.AcceptEvery < 0:
		return fmt.Errorf("sim: accept every %v: use 0, which is at once, or more", s.AcceptEvery)
	case s.AcceptBatch < 0:
		return fmt.Errorf("sim: %d connections accepted in a turn: use 1 or more", s.AcceptBatch)
	case s.Arrival.kind == given && len(s.Arrival.given) != s.Clients:
		return fmt.Errorf("sim: %d times of arrival for %d clients: give as many", len(s.Arrival.given), s.Clients)
	}
	return s.Arrival.validate()
}

func isShare(x float64) bool { return !math.IsNaN(x) && x >= 0 && x <= 1 }
