package listenq

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// A Profile is how a platform treats a listen queue. It is data alone: a
// Listener decides by these values and never by a name, so a changed copy is a
// profile like any other. A profile in use must not be changed.
//
// The tags name each field in profile files and in Citations: Backlog.Negative
// is "backlog.negative".
type Profile struct {
	Name  string `yaml:"name"`  // as on a command line: "linux-6"
	Title string `yaml:"title"` // for people: "Linux 6.18"

	Backlog     BacklogRules     `yaml:"backlog"`
	AcceptQueue AcceptQueueRules `yaml:"accept-queue"`
	SYNQueue    SYNQueueRules    `yaml:"syn-queue"`
	SYNACK      SYNACKRules      `yaml:"syn-ack"`
	HalfOpen    HalfOpenRules    `yaml:"half-open"`
	ICMP        ICMPRules        `yaml:"icmp"`
	Cookies     CookieRules      `yaml:"cookies"`
	Socket      SocketRules      `yaml:"socket"`
	Tools       Tools            `yaml:"tools"`

	// Citations say where each value comes from, by the field's path.
	Citations map[string]Citation `yaml:"citations,omitempty"`
}

// BacklogRules turn the number handed to listen(2) into the limit n.
type BacklogRules struct {
	Negative BacklogRule `yaml:"negative"`
	Zero     BacklogRule `yaml:"zero"`
	// Maximum is the largest limit, 0 to 2147483647; a larger backlog becomes
	// the maximum. Setting is the platform's name of what moves it; "" says that
	// nothing does.
	Maximum int    `yaml:"maximum"`
	Setting string `yaml:"setting"`
	// PlainMaximum, if not 0, holds a backlog that is neither the sentinel nor a
	// hint to less than Maximum.
	PlainMaximum int `yaml:"plain-maximum"`
	// Sentinel, if not 0, is a backlog that stands for Maximum (SOMAXCONN of
	// Winsock).
	Sentinel int `yaml:"sentinel"`
	// HintMinimum and HintMaximum are the range of a hint (TakeHint).
	HintMinimum int `yaml:"hint-minimum"`
	HintMaximum int `yaml:"hint-maximum"`
	// Minimum is the smallest limit, after everything else.
	Minimum int `yaml:"minimum"`
	// Plus is added at the very end.
	Plus int `yaml:"plus"`
}

// AcceptQueueRules are about connections that wait for accept.
type AcceptQueueRules struct {
	Counts Counting `yaml:"counts"`
	// AtSYN and AtACK are how many fit, as a SYN and as a final ACK find it.
	AtSYN Formula `yaml:"at-syn"`
	AtACK Formula `yaml:"at-ack"`
	// FullSYN is what a SYN gets that finds AtSYN reached.
	FullSYN SYNRule `yaml:"full-syn"`
	// FullACK is what a final ACK, or data in its place, gets that finds AtACK
	// reached. FullACKSetting is the platform's name of the switch between it
	// and the other: ignore and reset, reset and forget.
	FullACK        ACKRule `yaml:"full-ack"`
	FullACKSetting string  `yaml:"full-ack-setting"`
}

// SYNQueueRules are about requests.
type SYNQueueRules struct {
	// Capacity is how many requests fit. The limit that it is reckoned from is
	// first cut to Maximum, if that is not 0, which Setting moves.
	//
	// With the scope of the system a Listener alone stands for the machine.
	Capacity Formula `yaml:"capacity"`
	Maximum  int     `yaml:"maximum"`
	Setting  string  `yaml:"setting"`
	Scope    Scope   `yaml:"scope"`
	// Buckets and PerBucket, if not 0, divide the queue by a hash of the flow; a
	// bucket can be full while the queue is not.
	Buckets   int `yaml:"buckets"`
	PerBucket int `yaml:"per-bucket"`
	// Full is what a SYN gets that finds the queue or its bucket full.
	Full SYNRule `yaml:"full"`
	// LastQuarter keeps the last quarter of tcp_max_syn_backlog for addresses
	// that are known, while cookies are off.
	LastQuarter bool `yaml:"last-quarter"`
	// Shed says when old requests get fewer retransmissions.
	Shed SheddingRule `yaml:"shed"`
}

// SYNACKRules are the schedule of SYN-ACKs for a silent client.
type SYNACKRules struct {
	// Waits are the times from one SYN-ACK to the next, 1 to 8 of them; the last
	// counts for all that follow.
	Waits []time.Duration `yaml:"waits"`
	// Retries is the number of retransmissions, 0 to 255. The wait after the
	// last of them is the request's end. Setting is what moves it.
	Retries int     `yaml:"retries"`
	Setting string  `yaml:"setting"`
	End     EndRule `yaml:"end"`
}

// HalfOpenRules are about segments for a request that do not complete it.
type HalfOpenRules struct {
	// DuplicateSYN answers the request's own SYN, DuplicateTimer says what a SYN
	// that is answered by the SYN-ACK does to the schedule.
	DuplicateSYN   Answer    `yaml:"duplicate-syn"`
	DuplicateTimer TimerRule `yaml:"duplicate-timer"`
	// SYNBelow, SYNInside and SYNBeyond answer a SYN with another number: one
	// below the request's, inside the window, beyond it.
	SYNBelow  Answer `yaml:"syn-below"`
	SYNInside Answer `yaml:"syn-inside"`
	SYNBeyond Answer `yaml:"syn-beyond"`
	// RSTRemoves says which RST ends the request, RSTInWindow answers one that
	// does not although it is inside the window.
	RSTRemoves  RSTRule `yaml:"rst-removes"`
	RSTInWindow Answer  `yaml:"rst-in-window"`
	// BadACK answers an ACK of something that was never sent, OutOfWindow one
	// with a sequence number outside the window.
	BadACK      Answer `yaml:"bad-ack"`
	OutOfWindow Answer `yaml:"out-of-window"`
	// RateLimit is the least time between two answers to segments of one request
	// that carry no data; Setting moves it.
	RateLimit time.Duration `yaml:"rate-limit"`
	Setting   string        `yaml:"setting"`
}

