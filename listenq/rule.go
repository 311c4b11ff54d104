package listenq

import (
	"fmt"
	"strings"
)

// The choices that a profile makes. Each prints and reads as a word, in JSON and
// in profile files too; the zero value is what Linux does.

// A BacklogRule says what listen makes of a backlog that is out of the ordinary.
type BacklogRule uint8

// What a backlog becomes.
const (
	TakeMaximum BacklogRule = iota // the platform's maximum
	TakeZero                       // 0
	TakeOne                        // 1
	TakeHint                       // its negative, within the range of hints (SOMAXCONN_HINT of Winsock)
	TakeNone                       // listen fails with EINVAL
)

// A Counting says what counts against the capacity of the accept queue.
type Counting uint8

// What counts.
const (
	CountQueued   Counting = iota // connections that wait for accept
	CountHalfOpen                 // and the requests as well
)

// A SYNRule says what a full queue does with a SYN.
type SYNRule uint8

// What becomes of the SYN.
const (
	SYNDropped        SYNRule = iota // ignored; the client sends it again
	SYNDroppedIfYoung                // ignored if more than one request has had no timeout yet, else answered
	SYNReset                         // answered by RST: the client's connect is refused
	SYNGetsCookie                    // answered with a SYN cookie, if cookies are in use, else ignored
	SYNEvictsOldest                  // answered: the oldest request is forgotten for it; with none to forget, ignored
	SYNEvictsTimedOut                // the same with the oldest request that has had a timeout
)

// An ACKRule says what a full accept queue does with a final ACK.
type ACKRule uint8

// What becomes of the final ACK.
const (
	ACKIgnored   ACKRule = iota // the request stays, its SYN-ACK will be sent again
	ACKReset                    // RST, and the request is gone
	ACKForgotten                // the request is gone without a word
)

// An Answer is what a segment for a request gets that does not complete it.
type Answer uint8

// The answers. The request stays unless they say otherwise.
const (
	AnswerNothing  Answer = iota
	AnswerACK             // a bare ACK that says where the request stands
	AnswerSYNACK          // the SYN-ACK once more
	AnswerRST             // the RST of RFC 9293, section 3.10.7.1
	AnswerRSTClose        // the RST, and the request is removed
)

// A TimerRule says what a repeated SYN does to the SYN-ACK timer.
type TimerRule uint8

// What the timer does.
const (
	TimerRestarts TimerRule = iota // the current wait begins anew
	TimerGoesOn                    // nothing
	TimerFromZero                  // the whole schedule begins anew
)

// A RSTRule says which RST removes a request. The next sequence number is the
// one after the client's SYN.
type RSTRule uint8

// The RSTs that remove.
const (
	RSTAtNext       RSTRule = iota // exactly the next sequence number
	RSTAtNextOrLess                // the next one or the SYN's own
	RSTAnywhere                    // every number inside the window
)

// A SheddingRule says when old requests get fewer retransmissions.
type SheddingRule uint8

// When old requests are shed. n is the limit, q the number of requests.
const (
	ShedNever     SheddingRule = iota
	ShedAboveHalf              // 2q > max(8, n)
	ShedFromHalf               // 2q is at least the capacity of the SYN queue
)

// An EndRule says what the client hears when a request is given up.
type EndRule uint8

// What is sent.
const (
	EndSilent EndRule = iota
	EndReset          // a RST
)

// A Scope says whose requests share a SYN queue.
type Scope uint8

// Whose requests.
const (
	ScopeListener Scope = iota // each listener's own
	ScopeSystem                // those of all listeners; a Listener alone stands for the whole machine
)

// A CookieUse says when SYN cookies are sent.
type CookieUse uint8

// When cookies are sent. The numbers are those of tcp_syncookies.
const (
	CookiesNever CookieUse = iota
	CookiesWhenFull
	CookiesAlways
)

// A CookieOptions says what a cookie keeps of the client's options besides the
// segment size.
type CookieOptions uint8

// What is kept.
const (
	CookieKeepsStamped CookieOptions = iota // window scale and SACK, if the client sends timestamps
	CookieKeepsAll                          // window scale and SACK
	CookieKeepsNeither                      // timestamps alone
)

// A QueuedResetRule says what becomes of a connection in the accept queue that
// its peer has reset.
type QueuedResetRule uint8

