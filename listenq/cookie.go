package listenq

import "time"

const (
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
	clock := milliseconds(now)
	switch l.profile.Cookies.Options {
	case CookieKeepsStamped:
		if !peer.Timestamps {
			peer = Options{MSS: peer.MSS}
		}
		clock = cookieTimestamp(now, peer)
	case CookieKeepsNeither:
		peer = Options{MSS: peer.MSS, Timestamps: peer.Timestamps, TSVal: peer.TSVal}
	}
	offset := l.tsOffset(&seg.Flow)
	out.decide(SendCookie, SYNQueueFullCookie)
	out.Handshake = Handshake{
		IRS:      seg.Seq,
		ISS:      l.cookie(now, &seg.Flow, seg.Seq, l.cookieData(&seg.Flow, peer)),
		Peer:     peer,
		TSVal:    clock + offset,
		TSOffset: offset,
	}
	out.Seq, out.Ack = out.Handshake.ISS, out.Handshake.IRS+1
}

// What the data of a cookie says. The segment size is all that Linux puts there;
// where the cookie keeps all options, SACK and the window scale stand above it.
const (
	dataMSSMask  = 1<<2 - 1
	dataSACK     = 1 << 2
	dataScaleBit = 3
	dataAll      = 1 << 7
)

func (l *Listener) cookieData(f *Flow, peer Options) uint32 {
	table := cookieMSS(f)
	index := len(table) - 1
	for index > 0 && peer.MSS < table[index] {
		index--
	}
	data := uint32(index)
	if l.profile.Cookies.Options != CookieKeepsAll {
		return data
	}
	if peer.SACKPermitted {
		data |= dataSACK
	}
	scale := uint32(tsScaleAbsent)
	if peer.WindowScaling {
		scale = uint32(peer.WindowScale)
	}
	return data | scale<<dataScaleBit
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
	rules := &l.profile.Cookies
	recent := now-l.cookieSent <= rules.Remember || rules.Remember == 0
	if l.sysctls.Syncookies == 0 || !recent {
		return false
	}
	data, ok := l.checkCookie(now, &seg.Flow, seg.Seq-1, seg.Ack-1)
	if !ok {
		l.counters.SyncookiesFailed++
		return false
	}
	l.counters.SyncookiesRecv++

	offset := l.tsOffset(&seg.Flow)
	peer := Options{MSS: cookieMSS(&seg.Flow)[data&dataMSSMask]}
	stamped := seg.Options.Timestamps && l.sysctls.Timestamps
	if stamped {
		peer.Timestamps, peer.TSVal = true, seg.Options.TSVal
	}
	switch echo := seg.Options.TSEcr; {
	case rules.Options == CookieKeepsStamped && stamped:
		if echo != 0 {
			echo -= offset
		}
		peer.keep(echo&tsSACK != 0, echo&tsScaleMask)
	case rules.Options == CookieKeepsAll:
		peer.keep(data&dataSACK != 0, data>>dataScaleBit)
	}
	if peer.SACKPermitted && !l.sysctls.SACK || peer.WindowScaling && !l.sysctls.WindowScaling {
		return false
	}
	if l.noRoomForCookie() {
		l.overflowCookie(seg, out)
		return true
	}
	out.Handshake = Handshake{
		IRS:      seg.Seq - 1,
		ISS:      seg.Ack - 1,
		Peer:     peer,
		TSVal:    milliseconds(now) + offset,
		TSOffset: offset,
	}
	if stamped {
		out.Handshake.RTT = echoed(out.Handshake.TSVal, seg.Options.TSEcr)
	}
	l.promote(ValidCookie, out)
	return true
}

// keep sets what a cookie has kept.
func (o *Options) keep(sack bool, scale uint32) {
	o.SACKPermitted = sack
	if scale != tsScaleAbsent {
		o.WindowScaling, o.WindowScale = true, uint8(min(scale, maxWindowScale))
	}
}

// overflowCookie is a valid cookie that finds the accept queue full.
func (l *Listener) overflowCookie(seg *Segment, out *Outcome) {
	l.counters.ListenOverflows++
	l.counters.ListenDrops++
	if l.profile.Cookies.FullACK == ACKReset {
		l.reset(seg, AcceptQueueFull, out)
		return
	}
	out.decide(Drop, AcceptQueueFull)
}

// cookie is secure_tcp_syn_cookie: a sequence number that carries its age and
// one of four segment sizes under two keyed hashes.
func (l *Listener) cookie(now time.Duration, f *Flow, irs, data uint32) uint32 {
	count := uint32(now / l.profile.Cookies.Period)
	return l.cookieHash(f, 0, 0) + irs + count<<cookieBits + (l.cookieHash(f, count, 1)+data)&cookieMask
}

// checkCookie is check_tcp_syn_cookie.
func (l *Listener) checkCookie(now time.Duration, f *Flow, irs, cookie uint32) (data uint32, ok bool) {
	cookie -= l.cookieHash(f, 0, 0) + irs
	count := uint32(now / l.profile.Cookies.Period)
	age := (count - cookie>>cookieBits) & (1<<(32-cookieBits) - 1)
	if age >= uint32(l.profile.Cookies.Periods) {
		return 0, false
	}
	data = (cookie - l.cookieHash(f, count-age, 1)) & cookieMask
	if l.profile.Cookies.Options == CookieKeepsAll {
		return data, data < dataAll
	}
	return data, data < uint32(len(cookieMSS4))
}

func (l *Listener) cookieHash(f *Flow, count uint32, key int) uint32 {
	a := f.addresses()
	return uint32(l.cookieKeys[key].sum(a[0], a[1], a[2], a[3], f.ports()|uint64(count)<<32))
}
