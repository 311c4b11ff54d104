package listenq

import "time"

// An ageOrder keeps the requests of a listener in the order in which they came,
// for platforms that forget old ones to make room: in one list, or in one for
// each bucket of a hash. Its memory is 8 bytes for each bucket and each request
// that there ever were at once.
type ageOrder struct {
	buckets []ageList
	links   []ageLink // by slot
}

type ageList struct {
	oldest, newest slot
	count          int
}

type ageLink struct{ older, newer slot }

func newAgeOrder(buckets int) *ageOrder {
	o := &ageOrder{buckets: make([]ageList, max(buckets, 1))}
	for i := range o.buckets {
		o.buckets[i] = ageList{oldest: none, newest: none}
	}
	return o
}

func (o *ageOrder) index(hash uint32) int { return int(hash % uint32(len(o.buckets))) }

func (o *ageOrder) bucket(hash uint32) *ageList { return &o.buckets[o.index(hash)] }

func (o *ageOrder) add(s slot, hash uint32) {
	for int(s) >= len(o.links) {
		o.links = append(o.links, ageLink{none, none})
	}
	b := o.bucket(hash)
	o.links[s] = ageLink{older: b.newest, newer: none}
	if b.newest == none {
		b.oldest = s
	} else {
		o.links[b.newest].newer = s
	}
	b.newest = s
	b.count++
}

func (o *ageOrder) remove(s slot, hash uint32) {
	b, l := o.bucket(hash), o.links[s]
	if l.older == none {
		b.oldest = l.newer
	} else {
		o.links[l.older].newer = l.newer
	}
	if l.newer == none {
		b.newest = l.older
	} else {
		o.links[l.newer].older = l.older
	}
	b.count--
}

// oldest returns the oldest request in the bucket of a hash, or if that is empty
// in the next bucket that is not.
func (o *ageOrder) oldest(hash uint32) slot {
	first := o.index(hash)
	for i := range o.buckets {
		if s := o.buckets[(first+i)%len(o.buckets)].oldest; s != none {
			return s
		}
	}
	return none
}

// evicts reports whether a rule makes room for a SYN.
func (r SYNRule) evicts() bool { return r == SYNEvictsOldest || r == SYNEvictsTimedOut }

// evictable returns the request that a rule would forget to make room for a SYN
// with this hash, or none.
func (l *Listener) evictable(rule SYNRule, hash flowHash) slot {
	switch rule {
	case SYNEvictsOldest:
		return l.syn.ages.oldest(hash.bucket())
	case SYNEvictsTimedOut:
		return l.oldestTimedOut(l.syn.ages.oldest(hash.bucket()))
	}
	return none
}

// evict forgets a request without a word.
func (l *Listener) evict(now time.Duration, s slot, out *Outcome) {
	out.Evicted = l.syn.at(s).flow
	l.syn.remove(s)
	l.counters.Evictions++
	if l.profile.Cookies.InEverySYNACK {
		l.cookieSent = now // its client may come back with one
	}
}

// oldestTimedOut returns the oldest request from s on that has had a timeout.
func (l *Listener) oldestTimedOut(s slot) slot {
	if l.syn.young == l.syn.len() {
		return none
	}
	for s != none && l.syn.at(s).timeouts == 0 {
		s = l.syn.ages.links[s].newer
	}
	return s
}
