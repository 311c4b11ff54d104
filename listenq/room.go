package listenq

// room is how much fits while a limit is in force. A queue is full when it holds
// as many.
type room struct {
	atSYN, atACK int // connections
	requests     int
	shed         int // old requests are shed while there are more than half as many
}

// room reckons with the formulas of a profile.
func (p *Profile) room(limit, maxSYNBacklog int) room {
	if p.SYNQueue.Setting == "" {
		maxSYNBacklog = p.SYNQueue.Maximum
	}
	r := room{
		atSYN:    max(p.AcceptQueue.AtSYN.Of(limit), 0),
		atACK:    max(p.AcceptQueue.AtACK.Of(limit), 0),
		requests: max(p.SYNQueue.Capacity.Of(p.synQueueLimit(limit, maxSYNBacklog)), 0),
	}
	switch p.SYNQueue.Shed {
	case ShedNever:
		r.shed = unlimited
	case ShedAboveHalf:
		r.shed = max(shedFloor, limit)
	case ShedFromHalf:
		r.shed = r.requests - 1
	}
	return r
}

// evicts reports whether a full queue forgets requests.
func (p *Profile) evicts() bool {
	return p.SYNQueue.Full.evicts() || p.AcceptQueue.FullSYN.evicts() || p.SYNQueue.PerBucket > 0
}

// acceptQueueFull reports whether a SYN finds the accept queue full
// (sk_acceptq_is_full).
func (l *Listener) acceptQueueFull() bool { return l.waiting() >= l.room.atSYN }

// noRoomForACK reports whether a request that is about to complete finds the
// accept queue full.
func (l *Listener) noRoomForACK() bool { return l.accept.len() >= l.room.atACK }

// noRoomForCookie is the same for a connection that was no request, and has no
// place where requests count.
func (l *Listener) noRoomForCookie() bool {
	return l.noRoomForACK() || l.profile.AcceptQueue.Counts == CountHalfOpen && l.acceptQueueFull()
}

// waiting is what counts in the accept queue.
func (l *Listener) waiting() int {
	n := l.accept.len() - l.accept.released
	if l.profile.AcceptQueue.Counts == CountHalfOpen {
		n += l.syn.len()
	}
	return n
}

// synQueueFull reports whether a request with this hash finds no room
// (inet_csk_reqsk_queue_is_full).
func (l *Listener) synQueueFull(hash flowHash) bool {
	if l.syn.len() >= l.room.requests {
		return true
	}
	most := l.profile.SYNQueue.PerBucket
	return most > 0 && l.syn.ages.bucket(hash.bucket()).count >= most
}
