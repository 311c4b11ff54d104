package oracle

import (
	"fmt"
	"strings"
)

// A rule is one thing that Linux does before a connection is accepted, or after it
// has ended: what it is, where the kernel (6.18) decides it, and the recording that
// shows it.
type rule struct {
	text     string
	source   string
	scenario string
}

// A chapter is a group of rules.
type chapter struct {
	title string
	rules []rule
	// packets says that the listener's decisions do not tell, and the packets do.
	packets bool
}

// rules is the page "Linux, rule by rule".
var rules = []chapter{
	{title: "The backlog", rules: []rule{
		{"The backlog is compared as an unsigned number with net.core.somaxconn, so negative values become somaxconn.", "`__sys_listen_socket` in net/socket.c", "backlog-negative"},
		{"A backlog above somaxconn is silently cut to it.", "`__sys_listen_socket`", "backlog-over-somaxconn"},
		{"somaxconn is read by listen() only; a change counts from the next listen() on.", "`__sys_listen_socket`", "somaxconn-change-after-listen"},
	}},
	{title: "The accept queue", rules: []rule{
		{"Full means longer than the backlog, so backlog+1 connections fit; listen(0) takes one.", "`sk_acceptq_is_full` in include/net/sock.h", "backlog-0"},
		{"Connections are accepted in the order in which their handshakes ended, not in which they began.", "`inet_csk_reqsk_queue_add` in net/ipv4/inet_connection_sock.c", "fifo-by-completion"},
		{"A SYN that finds the accept queue full is ignored and leaves no trace; sent again after an accept(), it is an ordinary SYN.", "`tcp_conn_request` in net/ipv4/tcp_input.c", "dropped-syn-then-room"},
		{"tcp_abort_on_overflow never answers a SYN.", "`tcp_conn_request`", "abort-does-not-touch-syn"},
	}},
	{title: "The final ACK finds the accept queue full", rules: []rule{
		{"It is forgotten. The request stays, and its SYN-ACK is sent again on schedule.", "`tcp_v4_syn_recv_sock` in net/ipv4/tcp_ipv4.c, `tcp_check_req` in net/ipv4/tcp_minisocks.c", "final-ack-full-drop"},
		{"As soon as there is room, any later ACK completes the handshake.", "`tcp_check_req`", "final-ack-full-drop-then-room"},
		{"With tcp_abort_on_overflow 1 it is answered by RST, and the request is gone. connect() has succeeded, so the client sees ECONNRESET.", "`tcp_check_req`, label listen_overflow", "final-ack-full-reset"},
		{"The setting is read at that moment, not by listen().", "`tcp_check_req`", "abort-switched-on-later"},
		{"Data in place of the ACK meets the same fate.", "`tcp_check_req`", "data-after-dropped-ack"},
	}},
	{title: "Segments for a request", rules: []rule{
		{"Data with the right acknowledgment completes the handshake like a bare ACK, and is kept.", "`tcp_check_req`", "data-completes-handshake"},
		{"The same SYN again: SYN-ACK at once, but at most one in tcp_invalid_ratelimit; the timer starts again.", "`tcp_check_req`, `tcp_oow_rate_limited`", "duplicate-syn"},
		{"Also while the accept queue is full.", "`tcp_check_req`", "half-open-served-while-full"},
		{"Another SYN inside the window resets and removes the request.", "`tcp_check_req`, label embryonic_reset", "syn-other-seq-in-window"},
		{"Another SYN left of the window draws an ACK.", "`tcp_check_req`", "syn-other-seq-old"},
		{"A wrong acknowledgment number gets RST; the request stays.", "`tcp_check_req`, then `tcp_rcv_state_process`", "bad-ack"},
		{"A sequence number outside the window gets an ACK, limited in rate; the request stays.", "`tcp_check_req`, `tcp_in_window`", "ack-out-of-window"},
		{"A RST removes the request only at exactly the next sequence number; elsewhere in the window it draws a challenge ACK. Kernels before 6.18.44 remove it for every RST in the window.", "`tcp_check_req`; RFC 5961, section 3.2", "rst-half-open"},
		{"A segment without ACK, SYN or RST is ignored.", "`tcp_check_req`", "no-ack-flag-half-open"},
		{"Data on a SYN is neither acknowledged nor kept.", "`tcp_conn_request`", "syn-with-data"},
	}},
	{title: "ICMP errors about a SYN-ACK", rules: []rule{
		{"Net and host unreachable, time exceeded in transit and parameter problem end the request whose SYN-ACK they quote, by its exact number. Nothing is sent, and its client's ACK gets RST.", "`tcp_v4_err`, `tcp_req_err` in net/ipv4/tcp_ipv4.c", "icmp-ends-request"},
		{"All other kinds leave it as it is, port unreachable too.", "`tcp_v4_err`", "icmp-ends-nothing"},
		{"With another number an error of any kind changes nothing.", "`tcp_req_err`", "icmp-wrong-number"},
		{"In IPv6 it is prohibited, port unreachable, policy failed, route rejected and parameter problem that end it.", "`tcp_v6_err` in net/ipv6/tcp_ipv6.c, `icmpv6_err_convert` in net/ipv6/icmp.c", "icmp6-ends-request"},
		{"No route, beyond scope, address unreachable, too big and time exceeded do not.", "`icmpv6_err_convert`", "icmp6-ends-nothing"},
		{"A repeated SYN-ACK has the number of the first.", "`tcp_req_err`", "icmp-after-retransmission"},
		{"So a SYN queue full of clients that are not there is empty as soon as the network says so.", "`inet_csk_reqsk_queue_drop` in net/ipv4/inet_connection_sock.c", "icmp-makes-room"},
		{"A cookie leaves nothing behind that an error could end.", "`tcp_v4_err`", "icmp-cookie"},
		{"The request of a listener that was closed ends the same way.", "`tcp_req_err`", "icmp-close-listener"},
	}},
	{title: "The SYN queue and cookies", rules: []rule{
		{"The SYN queue, too, takes backlog+1 requests, whatever tcp_max_syn_backlog says. Without cookies the next SYN is dropped.", "`inet_csk_reqsk_queue_is_full` in include/net/inet_connection_sock.h, `tcp_syn_flood_action`", "syn-queue-full-cookies-0"},
		{"With tcp_syncookies 1 it is answered by a cookie: no state, no retransmission.", "`cookie_init_sequence`, `cookie_v4_check` in net/ipv4/syncookies.c", "syn-queue-full-cookies-1"},
		{"tcp_syncookies 2 answers every SYN so.", "`tcp_conn_request`", "syncookies-2"},
		{"A full accept queue still drops the SYN, although the cookie counter has ticked.", "`tcp_conn_request`", "cookies-both-full"},
		{"A valid cookie that finds the accept queue full is dropped, even with tcp_abort_on_overflow; nothing will be sent again.", "`tcp_get_cookie_sock`", "cookie-ack-full-accept-queue"},
		{"A cookie keeps one of four segment sizes.", "`__cookie_v4_init_sequence`, msstab", "cookie-mss-rounding"},
		{"An invalid cookie gets RST, and is counted only while cookies were in use lately.", "`cookie_tcp_check`, `tcp_synq_no_recent_overflow`", "cookie-bad-ack"},
		{"Without cookies, the last quarter of tcp_max_syn_backlog is kept for addresses with a known round trip time.", "`tcp_conn_request`, `tcp_peer_is_proven`", "last-quarter-known-peer"},
	}},
	{title: "SYN-ACK timers", rules: []rule{
		{"SYN-ACKs are sent again after 1, 3, 7, 15 and 31 s; after 63 s the request ends without a word.", "`reqsk_timer_handler`, tcp_synack_retries", "synack-schedule-default"},
		{"TCP_SYNCNT of the listener replaces tcp_synack_retries.", "`reqsk_timer_handler`", "synack-retries-per-socket"},
		{"When the SYN queue is more than half full and most requests are old, old ones get fewer retries.", "`reqsk_timer_handler`", "young-old-pruning"},
	}},
	{title: "Connections that wait for accept()", rules: []rule{
		{"They are complete: data is acknowledged and kept.", "`tcp_rcv_state_process`", "queued-data"},
		{"One that its client resets keeps its place; accept() returns it, and the first read fails.", "`tcp_reset`, `inet_csk_accept`", "queued-reset"},
		{"So one client can be in the queue twice.", "`inet_csk_accept`", "queued-reset-same-tuple"},
	}},
	{title: "listen() again, close(), shutdown()", rules: []rule{
		{"listen() again changes the limit and throws nothing out.", "`__inet_listen_sk` in net/ipv4/af_inet.c", "relisten-smaller"},
		{"close() resets queued connections and forgets requests silently; their next segment gets RST.", "`inet_csk_listen_stop`", "close-listener"},
		{"After shutdown(SHUT_RD), listen() brings the socket back, with the requests of its first life.", "`inet_shutdown`, `inet_csk_listen_start`", "shutdown-listener"},
		{"Without a request, an ACK gets RST; FIN, RST, SYN+FIN and segments without flags get nothing.", "`tcp_rcv_state_process`", "odd-segments-to-listener"},
	}},
	{title: "TCP_DEFER_ACCEPT", rules: []rule{
		{"The bare ACK is ignored; data completes the handshake.", "`tcp_check_req`", "defer-accept-data"},
		{"No SYN-ACK is sent while waiting; one at the end of the period gives the client a last chance.", "`syn_ack_recalc` in net/ipv4/inet_connection_sock.c", "defer-accept-timeout"},
		{"Deferred connections fill the SYN queue.", "`tcp_check_req`", "defer-accept-holds-syn-queue"},
	}},
	{title: "TIME-WAIT and new connections", rules: []rule{
		{"A SYN may replace a connection in TIME-WAIT; it skips the SYN queue test, not the accept queue test.", "`tcp_timewait_state_process` in net/ipv4/tcp_minisocks.c, `tcp_conn_request`", "time-wait-syn"},
		{"One that finds the accept queue full has ended TIME-WAIT all the same.", "`tcp_v4_rcv`, label do_time_wait", "time-wait-syn-full"},
		{"The new connection's numbers begin 65537 beyond the old one's.", "`tcp_timewait_state_process`", "time-wait-syn-number"},
	}},
	{title: "TIME-WAIT", packets: true, rules: []rule{
		{"A SYN with an old number gets an ACK. The RST with which the client answers ends TIME-WAIT, and its next SYN begins a connection.", "`tcp_timewait_state_process`", "time-wait-old-syn"},
		{"Where both sides send timestamps, these decide: a SYN with an older one gets an ACK whatever its number, one with a newer one begins a connection.", "`tcp_timewait_state_process`", "time-wait-paws"},
		{"A RST ends TIME-WAIT only at exactly the next number.", "`tcp_timewait_state_process`; RFC 1337", "time-wait-rst"},
		{"With tcp_rfc1337 1 none does.", "`tcp_timewait_state_process`", "time-wait-rfc1337"},
		{"A repeated FIN gets its ACK every time.", "`tcp_timewait_state_process`, `tcp_oow_rate_limited`", "time-wait-fin"},
		{"So does data, old or new.", "`tcp_timewait_state_process`, `tcp_oow_rate_limited`", "time-wait-data"},
		{"An ACK at the next number gets nothing; elsewhere, one in tcp_invalid_ratelimit is answered, SYNs included.", "`tcp_timewait_check_oow_rate_limit`", "time-wait-ack"},
		{"An old timestamp puts a segment out of the window, a RST too.", "`tcp_paws_reject`", "time-wait-paws-segments"},
		{"Without a listener every SYN gets an ACK.", "`tcp_v4_rcv`, label do_time_wait", "time-wait-no-listener"},
		{"When both sides close at the same time, CLOSING comes before it.", "`tcp_rcv_state_process`, `tcp_time_wait`", "time-wait-closing"},
		{"The socket need not be closed: for it the connection is over, and what has arrived can be read.", "`tcp_time_wait`, `tcp_done`", "time-wait-shutdown"},
		{"Beyond tcp_max_tw_buckets there is no TIME-WAIT.", "`inet_twsk_alloc` in net/ipv4/inet_timewait_sock.c", "time-wait-overflow"},
		{"It lasts 60 s. A segment with ACK begins them anew, a SYN does not.", "`inet_twsk_reschedule`, TCP_TIMEWAIT_LEN", "time-wait-60-s"},
	}},
	{title: "After close: FIN-WAIT-1 and FIN-WAIT-2", packets: true, rules: []rule{
		{"Data that nobody can read any more gets a RST with the number that it acknowledges, and ends the connection.", "`tcp_rcv_state_process`, `tcp_v4_send_reset`", "fin-wait-1-data"},
		{"In FIN-WAIT-2 a closed connection needs no socket, and answers like this.", "`tcp_time_wait`, `tcp_timewait_state_process`", "fin-wait-2-data"},
		{"So it does if it is closed when its FIN is acknowledged already.", "`__tcp_close`", "fin-wait-2-late-close"},
		{"The peer's FIN leads to TIME-WAIT.", "`tcp_timewait_state_process`", "fin-wait-2-fin"},
		{"A RST anywhere in the window ends it.", "`tcp_timewait_state_process`", "fin-wait-2-rst"},
		{"A SYN in the window gets RST; elsewhere, an ACK.", "`tcp_timewait_state_process`", "fin-wait-2-syn"},
		{"ACKs in the window get nothing; elsewhere one in tcp_invalid_ratelimit is answered.", "`tcp_timewait_check_oow_rate_limit`", "fin-wait-2-ack"},
		{"An old timestamp puts a segment out of the window.", "`tcp_paws_reject`", "fin-wait-2-paws"},
		{"tcp_fin_timeout ends it without a word.", "`tcp_fin_time` in include/net/tcp.h", "fin-wait-2-timeout"},
		{"tcp_max_tw_buckets counts it too.", "`inet_twsk_alloc`", "fin-wait-2-overflow"},
	}},
}

