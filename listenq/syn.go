package listenq

import "time"

// forListener decides about a segment that belongs to no request
// (tcp_rcv_state_process in state LISTEN).
func (l *Listener) forListener(now time.Duration, seg *Segment, hash flowHash, out *Outcome) {
	switch {
	case seg.Flags.Has(RST):
		out.decide(Drop, RSTIgnored)
	case seg.Flags.Has(ACK):
		l.unexplainedACK(now, seg, NoRequest, out)
	case seg.Flags.Has(SYN) && !seg.Flags.Has(FIN):
		l.newSYN(now, seg, hash, out)
	default:
		out.decide(Drop, NotASYN)
	}
}

// unexplainedACK is for an ACK that fits no request: unless it carries a cookie,
// it is answered by RST.
func (l *Listener) unexplainedACK(now time.Duration, seg *Segment, why Reason, out *Outcome) {
	if seg.Flags.Has(SYN) || !l.cookieACK(now, seg, out) {
		l.reset(seg, why, out)
	}
}

// newSYN applies the tests of tcp_conn_request in their order.
func (l *Listener) newSYN(now time.Duration, seg *Segment, hash flowHash, out *Outcome) {
	cookie, evict := false, none
	if (l.sysctls.Syncookies == 2 || l.synQueueFull(hash)) && !seg.TimeWait {
		switch {
		case l.sysctls.Syncookies == 2, l.sysctls.Syncookies != 0 && l.profile.SYNQueue.Full == SYNGetsCookie:
			l.counters.TCPReqQFullDoCookies++
			cookie = true
		default:
			if evict = l.evictable(l.profile.SYNQueue.Full, hash); evict == none {
				l.counters.TCPReqQFullDrop++
				l.refuseSYN(seg, l.profile.SYNQueue.Full, SYNQueueFull, out)
				return
			}
		}
	}
	if l.acceptQueueFull() && !l.answeredIfQuiet() {
		if evict = l.evictable(l.profile.AcceptQueue.FullSYN, hash); evict == none {
			l.counters.ListenOverflows++
			l.refuseSYN(seg, l.profile.AcceptQueue.FullSYN, AcceptQueueFull, out)
			return
		}
	}
	if cookie {
		l.sendCookie(now, seg, out)
		return
	}
	if l.inLastQuarter() && !seg.TimeWait && !seg.Proven {
		l.refuseSYN(seg, SYNDropped, LastQuarter, out)
		return
	}
	if evict != none {
		l.evict(now, evict, out)
	}

	r, s := l.syn.add(&seg.Flow, hash.bucket())
	peer := l.agreed(seg.Options)
	r.irs = seg.Seq
	r.iss = hash.initialSequence(now)
	if seg.TimeWait && seg.ISS != 0 {
		r.iss = seg.ISS
	}
	if l.profile.Cookies.InEverySYNACK {
		r.iss = l.cookie(now, &seg.Flow, seg.Seq, l.cookieData(&seg.Flow, peer))
	}
	r.mss = peer.MSS
	r.windowScale = tsScaleAbsent
	if peer.WindowScaling {
		r.windowScale = peer.WindowScale
	}
	r.sackPermitted = peer.SACKPermitted
	r.timestamps, r.tsRecent = peer.Timestamps, peer.TSVal
	l.syn.arm(s, now+l.schedule.wait(0))
	l.synack(now, r, NewRequest, out)
	r.tsFirst = r.tsLast
}

// answeredIfQuiet reports whether a SYN is taken although the accept queue is
// full, because the SYN queue is quiet.
func (l *Listener) answeredIfQuiet() bool {
	return l.profile.AcceptQueue.FullSYN == SYNDroppedIfYoung && l.syn.young <= 1
}

// refuseSYN is the end of a SYN that finds no room.
func (l *Listener) refuseSYN(seg *Segment, rule SYNRule, why Reason, out *Outcome) {
	l.counters.ListenDrops++
	if l.overflow.ResetSYN || rule == SYNReset {
		l.reset(seg, why, out)
		return
	}
	out.decide(Drop, why)
}

// inLastQuarter reports whether only proven addresses are let in: without
// cookies, when less than a quarter of tcp_max_syn_backlog is left.
func (l *Listener) inLastQuarter() bool {
	most := l.sysctls.MaxSYNBacklog
	return l.sysctls.Syncookies == 0 && l.profile.SYNQueue.LastQuarter && most-l.syn.len() < most>>2
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
func (l *Listener) synack(now time.Duration, r *request, why Reason, out *Outcome) {
	out.decide(SendSYNACK, why)
	out.Seq, out.Ack = r.iss, r.irs+1
	out.Timeouts = int(r.timeouts)
	l.handshake(now, r, &out.Handshake)
	r.tsLast = out.Handshake.TSVal
}

func (l *Listener) handshake(now time.Duration, r *request, h *Handshake) {
	h.IRS, h.ISS = r.irs, r.iss
	h.Peer = r.options()
	h.TSOffset = l.tsOffset(&r.flow)
	h.TSVal = milliseconds(now) + h.TSOffset
}

// promote puts a finished handshake into the accept queue.
func (l *Listener) promote(why Reason, out *Outcome) {
	l.lastConn++
	l.accept.push(Conn{ID: l.lastConn, Flow: out.Flow})
	l.counters.PassiveOpens++
	out.decide(Promote, why)
	out.Conn = l.lastConn
}
