package listenq

// An ICMPError is an ICMP error that quotes a segment of the listener's, already
// checked: its checksum is right, and the quoted segment went from the flow's local
// side to its remote one. Who sent it does not matter.
type ICMPError struct {
	Flow
	// Seq is the sequence number of the quoted segment.
	Seq uint32
	// Type and Code are those of RFC 792, or of RFC 4443 if the flow is IPv6.
	Type, Code uint8
}

// ICMP decides about an ICMP error. It concerns a request if it quotes its SYN-ACK;
// what a cookie has answered is not remembered, so that nothing happens to it.
func (l *Listener) ICMP(e *ICMPError) (out Outcome) {
	out.Flow = e.Flow
	r, s := l.syn.find(&e.Flow, l.flowHash(&e.Flow).bucket())
	rules := &l.profile.ICMP
	switch {
	case r == nil:
		out.decide(Drop, ICMPIgnored)
	case e.Seq != r.iss && !rules.AnyNumber:
		l.counters.OutOfWindowIcmps++
		out.decide(Drop, ICMPOutOfWindow)
	case !rules.kinds(e.Flow).Has(e.Type, e.Code):
		out.decide(Drop, ICMPIgnored)
	case rules.Errors > 1 && !r.seen.has(seenICMP), int(r.timeouts) < rules.Retries:
		r.seen |= seenICMP
		out.decide(Drop, ICMPNoted)
	default:
		l.counters.ListenDrops++
		l.removeRequest(s, &out)
		out.decide(Drop, ICMPFatal)
		if rules.End == EndReset {
			l.resetRequest(r, ICMPFatal, &out)
		}
	}
	l.depths(&out)
	return out
}

// kinds are those that count for the IP version of a flow.
func (r *ICMPRules) kinds(f Flow) ICMPKinds {
	if f.Is4() {
		return r.IPv4
	}
	return r.IPv6
}
