package client

import (
	"fmt"
	"time"
)

// An Action is what the caller of an Attempt must do.
type Action uint8

// The actions.
const (
	Nothing  Action = iota // wait
	SendSYN                // send the SYN again
	Refused                // connect(2) fails with the profile's Refused
	TimedOut               // connect(2) fails with the profile's TimedOut
)

// String returns the action in words.
func (a Action) String() string {
	names := [...]string{"nothing", "send SYN", "refused", "timed out"}
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("unknown(%d)", int(a))
}

// An Attempt is one connect(2) in SYN-SENT. Make it with NewAttempt; the caller
// sends the first SYN at that moment. It is not safe for concurrent use.
type Attempt struct {
	profile *Profile
	syns    int           // sent so far
	next    time.Duration // when the SYN is sent again, if repeats
	repeats bool          // whether another SYN follows
	giveUp  time.Duration
	reset   bool // the latest SYN was answered by RST
	over    bool
}

// NewAttempt starts an attempt whose first SYN is sent at now. The profile must
// be valid, see Profile.Validate, and must not change meanwhile.
func NewAttempt(p *Profile, now time.Duration) *Attempt {
	a := &Attempt{profile: p, giveUp: now + p.GiveUp}
	a.sent(now)
	return a
}

func (a *Attempt) sent(now time.Duration) {
	a.syns++
	a.reset = false
	var wait time.Duration
	wait, a.repeats = a.profile.wait(a.syns)
	a.next = now + wait
}

// SYNs returns how many SYNs have been sent, the first included.
func (a *Attempt) SYNs() int { return a.syns }

// NextTimeout returns when Advance is due; false once the attempt is over.
func (a *Attempt) NextTimeout() (time.Duration, bool) {
	switch {
	case a.over:
		return 0, false
	case a.repeats:
		return min(a.next, a.giveUp), true
	}
	return a.giveUp, true
}

// Advance fires the first timer that is due at now and says what it asks for:
// SendSYN, TimedOut, which ends the attempt, or Nothing if none is due. If
// Advance comes late, call it until it returns Nothing.
func (a *Attempt) Advance(now time.Duration) Action {
	due, ok := a.NextTimeout()
	switch {
	case !ok || due > now:
		return Nothing
	case due == a.giveUp:
		a.over = true
		return TimedOut
	}
	a.sent(due)
	return SendSYN
}

// Reset takes in a RST that acknowledges the SYN. It returns Refused, which ends
// the attempt, or Nothing where the platform sends its SYN again a little later.
func (a *Attempt) Reset(now time.Duration) Action {
	switch {
	case a.over:
		return Nothing
	case a.syns > a.profile.ResetRetries:
		a.over = true
		return Refused
	case !a.reset:
		a.reset, a.repeats = true, true
		a.next = now + a.profile.ResetDelay
	}
	return Nothing
}

// Connected ends the attempt: a SYN-ACK arrived, or connect(2) was called off.
func (a *Attempt) Connected() { a.over = true }
