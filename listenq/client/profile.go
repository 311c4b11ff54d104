package client

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Profile is how a platform's connect(2) behaves while nothing, or a RST,
// answers its SYN.
type Profile struct {
	// Name is what the profile is chosen by: "linux-6".
	Name string `yaml:"name"`
	// Title is for people: "Linux 6.5 and later".
	Title string `yaml:"title"`
	// Repeats are the times at which an unanswered SYN is sent again, counted
	// from the first SYN, increasing. Empty means never.
	Repeats []time.Duration `yaml:"repeats"`
	// GiveUp is when connect(2) fails with TimedOut, counted from the first SYN;
	// later than the last of Repeats.
	GiveUp time.Duration `yaml:"give-up"`
	// ResetRetries is how often the SYN must have been repeated, for whatever
	// reason, before a RST ends the attempt: 0 where the first RST does, 4 on
	// Windows.
	ResetRetries int `yaml:"reset-retries"`
	// ResetDelay is the time between such a RST and the next SYN.
	ResetDelay time.Duration `yaml:"reset-delay"`
	// Refused and TimedOut are the errors of connect(2) under the platform's own
	// names: "ECONNREFUSED", "WSAECONNREFUSED".
	Refused  string `yaml:"refused"`
	TimedOut string `yaml:"timed-out"`
	// Citations says where each value comes from, under the field's name in
	// files: "repeats".
	Citations map[string]listenq.Citation `yaml:"citations,omitempty"`
}

// MaxRepeats and MaxGiveUp bound a profile: no platform repeats a SYN more than
// 255 times (Linux tcp_syn_retries is limited to 127), and a schedule that takes
// longer than a day is taken for a mistake.
const (
	MaxRepeats = 255
	MaxGiveUp  = 24 * time.Hour
)

// Clone returns a copy that can be changed.
func (p *Profile) Clone() *Profile {
	c := *p
	c.Repeats = slices.Clone(p.Repeats)
	c.Citations = maps.Clone(p.Citations)
	return &c
}

// Fields yields every rule of a profile, under its name in files: name, title and
// citations are none.
func (p *Profile) Fields() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		_ = yield("repeats", p.Repeats) &&
			yield("give-up", p.GiveUp) &&
			yield("reset-retries", p.ResetRetries) &&
			yield("reset-delay", p.ResetDelay) &&
			yield("refused", p.Refused) &&
			yield("timed-out", p.TimedOut)
	}
}

// Validate reports what contradicts itself in the profile, all of it: each wraps a
// *listenq.ProfileError, with the value and what is allowed.
func (p *Profile) Validate() error {
	var wrong []error
	complain := func(field, format string, args ...any) {
		err := &listenq.ProfileError{Profile: p.Name, Field: field, Reason: fmt.Sprintf(format, args...)}
		wrong = append(wrong, fmt.Errorf("client %w", err))
	}
	if p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		complain("name", "use small letters, digits, dots and hyphens")
	}
	if len(p.Repeats) > MaxRepeats {
		complain("repeats", "%d of them; use at most %d", len(p.Repeats), MaxRepeats)
	}
	var last time.Duration
	for _, at := range p.Repeats {
		if at <= last {
			complain("repeats", "%v is not after %v; times count from the first SYN and increase", at, last)
			break
		}
		last = at
	}
	switch {
	case p.GiveUp <= last:
		complain("give-up", "%v is not after the last SYN at %v; connect would end before it was sent", p.GiveUp, last)
	case p.GiveUp > MaxGiveUp:
		complain("give-up", "%v; use at most %v", p.GiveUp, MaxGiveUp)
	}
	switch total := time.Duration(p.ResetRetries) * p.ResetDelay; {
	case p.ResetRetries < 0 || p.ResetRetries > MaxRepeats:
		complain("reset-retries", "%d; use 0 to %d", p.ResetRetries, MaxRepeats)
	case p.ResetDelay < 0 || p.ResetDelay > MaxGiveUp:
		complain("reset-delay", "%v; use 0s to %v", p.ResetDelay, MaxGiveUp)
	case p.ResetRetries > 0 && p.ResetDelay == 0:
		complain("reset-delay", "0s; with reset-retries %d the SYN needs a time to be repeated after", p.ResetRetries)
	case p.ResetRetries > 0 && total >= p.GiveUp:
		complain("reset-retries", "%d, %v apart, take until %v, and connect gives up at %v", p.ResetRetries, p.ResetDelay, total, p.GiveUp)
	}
	if p.Refused == "" {
		complain("refused", "empty; name the error, such as ECONNREFUSED")
	}
	if p.TimedOut == "" {
		complain("timed-out", "empty; name the error, such as ETIMEDOUT")
	}
	return errors.Join(wrong...)
}

// wait is the time between the n-th SYN and the next, n from 1, as far as timers
// are concerned; false if there is no next.
func (p *Profile) wait(n int) (time.Duration, bool) {
	switch {
	case n > len(p.Repeats):
		return 0, false
	case n == 1:
		return p.Repeats[0], true
	}
	return p.Repeats[n-1] - p.Repeats[n-2], true
}
