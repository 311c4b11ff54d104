package stack

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// icmpHosts bounds the destinations whose budget is remembered; it is reached only
// if net.ipv4.icmp_msgs_per_sec is raised.
const icmpHosts = 8192

// icmpLimit bounds the ICMP errors that go out, as Linux does (net/ipv4/icmp.c, 6.18;
// netstack's own limit is switched off): first for all destinations together
// (icmp_global_allow), then for each one. Only what is sent costs credit, and how
// much is left to chance, so that nobody can tell from the errors that he gets how
// many others got (CVE-2020-25705; icmp_global_consume).
type icmpLimit struct {
	s *Stack

	mu     sync.Mutex
	credit int           // errors, of all destinations; may be -1
	filled time.Duration // when credit was last given
	// recent and older are the budgets of destinations; older ones have been full
	// since before turned, and are forgotten when recent takes their place.
	recent, older map[tcpip.Address]icmpBudget
	turned        time.Duration
}

// An icmpBudget is what may be sent to one destination: an error costs its rate limit
// in time (inet_peer_xrlim_allow).
type icmpBudget struct {
	tokens, at time.Duration
}

func (l *icmpLimit) init(s *Stack) {
	l.s = s
	l.filled = s.now() - time.Second
	l.recent = make(map[tcpip.Address]icmpBudget)
	const unlimited = 1 << 62
	s.g.SetICMPLimit(unlimited)
}

// withholds reports whether a packet is an ICMP error that must not go out.
func (l *icmpLimit) withholds(pkt *gstack.PacketBuffer) bool {
	if !isICMPError(pkt) {
		return false
	}
	if aboutLaterFragment(pkt) {
		return true
	}
	dst := destination(pkt)
	now := l.s.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.globalAllow(now) {
		l.s.drop(func(d *Drops) { d.OutRateLimitGlobal++ })
		return true
	}
	if !l.hostAllow(dst, now) {
		l.s.drop(func(d *Drops) { d.OutRateLimitHost++ })
		return true
	}
	rng := l.s.g.SecureRNG()
	l.credit -= int(rng.Uint32() % 3)
	return false
}

// globalAllow follows icmp_global_allow: credit comes in lumps, at most every 20 ms
// and only when there is none left.
func (l *icmpLimit) globalAllow(now time.Duration) bool {
	if l.credit > 0 {
		return true
	}
	since := min(now-l.filled, time.Second)
	if since < time.Second/50 {
		return false
	}
	more := int(time.Duration(l.s.sysctl(icmpMsgsPerSec)) * since / time.Second)
	if more == 0 {
		return false
	}
	l.filled = now
	l.credit = min(l.credit+more, l.s.sysctl(icmpMsgsBurst))
	return true
}

// hostAllow follows inet_peer_xrlim_allow.
func (l *icmpLimit) hostAllow(dst tcpip.Address, now time.Duration) bool {
	const (
		burst  = 6           // XRLIM_BURST_FACTOR
		newest = time.Minute // what a new destination has, at most (inet_getpeer)
	)
	cost := l.cost(dst)
	l.forget(now, burst*max(l.cost4(), l.cost6()))
	b, ok := l.recent[dst]
	if !ok {
		if b, ok = l.older[dst]; !ok {
			b = icmpBudget{at: now - newest}
		}
	}
	b.tokens = min(b.tokens+now-b.at, burst*cost)
	b.at = now
	allowed := b.tokens >= cost
	if allowed {
		b.tokens -= cost
	}
	l.recent[dst] = b
	return allowed
}

// forget drops the budgets that nobody has used for so long that they are full.
func (l *icmpLimit) forget(now, full time.Duration) {
	if now-l.turned < full && len(l.recent) < icmpHosts {
		return
	}
	l.older, l.recent = l.recent, make(map[tcpip.Address]icmpBudget)
	l.turned = now
}

func (l *icmpLimit) cost(dst tcpip.Address) time.Duration {
	if dst.Len() == header.IPv6AddressSize {
		return l.cost6()
	}
	return l.cost4()
}

func (l *icmpLimit) cost4() time.Duration {
	return time.Duration(l.s.sysctl(icmpRatelimit)) * time.Millisecond
}

func (l *icmpLimit) cost6() time.Duration {
	return time.Duration(l.s.sysctl(icmp6Ratelimit)) * time.Millisecond
}

func isICMP(pkt *gstack.PacketBuffer) bool {
	return pkt.TransportProtocolNumber == header.ICMPv4ProtocolNumber || pkt.TransportProtocolNumber == header.ICMPv6ProtocolNumber
}

// isICMPError reports whether a packet is one of those that are limited: all errors
// but "too big" (icmp_ratemask, icmpv6_ratemask).
func isICMPError(pkt *gstack.PacketBuffer) bool {
	h := pkt.TransportHeader().Slice()
	if len(h) < header.ICMPv4MinimumSize {
		return false
	}
	if pkt.TransportProtocolNumber == header.ICMPv6ProtocolNumber {
		const information = 128
		return h[0] < information && header.ICMPv6Type(h[0]) != header.ICMPv6PacketTooBig
	}
	switch header.ICMPv4Type(h[0]) {
	case header.ICMPv4DstUnreachable:
		return header.ICMPv4Code(h[1]) != header.ICMPv4FragmentationNeeded
	case header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
		return true
	}
	return false
}

// aboutLaterFragment reports whether an ICMPv4 error is about a fragment other than
// the first, which nobody is told of (RFC 1122, section 3.2.2; __icmp_send).
func aboutLaterFragment(pkt *gstack.PacketBuffer) bool {
	if pkt.TransportProtocolNumber != header.ICMPv4ProtocolNumber {
		return false
	}
	quoted, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	return ok && header.IPv4(quoted).FragmentOffset() != 0
}