const rulesPreface = `# Linux, rule by rule

What a Linux kernel does before a connection is accepted, and in TIME-WAIT, each rule with the function that
decides it and a recording that shows it. The recordings were made against a live kernel
([format](../listenq/testdata/linux/README.md)); the ladders and packets below are what ulisten does when they are
replayed on the full stack, printed by the replay itself. A test compares this page with it, and
each replay with its recording: segments, times, errno, queues and counters.

A queue written 1/3 holds one of the three that fit. Not covered: TCP Fast Open, ECN, SO_REUSEPORT
migration.
`

// rulesPage renders the page; replay replays a scenario.
func rulesPage(replay func(id string) (*Replayed, error)) (string, error) {
	var b strings.Builder
	b.WriteString(rulesPreface)
	for _, c := range rules {
		fmt.Fprintf(&b, "\n## %s\n", c.title)
		for _, r := range c.rules {
			got, err := replay(r.scenario)
			if err != nil {
				return "", err
			}
			text := got.Ladder
			if c.packets {
				text = got.Trace
			}
			fmt.Fprintf(&b, "\n%s\n\nDecided in %s. Recording: [%s](../listenq/testdata/linux/%s.json).\n\n```\n%s```\n",
				r.text, r.source, r.scenario, r.scenario, text)
		}
	}
	return b.String(), nil
}