// ICMPRules are about ICMP errors that quote the SYN-ACK of a request.
type ICMPRules struct {
	// IPv4 and IPv6 are the kinds of errors that end a request.
	IPv4 ICMPKinds `yaml:"ipv4"`
	IPv6 ICMPKinds `yaml:"ipv6"`
	// AnyNumber takes errors that quote any sequence number; otherwise it must be
	// the SYN-ACK's.
	AnyNumber bool `yaml:"any-number"`
	// Errors is how many it takes, 1 or 2, and Retries how often the SYN-ACK must
	// have been sent again before the last of them, 0 to 255.
	Errors  int `yaml:"errors"`
	Retries int `yaml:"retries"`
	// End is what the client hears.
	End EndRule `yaml:"end"`
}

// CookieRules are about SYN cookies.
type CookieRules struct {
	// Use says when a SYN gets a cookie in place of a request. Setting moves it.
	Use     CookieUse `yaml:"use"`
	Setting string    `yaml:"setting"`
	// InEverySYNACK makes cookies of the SYN-ACKs of requests too, so that a
	// client can connect whose request was evicted.
	InEverySYNACK bool          `yaml:"in-every-syn-ack"`
	Options       CookieOptions `yaml:"options"`
	// Period is the step of a cookie's age, Periods how many it is good for, 1 to
	// 100: the one that it was made in and those after it.
	Period  time.Duration `yaml:"period"`
	Periods int           `yaml:"periods"`
	// Remember is for how long after an overflow an ACK without a request is
	// taken for a cookie; 0 stands for ever.
	Remember time.Duration `yaml:"remember"`
	// FullACK is what a valid cookie gets that finds the accept queue full.
	FullACK ACKRule `yaml:"full-ack"`
}

// SocketRules are what a program notices in its calls.
type SocketRules struct {
	QueuedReset   QueuedResetRule `yaml:"queued-reset"`
	ListenAgain   ListenAgainRule `yaml:"listen-again"`
	CloseHalfOpen CloseRule       `yaml:"close-half-open"`
	DeferAccept   DeferRule       `yaml:"defer-accept"`
}

// Tools is what the platform's own tools call things; "" stands for nothing.
type Tools struct {
	// Queues says where the lengths of the queues can be seen.
	Queues string `yaml:"queues"`
	// Overflows counts connections that the accept queue had no room for,
	// Drops SYNs that were thrown away, Evictions requests that made room,
	// Cookies cookies sent.
	Overflows string `yaml:"overflows"`
	Drops     string `yaml:"drops"`
	Evictions string `yaml:"evictions"`
	Cookies   string `yaml:"cookies"`
}

// A Citation says how a value is known, and from where.
type Citation struct {
	Verified Verified `yaml:"verified"`
	Source   string   `yaml:"source"`         // file, function and release, or recording
	Note     string   `yaml:"note,omitempty"` // what the value leaves out
}

// ErrBacklog says that listen refuses a backlog: EINVAL.
var ErrBacklog = errors.New("backlog refused")

// Clone returns a copy that can be changed.
func (p *Profile) Clone() *Profile {
	c := *p
	c.SYNACK.Waits = slices.Clone(p.SYNACK.Waits)
	c.ICMP.IPv4, c.ICMP.IPv6 = slices.Clone(p.ICMP.IPv4), slices.Clone(p.ICMP.IPv6)
	c.Citations = maps.Clone(p.Citations)
	return &c
}

// Sysctls returns the settings as they are on the platform before anybody
// changes them; those that it does not have are as on Linux.
func (p *Profile) Sysctls() Sysctls {
	s := DefaultSysctls()
	s.Somaxconn = p.Backlog.Maximum
	if p.SYNQueue.Maximum > 0 {
		s.MaxSYNBacklog = p.SYNQueue.Maximum
	}
	s.Syncookies = int(p.Cookies.Use)
	s.SYNACKRetries = p.SYNACK.Retries
	s.AbortOnOverflow = p.AcceptQueue.FullACK == ACKReset
	s.InvalidRatelimit = p.HalfOpen.RateLimit
	return s
}

// governed returns the settings with those replaced that the platform has no
// setting for.
func (p *Profile) governed(s Sysctls) Sysctls {
	own := p.Sysctls()
	if p.Backlog.Setting == "" {
		s.Somaxconn = own.Somaxconn
	}
	if p.Cookies.Setting == "" {
		s.Syncookies = own.Syncookies
	}
	if p.SYNACK.Setting == "" {
		s.SYNACKRetries = own.SYNACKRetries
	}
	if p.AcceptQueue.FullACKSetting == "" {
		s.AbortOnOverflow = own.AbortOnOverflow
	}
	if p.HalfOpen.Setting == "" {
		s.InvalidRatelimit = own.InvalidRatelimit
	}
	return s
}
