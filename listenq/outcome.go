package listenq

import (
	"fmt"
	"time"
)

// A Verdict says what the caller must do with the segment or the timer that it
// handed in.
type Verdict uint8

// The verdicts.
const (
	Drop       Verdict = iota // do nothing; the segment is forgotten
	SendSYNACK                // send a SYN-ACK for a request, new or repeated
	SendCookie                // send a SYN-ACK that is a SYN cookie: no request exists, nothing will be repeated
	SendACK                   // send a bare ACK with Seq and Ack
	SendRST                   // send a RST with Seq and, if RSTACK is set, Ack
	Promote                   // the handshake is complete: Conn is queued for accept, the segment belongs to it
	Expire                    // a request has left the SYN queue; send nothing
	Wait                      // local transport: connect(2) waits for room, or fails with EAGAIN
	Refuse                    // local transport: connect(2) fails with ECONNREFUSED
)

// String returns the verdict as traces print it.
func (v Verdict) String() string {
	return nameOf([]string{"drop", "SYN-ACK", "cookie", "ACK", "RST", "promote", "expire", "wait", "refuse"}, int(v))
}

// A Reason names the rule that produced an outcome.
type Reason uint8

// The rules, each with the function of Linux 6.18 that it is found in.
const (
	NewRequest         Reason = iota // room in both queues (tcp_conn_request)
	SYNQueueFull                     // more than backlog requests, tcp_syncookies 0 (inet_csk_reqsk_queue_is_full)
	SYNQueueFullCookie               // more than backlog requests, or tcp_syncookies 2 (tcp_syn_flood_action)
	AcceptQueueFull                  // more than backlog connections wait for accept (sk_acceptq_is_full)
	LastQuarter                      // tcp_syncookies 0: last quarter of tcp_max_syn_backlog, address unknown (tcp_conn_request)
	DuplicateSYN                     // the request's own SYN again (tcp_check_req)
	RateLimited                      // one answer per tcp_invalid_ratelimit (tcp_oow_rate_limited)
	FinalACK                         // ACK, data or FIN that completes the handshake (tcp_check_req)
	ValidCookie                      // ACK that carries a valid cookie (cookie_tcp_check)
	DeferAccept                      // bare ACK while TCP_DEFER_ACCEPT waits for data (tcp_check_req)
	OutOfWindow                      // sequence number or timestamp not acceptable (tcp_check_req)
	BadACK                           // acknowledges what was never sent (tcp_check_req)
	NoACKFlag                        // neither SYN, RST nor ACK for a request (tcp_check_req)
	SYNInWindow                      // another SYN inside the window (tcp_check_req)
	RSTExact                         // RST at exactly the next sequence number (tcp_check_req)
	RSTInWindow                      // RST elsewhere in the window: challenge ACK (RFC 5961, section 3.2)
	RSTIgnored                       // RST outside the window, or without a request (tcp_rcv_state_process)
	NoRequest                        // ACK that no request and no cookie explains (tcp_rcv_state_process)
	NotASYN                          // opens nothing and acknowledges nothing (tcp_rcv_state_process)
	ListenerClosed                   // the listener was closed or shut down (reqsk_timer_handler)
	RetransmitTimeout                // SYN-ACK timer (reqsk_timer_handler)
	RetriesExhausted                 // tcp_synack_retries or TCP_SYNCNT reached (syn_ack_recalc)
	OldRequestShed                   // SYN queue more than half full: old requests get fewer retries (reqsk_timer_handler)
	DeferAcceptWait                  // TCP_DEFER_ACCEPT: an ACK came, so the timer passes in silence (syn_ack_recalc)
	ICMPFatal                        // ICMP error of a kind that ends a request (tcp_req_err)
	ICMPOutOfWindow                  // ICMP error that does not quote the SYN-ACK's number (tcp_req_err)
	ICMPIgnored                      // ICMP error of another kind, or without a request (tcp_v4_err)
	ICMPNoted                        // ICMP error too early to end the request; Linux never waits for more
	LocalConnect                     // local transport: room in the accept queue (unix_stream_connect)
)

