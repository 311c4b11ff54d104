package listenq

import "time"

const (
	// cookiePeriod is the age step of a cookie (TCP_SYNCOOKIE_PERIOD).
	cookiePeriod = 60 * time.Second
	// maxCookieAge is how many periods a cookie is good for
	// (MAX_SYNCOOKIE_AGE): the one it was made in and the next.
	maxCookieAge = 2
	// cookieBits is the width of the hashed part; the period number stands
	// above it.
	cookieBits = 24
	cookieMask = 1<<cookieBits - 1
)

// What the low bits of a cookie's timestamp say (cookie_init_timestamp). The
// kernel has a sixth bit for ECN, which is never offered here.
const (
	tsOptionBits  = 6
	tsOptionMask  = 1<<tsOptionBits - 1
	tsScaleMask   = 0xf // window scale; 0xf stands for none
	tsSACK        = 1 << 4
	tsScaleAbsent = tsScaleMask
)

// The maximum segment sizes that a cookie can carry (msstab in
// net/ipv4/syncookies.c and net/ipv6/syncookies.c).
var (
	cookieMSS4 = [4]uint16{536, 1300, 1440, 1460}
	cookieMSS6 = [4]uint16{1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60}
)

func cookieMSS(f *Flow) *[4]uint16 {
	if f.Is4() {
		return &cookieMSS4
	}
	return &cookieMSS6
}

// sendCookie answers a SYN without keeping anything (cookie_init_sequence).
func (l *Listener) sendCookie(now time.Duration, seg *Segment, out *Outcome) {
	l.cookieSent = now
	l.counters.SyncookiesSent++

	peer := l.agreed(seg.Options)
	if !peer.Timestamps {
		peer = Options{MSS: peer.MSS}
	}
	table := cookieMSS(&seg.Flow)
	index := len(table) - 1
	for index > 0 && peer.MSS < table[index] {
		index--
	}
	offset := l.tsOffset(&seg.Flow)
	out.decide(SendCookie, SYNQueueFullCookie)
	out.Handshake = Handshake{
		IRS:      seg.Seq,
		ISS:      l.cookie(now, &seg.Flow, seg.Seq, uint32(index)),
		Peer:     peer,
		TSVal:    cookieTimestamp(now, peer) + offset,
		TSOffset: offset,
	}
	out.Seq, out.Ack = out.Handshake.ISS, out.Handshake.IRS+1
}

// cookieTimestamp is the latest clock reading whose low bits say what the
// options are.
func cookieTimestamp(now time.Duration, peer Options) uint32 {
	options := uint32(tsScaleAbsent)
	if peer.WindowScaling {
		options = uint32(peer.WindowScale)
	}
	if peer.SACKPermitted {
		options |= tsSACK
	}
	clock := milliseconds(now)
	ts := clock&^tsOptionMask | options
	if ts > clock {
		ts -= 1 << tsOptionBits
	}
	return ts
}

// cookieACK completes a handshake whose SYN-ACK was a cookie, if the segment
// proves one (cookie_v4_check, tcp_get_cookie_sock). Undecided segments have
// nothing to do with cookies.
func (l *Listener) cookieACK(now time.Duration, seg *Segment, out *Outcome) (decided bool) {
	recent := now-l.cookieSent <= maxCookieAge*cookiePeriod
	if l.sysctls.Syncookies == 0 || !recent {
		return false
	}
	index, ok := l.checkCookie(now, &seg.Flow, seg.Seq-1, seg.Ack-1)
	if !ok {
		l.counters.SyncookiesFailed++
		return false
	}
	l.counters.SyncookiesRecv++

	offset := l.tsOffset(&seg.Flow)
	peer := Options{MSS: cookieMSS(&seg.Flow)[index]}
	if o := seg.Options; o.Timestamps && l.sysctls.Timestamps {
		options := o.TSEcr
		if options != 0 {
			options -= offset
		}
		peer.Timestamps, peer.TSVal = true, o.TSVal
		peer.SACKPermitted = options&tsSACK != 0
		if scale := options & tsScaleMask; scale != tsScaleAbsent {
			peer.WindowScaling, peer.WindowScale = true, uint8(min(scale, maxWindowScale))
		}
		if peer.SACKPermitted && !l.sysctls.SACK || peer.WindowScaling && !l.sysctls.WindowScaling {
			return false
		}
	}
	if l.acceptQueueFull() {
		l.counters.ListenOverflows++
		l.counters.ListenDrops++
		out.decide(Drop, AcceptQueueFull)
		return true
	}
	out.Handshake = Handshake{
		IRS:      seg.Seq - 1,
		ISS:      seg.Ack - 1,
		Peer:     peer,
		TSVal:    milliseconds(now) + offset,
		TSOffset: offset,
	}
	l.promote(ValidCookie, out)
	return true
}

// cookie is secure_tcp_syn_cookie: a sequence number that carries its age and
// one of four segment sizes under two keyed hashes.
func (l *Listener) cookie(now time.Duration, f *Flow, irs, data uint32) uint32 {
	count := uint32(now / cookiePeriod)
	return l.cookieHash(f, 0, 0) + irs + count<<cookieBits + (l.cookieHash(f, count, 1)+data)&cookieMask
}

// checkCookie is check_tcp_syn_cookie.
func (l *Listener) checkCookie(now time.Duration, f *Flow, irs, cookie uint32) (data uint32, ok bool) {
	cookie -= l.cookieHash(f, 0, 0) + irs
	count := uint32(now / cookiePeriod)
	age := (count - cookie>>cookieBits) & (1<<(32-cookieBits) - 1)
	if age >= maxCookieAge {
		return 0, false
	}
	data = (cookie - l.cookieHash(f, count-age, 1)) & cookieMask
	return data, data < uint32(len(cookieMSS4))
}

func (l *Listener) cookieHash(f *Flow, count uint32, key int) uint32 {
	a := f.addresses()
	return uint32(l.cookieKeys[key].sum(a[0], a[1], a[2], a[3], f.ports()|uint64(count)<<32))
}
