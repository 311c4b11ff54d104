package listenq

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A peer is a client of the listener under test; tests set what differs from a
// plain one.
type peer struct {
	flow Flow
	irs  uint32
	opts Options // of the SYN
	out  Outcome // the latest SYN-ACK or cookie
}

func client4(n int) *peer {
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), 40000)
	return &peer{flow: NewFlow(netip.MustParseAddrPort("192.0.2.1:80"), remote), irs: 1000, opts: Options{MSS: 1460}}
}

func client6(n int) *peer {
	remote := netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::1:%x]:40000", n))
	return &peer{flow: NewFlow(netip.MustParseAddrPort("[2001:db8::1]:80"), remote), irs: 1000, opts: Options{MSS: 1440}}
}

func (p *peer) syn(now time.Duration, l *Listener) Outcome {
	out := l.Segment(now, &Segment{Flow: p.flow, Flags: SYN, Seq: p.irs, Options: p.opts})
	if out.Verdict == SendSYNACK || out.Verdict == SendCookie {
		p.out = out
	}
	return out
}

// ack returns the final ACK for the latest SYN-ACK.
func (p *peer) ack() *Segment {
	seg := &Segment{Flow: p.flow, Flags: ACK, Seq: p.irs + 1, Ack: p.out.Seq + 1}
	if p.out.Handshake.Peer.Timestamps {
		seg.Options = Options{Timestamps: true, TSVal: p.opts.TSVal, TSEcr: p.out.Handshake.TSVal}
	}
	return seg
}

func (p *peer) finish(now time.Duration, l *Listener) Outcome { return l.Segment(now, p.ack()) }

func requireOutcome(t *testing.T, o Outcome, v Verdict, why Reason) {
	t.Helper()
	require.Equal(t, v.String()+": "+why.String(), o.Verdict.String()+": "+o.Reason.String(), o)
}

// listenWith returns a listener with changed settings.
func listenWith(backlog int, change func(*Config, *Sysctls)) *Listener {
	s := DefaultSysctls()
	cfg := Config{Backlog: backlog, Window: 64240, Sysctls: &s}
	if change != nil {
		change(&cfg, &s)
	}
	return MustNew(cfg)
}

// closeQuietly closes a listener whose platform says nothing to half-open
// clients.
func closeQuietly(t *testing.T, l *Listener, now time.Duration) []Conn {
	return l.Close(now, func(o Outcome) { t.Errorf("close: %v", o) })
}

// fill completes connections until the accept queue is full, and leaves two
// requests behind.
func fill(t *testing.T, l *Listener) (left, right *peer) {
	left, right = client4(250), client4(251)
	requireOutcome(t, left.syn(0, l), SendSYNACK, NewRequest)
	requireOutcome(t, right.syn(0, l), SendSYNACK, NewRequest)
	for i := 0; l.AcceptQueueLen() <= l.Limit(); i++ {
		p := client4(i)
		requireOutcome(t, p.syn(0, l), SendSYNACK, NewRequest)
		requireOutcome(t, p.finish(0, l), Promote, FinalACK)
	}
	return left, right
}