// String returns the rule in words.
func (r Reason) String() string {
	return nameOf([]string{
		"new request",
		"SYN queue full",
		"SYN queue full, cookie",
		"accept queue full",
		"last quarter",
		"duplicate SYN",
		"rate limited",
		"final ACK",
		"valid cookie",
		"defer accept",
		"out of window",
		"bad ACK",
		"no ACK flag",
		"SYN in window",
		"RST exact",
		"RST in window",
		"RST ignored",
		"no request",
		"not a SYN",
		"listener closed",
		"retransmission timeout",
		"retries exhausted",
		"old request shed",
		"defer accept waits",
		"ICMP error",
		"ICMP error out of window",
		"ICMP error ignored",
		"ICMP error noted",
		"local connect",
	}, int(r))
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

// An Outcome is one decision: what to do, why, and how long both queues are
// after it. It is a plain value.
type Outcome struct {
	Verdict Verdict
	Reason  Reason
	// SYNQueue and AcceptQueue are the depths after the decision.
	SYNQueue, AcceptQueue int
	Flow                  Flow
	// Seq and Ack are the numbers of the segment to send: SYN-ACK, cookie, ACK
	// or RST. Ack of a RST counts only if RSTACK is set.
	Seq, Ack uint32
	RSTACK   bool
	// Removed says that a request left the SYN queue without a connection.
	Removed bool
	// Evicted is the flow of another request that was forgotten without a word
	// to make room for this one; the zero Flow says that none was.
	Evicted Flow
	// Timeouts is how often the request's SYN-ACK timer has fired so far, without
	// the one that ended it; valid for SendSYNACK and for every timer.
	Timeouts int
	// Handshake holds what both sides agreed on; valid for SendSYNACK,
	// SendCookie, SendACK and Promote.
	Handshake Handshake
	// Conn identifies the promoted connection until Accept returns it; valid for
	// Promote.
	Conn ConnID
}

func (o *Outcome) decide(v Verdict, why Reason) { o.Verdict, o.Reason = v, why }

// String is one line of a decision trace.
func (o Outcome) String() string {
	return fmt.Sprintf("%-7v synq=%d acceptq=%d  %v", o.Verdict, o.SYNQueue, o.AcceptQueue, o.Reason)
}

// A Handshake is what a three-way handshake settles.
type Handshake struct {
	// IRS and ISS are the initial sequence numbers of client and listener.
	IRS, ISS uint32
	// Peer holds the client's options as far as both sides use them. Its TSVal
	// is the client's latest timestamp; TSEcr is not set.
	Peer Options
	// TSVal is the listener's timestamp for the segment to send, in
	// milliseconds: the time plus TSOffset, in a cookie with the options in its
	// six low bits (Linux cookie_init_timestamp).
	TSVal uint32
	// TSOffset is added to the clock, in milliseconds, for this pair of
	// addresses (RFC 7323, section 5.4).
	TSOffset uint32
	// RTT is the first measure of the round trip: the time from the SYN-ACK to
	// the segment that completed the handshake, or, where the SYN-ACK was
	// repeated or was a cookie, from the one whose timestamp the client echoes,
	// in whole milliseconds. 0 says that it is unknown; valid for Promote (Linux
	// tcp_synack_rtt_meas).
	RTT time.Duration
	// Lossy says that more than one SYN-ACK was lost, so that the connection
	// begins with one segment in flight (RFC 5681, section 3.1); valid for
	// Promote (Linux tcp_init_transfer).
	Lossy bool
}

// ConnID identifies a connection between Promote and Accept; a listener never
// uses one twice. It is needed because one flow can be in the accept queue
// twice: a connection that its client reset keeps its place.
type ConnID uint64