// What becomes of it.
const (
	ResetKept     QueuedResetRule = iota // accept returns it; reading it fails
	ResetAborted                         // accept fails with ECONNABORTED, once; the place is kept until then
	ResetReleased                        // accept returns it, its place is free at once
)

// A ListenAgainRule says what listen does on a socket that listens.
type ListenAgainRule uint8

// What listen does.
const (
	AgainNewLimit    ListenAgainRule = iota // the new backlog counts from now on
	AgainUnchanged                          // succeeds and changes nothing
	AgainNotBelowUse                        // as AgainNewLimit; fails with EINVAL if more are queued
)

// A CloseRule says what becomes of requests when their listener is closed.
type CloseRule uint8

// What becomes of them.
const (
	CloseLeaves  CloseRule = iota // silent; gone at their next timer or segment, which gets RST
	CloseGoesOn                   // SYN-ACKs go on; the final ACK gets RST
	CloseResets                   // RST for each
	CloseRemoves                  // gone at once, without a word
)

// A DeferRule says how TCP_DEFER_ACCEPT is counted.
type DeferRule uint8

// How it is counted.
const (
	DeferNone     DeferRule = iota // the socket option does not exist
	DeferTimeouts                  // in timeouts of the SYN-ACK
)

// A Verified says how a value of a profile is known.
type Verified uint8

// How it is known, best first.
const (
	Measured   Verified = iota // on a running system
	FromSource                 // read in the system's source
	Documented                 // by its vendor
	Guess                      // not verified
)

var (
	backlogRuleNames   = []string{"maximum", "zero", "one", "hint", "refuse"}
	countingNames      = []string{"queued", "queued-and-half-open"}
	synRuleNames       = []string{"drop", "drop-if-young", "reset", "cookie", "evict-oldest", "evict-timed-out"}
	ackRuleNames       = []string{"ignore", "reset", "forget"}
	answerNames        = []string{"nothing", "ack", "syn-ack", "rst", "rst-and-remove"}
	timerRuleNames     = []string{"restart", "keep", "from-zero"}
	rstRuleNames       = []string{"next", "next-or-one-less", "in-window"}
	sheddingNames      = []string{"never", "above-half", "from-half"}
	endRuleNames       = []string{"silent", "reset"}
	scopeNames         = []string{"listener", "system"}
	cookieUseNames     = []string{"never", "when-full", "always"}
	cookieOptionsNames = []string{"with-timestamps", "all", "neither"}
	queuedResetNames   = []string{"kept", "aborted", "released"}
	listenAgainNames   = []string{"new-limit", "unchanged", "not-below-use"}
	closeRuleNames     = []string{"leave", "go-on", "reset", "remove"}
	deferRuleNames     = []string{"none", "timeouts"}
	verifiedNames      = []string{"measured", "source", "documented", "guess"}
)

