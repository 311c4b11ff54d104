package listenq

import "reflect"

// Counters count what a listener did. Fields carry the kernel's names, so that
// the output of nstat can be laid beside them: those of the TcpExt group of
// /proc/net/netstat, and from the Tcp group of /proc/net/snmp PassiveOpens,
// AttemptFails, RetransSegs and OutRsts. Each counts up from 0 and never wraps
// in practice.
type Counters struct {
	ListenOverflows      uint64 // the accept queue was full at a SYN, a final ACK or a valid cookie
	ListenDrops          uint64 // with every overflow, SYNs dropped by the SYN queue rules, and requests ended by an ICMP error
	TCPReqQFullDrop      uint64 // SYN queue full, tcp_syncookies 0
	TCPReqQFullDoCookies uint64 // SYN queue full or tcp_syncookies 2, cookies allowed
	SyncookiesSent       uint64
	SyncookiesRecv       uint64 // valid cookies, dropped ones included
	SyncookiesFailed     uint64 // invalid cookies while cookies were in use lately
	EmbryonicRsts        uint64 // requests removed by a SYN or RST, or by tcp_abort_on_overflow
	TCPTimeouts          uint64 // SYN-ACK timers that fired
	TCPSynRetrans        uint64 // SYN-ACKs sent again
	TCPACKSkippedSynRecv uint64 // answers suppressed by tcp_invalid_ratelimit
	TCPDeferAcceptDrop   uint64 // bare ACKs ignored by TCP_DEFER_ACCEPT
	TCPChallengeACK      uint64 // challenge ACKs for an inexact RST
	PAWSEstab            uint64 // segments for a request with an old timestamp
	TSEcrRejected        uint64 // segments for a request that echo a timestamp never sent
	OutOfWindowIcmps     uint64 // ICMP errors for a request that quote another number than its SYN-ACK's
	PassiveOpens         uint64 // connections put into the accept queue
	AttemptFails         uint64 // requests removed by a SYN or RST
	RetransSegs          uint64 // SYN-ACKs sent again
	OutRsts              uint64 // RSTs sent for this listener's segments
	Evictions            uint64 // requests forgotten to make room; Linux never does, so this name is ours
}

// Each calls f with every counter's name and value, in the order of the fields.
func (c *Counters) Each(f func(name string, value uint64)) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		f(v.Type().Field(i).Name, v.Field(i).Uint())
	}
}

// Add adds d to c, field by field.
func (c *Counters) Add(d *Counters) {
	c.each(d, func(a, b uint64) uint64 { return a + b })
}

// Sub takes d off c, field by field.
func (c *Counters) Sub(d *Counters) {
	c.each(d, func(a, b uint64) uint64 { return a - b })
}

func (c *Counters) each(d *Counters, f func(a, b uint64) uint64) {
	v, w := reflect.ValueOf(c).Elem(), reflect.ValueOf(d).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(f(v.Field(i).Uint(), w.Field(i).Uint()))
	}
}
