// Package client is the active side of a TCP handshake as a pure state machine:
// when a SYN is sent again, when connect(2) gives up, what a RST does to the
// attempt and which error the caller sees.
//
// A server's overflow rule is only half of what a user feels; the other half is
// the schedule of the client. A SYN that a full Linux queue ignores is sent again
// after 1 s by every client of today, but what follows differs, and a RST that
// ends a connect on Linux at once makes Windows try again for two seconds:
//
//	p, err := client.ProfileNamed("windows")
//	a := client.NewAttempt(p, now)         // the first SYN is on its way
//	at, ok := a.NextTimeout()              // arm one timer
//	switch a.Advance(at) {
//	case client.SendSYN:  // repeat it
//	case client.TimedOut: // connect(2) fails with p.TimedOut
//	}
//	a.Reset(now)                           // a RST arrived: Refused, or Nothing yet
//	a.Connected()                          // a SYN-ACK arrived
//
// # Profiles
//
// A Profile is data: copy one and change its fields to make your own. Every
// value of the built-in profiles has a citation that says where it comes from
// and whether it was measured, read in a source, found in documentation, or is a
// guess.
//
// # Contract
//
// Times are readings of one monotonic clock, as a duration since any fixed
// origin, and never decrease from call to call. The timers of an attempt are at
// their nominal times however late Advance comes; kernels are up to some percent
// late. The same calls give the same answers, always. Nothing here reads a
// clock, starts a goroutine or blocks. An Attempt is not safe for concurrent
// use; a Profile may be shared as long as nobody changes it.
package client
