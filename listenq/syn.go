package listenq

import "time"

// forListener decides about a segment that belongs to no request
// (tcp_rcv_state_process in state LISTEN).
func (l *Listener) forListener(now time.Duration, seg *Segment) Outcome {
	switch {
	case seg.Flags.Has(RST):
		return l.outcome(Drop, RSTIgnored, seg.Flow)
	case seg.Flags.Has(ACK):
		if !seg.Flags.Has(SYN) {
			if out, decided := l.cookieACK(now, seg); decided {
				return out
			}
		}
		return l.reset(seg, NoRequest)
	case seg.Flags.Has(SYN) && !seg.Flags.Has(FIN):
		return l.newSYN(now, seg)
	}
	return l.outcome(Drop, NotASYN, seg.Flow)
}

// newSYN applies the tests of tcp_conn_request in their order.
func (l *Listener) newSYN(now time.Duration, seg *Segment) Outcome {
	cookie := false
	if (l.sysctls.Syncookies == 2 || l.synQueueFull()) && !seg.TimeWait {
		if l.sysctls.Syncookies == 0 {
			l.counters.TCPReqQFullDrop++
			return l.refuseSYN(seg, SYNQueueFull)
		}
		l.counters.TCPReqQFullDoCookies++
		cookie = true
	}
	if l.acceptQueueFull() {
		l.counters.ListenOverflows++
		return l.refuseSYN(seg, AcceptQueueFull)
	}
	if cookie {
		return l.sendCookie(now, seg)
	}
	if l.inLastQuarter() && !seg.TimeWait && !seg.Proven {
		return l.refuseSYN(seg, LastQuarter)
	}

	r, s := l.syn.add(seg.Flow)
	peer := l.agreed(seg.Options)
	r.irs = seg.Seq
	r.iss = l.initialSequence(now, &seg.Flow)
	r.mss = peer.MSS
	r.windowScale, r.windowScaling = peer.WindowScale, peer.WindowScaling
	r.sackPermitted = peer.SACKPermitted
	r.timestamps, r.tsRecent = peer.Timestamps, peer.TSVal
	r.tsFirst = milliseconds(now) + l.tsOffset(&seg.Flow)
	l.syn.arm(s, now+rto(0))
	return l.synack(now, r, NewRequest)
}

// refuseSYN is the end of a SYN that finds no room.
func (l *Listener) refuseSYN(seg *Segment, why Reason) Outcome {
	l.counters.ListenDrops++
	if l.overflow.ResetSYN {
		return l.reset(seg, why)
	}
	return l.outcome(Drop, why, seg.Flow)
}

// inLastQuarter reports whether only proven addresses are let in: without
// cookies, when less than a quarter of tcp_max_syn_backlog is left.
func (l *Listener) inLastQuarter() bool {
	most := l.sysctls.MaxSYNBacklog
	return l.sysctls.Syncookies == 0 && most-l.syn.len() < most>>2
}

// agreed reduces the options of a SYN to those that both sides will use.
func (l *Listener) agreed(o Options) Options {
	if o.MSS == 0 {
		o.MSS = defaultMSS
	}
	o.WindowScaling = o.WindowScaling && l.sysctls.WindowScaling
	o.WindowScale = min(o.WindowScale, maxWindowScale)
	if !o.WindowScaling {
		o.WindowScale = 0
	}
	o.SACKPermitted = o.SACKPermitted && l.sysctls.SACK
	o.Timestamps = o.Timestamps && l.sysctls.Timestamps
	if !o.Timestamps {
		o.TSVal = 0
	}
	o.TSEcr = 0
	return o
}

// synack is the SYN-ACK of a request, at first and each time it is repeated.
func (l *Listener) synack(now time.Duration, r *request, why Reason) Outcome {
	out := l.outcome(SendSYNACK, why, r.flow)
	out.Seq, out.Ack = r.iss, r.irs+1
	out.Timeouts = int(r.timeouts)
	out.Handshake = l.handshake(now, r)
	r.tsLast = out.Handshake.TSVal
	return out
}

func (l *Listener) handshake(now time.Duration, r *request) Handshake {
	offset := l.tsOffset(&r.flow)
	return Handshake{
		IRS:      r.irs,
		ISS:      r.iss,
		Peer:     r.options(),
		TSVal:    milliseconds(now) + offset,
		TSOffset: offset,
	}
}

// initialSequence is the ISS of RFC 6528: a keyed hash of the flow plus a clock
// that ticks every 64 ns (Linux secure_tcp_seq).
func (l *Listener) initialSequence(now time.Duration, f *Flow) uint32 {
	a := f.addresses()
	return uint32(l.issKey.sum(a[0], a[1], a[2], a[3], f.ports())) + uint32(now>>6)
}

// promote moves a finished handshake into the accept queue.
func (l *Listener) promote(f Flow, h Handshake, why Reason) Outcome {
	l.lastConn++
	l.accept.push(Conn{ID: l.lastConn, Flow: f})
	l.counters.PassiveOpens++
	out := l.outcome(Promote, why, f)
	out.Handshake = h
	out.Conn = l.lastConn
	return out
}