// String returns the word for it.
func (r BacklogRule) String() string { return nameOf(backlogRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r BacklogRule) MarshalText() ([]byte, error) { return wordFor(backlogRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *BacklogRule) UnmarshalText(text []byte) error { return readWord(backlogRuleNames, text, r) }

// String returns the word for it.
func (r Counting) String() string { return nameOf(countingNames, int(r)) }

// MarshalText returns the word for it.
func (r Counting) MarshalText() ([]byte, error) { return wordFor(countingNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *Counting) UnmarshalText(text []byte) error { return readWord(countingNames, text, r) }

// String returns the word for it.
func (r SYNRule) String() string { return nameOf(synRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r SYNRule) MarshalText() ([]byte, error) { return wordFor(synRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *SYNRule) UnmarshalText(text []byte) error { return readWord(synRuleNames, text, r) }

// String returns the word for it.
func (r ACKRule) String() string { return nameOf(ackRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r ACKRule) MarshalText() ([]byte, error) { return wordFor(ackRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *ACKRule) UnmarshalText(text []byte) error { return readWord(ackRuleNames, text, r) }

// String returns the word for it.
func (r Answer) String() string { return nameOf(answerNames, int(r)) }

// MarshalText returns the word for it.
func (r Answer) MarshalText() ([]byte, error) { return wordFor(answerNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *Answer) UnmarshalText(text []byte) error { return readWord(answerNames, text, r) }

// String returns the word for it.
func (r TimerRule) String() string { return nameOf(timerRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r TimerRule) MarshalText() ([]byte, error) { return wordFor(timerRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *TimerRule) UnmarshalText(text []byte) error { return readWord(timerRuleNames, text, r) }

// String returns the word for it.
func (r RSTRule) String() string { return nameOf(rstRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r RSTRule) MarshalText() ([]byte, error) { return wordFor(rstRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *RSTRule) UnmarshalText(text []byte) error { return readWord(rstRuleNames, text, r) }

// String returns the word for it.
func (r SheddingRule) String() string { return nameOf(sheddingNames, int(r)) }

// MarshalText returns the word for it.
func (r SheddingRule) MarshalText() ([]byte, error) { return wordFor(sheddingNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *SheddingRule) UnmarshalText(text []byte) error { return readWord(sheddingNames, text, r) }

// String returns the word for it.
func (r EndRule) String() string { return nameOf(endRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r EndRule) MarshalText() ([]byte, error) { return wordFor(endRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *EndRule) UnmarshalText(text []byte) error { return readWord(endRuleNames, text, r) }

// String returns the word for it.
func (r Scope) String() string { return nameOf(scopeNames, int(r)) }

// MarshalText returns the word for it.
func (r Scope) MarshalText() ([]byte, error) { return wordFor(scopeNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *Scope) UnmarshalText(text []byte) error { return readWord(scopeNames, text, r) }

// String returns the word for it.
func (r CookieUse) String() string { return nameOf(cookieUseNames, int(r)) }

// MarshalText returns the word for it.
func (r CookieUse) MarshalText() ([]byte, error) { return wordFor(cookieUseNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *CookieUse) UnmarshalText(text []byte) error { return readWord(cookieUseNames, text, r) }

// String returns the word for it.
func (r CookieOptions) String() string { return nameOf(cookieOptionsNames, int(r)) }

// MarshalText returns the word for it.
func (r CookieOptions) MarshalText() ([]byte, error) { return wordFor(cookieOptionsNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *CookieOptions) UnmarshalText(text []byte) error {
	return readWord(cookieOptionsNames, text, r)
}

// String returns the word for it.
func (r QueuedResetRule) String() string { return nameOf(queuedResetNames, int(r)) }

// MarshalText returns the word for it.
func (r QueuedResetRule) MarshalText() ([]byte, error) { return wordFor(queuedResetNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *QueuedResetRule) UnmarshalText(text []byte) error {
	return readWord(queuedResetNames, text, r)
}

// String returns the word for it.
func (r ListenAgainRule) String() string { return nameOf(listenAgainNames, int(r)) }

// MarshalText returns the word for it.
func (r ListenAgainRule) MarshalText() ([]byte, error) { return wordFor(listenAgainNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *ListenAgainRule) UnmarshalText(text []byte) error {
	return readWord(listenAgainNames, text, r)
}

// String returns the word for it.
func (r CloseRule) String() string { return nameOf(closeRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r CloseRule) MarshalText() ([]byte, error) { return wordFor(closeRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *CloseRule) UnmarshalText(text []byte) error { return readWord(closeRuleNames, text, r) }

// String returns the word for it.
func (r DeferRule) String() string { return nameOf(deferRuleNames, int(r)) }

// MarshalText returns the word for it.
func (r DeferRule) MarshalText() ([]byte, error) { return wordFor(deferRuleNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *DeferRule) UnmarshalText(text []byte) error { return readWord(deferRuleNames, text, r) }

// String returns the word for it.
func (r Verified) String() string { return nameOf(verifiedNames, int(r)) }

// MarshalText returns the word for it.
func (r Verified) MarshalText() ([]byte, error) { return wordFor(verifiedNames, r) }

// UnmarshalText reads the word; the error lists those there are.
func (r *Verified) UnmarshalText(text []byte) error { return readWord(verifiedNames, text, r) }

func wordFor[R ~uint8](words []string, r R) ([]byte, error) {
	if int(r) >= len(words) {
		return nil, fmt.Errorf("%d stands for none of %s", r, strings.Join(words, ", "))
	}
	return []byte(words[r]), nil
}

// readWord sets r to the place of a word; an error leaves it alone.
func readWord[R ~uint8](words []string, text []byte, r *R) error {
	for i, w := range words {
		if w == string(text) {
			*r = R(i)
			return nil
		}
	}
	return UnknownName("value", string(text), words)
}
