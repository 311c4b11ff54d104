package listenq_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/model"
)

// FuzzModel reads its input as the choices of a script and compares the listener
// with the model.
func FuzzModel(f *testing.F) {
	f.Fuzz(func(t *testing.T, choices []byte) {
		i := 0
		s := model.NewScript(func(n int) int {
			if i == len(choices) {
				return 0
			}
			i++
			return int(choices[i-1]) % n
		})
		for i < len(choices) {
			if err := s.Step(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// eventSize is how many bytes of FuzzListener's input make one event:
//
//	0  what happens: see the switch in play
//	1  client (low bits), TIME-WAIT and proven (high bits)
//	2  flags
//	3  options: which are present (low bits), MSS (high bits)
//	4  sequence number, 4 bytes; bit 7 of byte 0 makes it relative to the answer
//	8  acknowledgment number, 4 bytes, likewise
//	12 timestamp
//	13 window scale or payload length
//	14 time since the last event, in a unit that the high bits choose, 2 bytes
const eventSize = 16

// maxSYNQueue bounds the memory of one run.
const maxSYNQueue = 64

// FuzzListener hands a listener any segments at any time, timers late included,
// and settings that no sysctl would take. Nothing may panic, and the audit must
// hold.
func FuzzListener(f *testing.F) {
	f.Fuzz(func(t *testing.T, events []byte) {
		g := newPlayer(t)
		for ; len(events) >= eventSize; events = events[eventSize:] {
			g.play(events[:eventSize])
			if err := g.audit.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

type player struct {
	t     *testing.T
	l     *listenq.Listener
	audit *model.Audit
	now   time.Duration
	last  listenq.Outcome // the latest that carried a sequence number of ours
}

func newPlayer(t *testing.T) *player {
	l := listenq.MustNew(listenq.Config{Backlog: 3, Window: 64240})
	return &player{t: t, l: l, audit: model.NewAudit(l)}
}

func (g *player) play(e []byte) {
	units := [...]time.Duration{time.Nanosecond, time.Millisecond, time.Second, time.Hour}
	g.now += time.Duration(e[14]) * units[e[15]%4]
	small := int(int8(e[13]))
	switch e[0] & 0x7f {
	default:
		seg := g.segment(e)
		out := g.l.Segment(g.now, &seg)
		if err := g.audit.Segment(&seg, out); err != nil {
			g.t.Fatal(err)
		}
		if out.Verdict == listenq.SendSYNACK || out.Verdict == listenq.SendCookie {
			g.last = out
		}
	case 0x10, 0x11:
		g.l.Advance(g.now, g.audit.Timer)
		if at, ok := g.l.NextTimeout(); ok && at <= g.now {
			g.t.Fatalf("advance to %v leaves a timer at %v", g.now, at)
		}
	case 0x12:
		g.l.Accept()
	case 0x13:
		g.l.Close(g.now, func(o listenq.Outcome) { g.t.Fatal(o) })
	case 0x14:
		if err := g.l.Listen(small % maxSYNQueue); err != nil {
			g.t.Fatal(err)
		}
	case 0x15:
		s := listenq.DefaultSysctls()
		s.Somaxconn = small
		s.Syncookies = int(e[1]) - 1
		s.SYNACKRetries = small * int(e[2])
		s.MaxSYNBacklog = small * int(e[3])
		s.InvalidRatelimit = time.Duration(small) * time.Second
		if s.Somaxconn > maxSYNQueue || s.Somaxconn < 0 {
			s.Somaxconn = maxSYNQueue
		}
		g.l.SetSysctls(s)
	case 0x17:
		seg := g.segment(e)
		icmp := listenq.ICMPError{Flow: seg.Flow, Seq: seg.Ack, Type: e[2], Code: e[3]}
		if err := g.audit.ICMP(&icmp, g.l.ICMP(&icmp)); err != nil {
			g.t.Fatal(err)
		}
	case 0x16:
		g.l.SetOverflow(listenq.Overflow{ResetSYN: e[1]&1 != 0, ResetFinalACK: e[1]&2 != 0})
	}
}

func (g *player) segment(e []byte) listenq.Segment {
	seg := listenq.Segment{
		Flow: listenq.NewFlow(netip.MustParseAddrPort("192.0.2.1:80"),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, e[1] & 0x1f}), 40000)),
		Flags:    listenq.Flags(e[2]),
		Seq:      binary.BigEndian.Uint32(e[4:]),
		Ack:      binary.BigEndian.Uint32(e[8:]),
		Len:      int(e[13]),
		TimeWait: e[1]&0x40 != 0,
		Proven:   e[1]&0x80 != 0,
		Options: listenq.Options{
			Timestamps:    e[3]&1 != 0,
			SACKPermitted: e[3]&2 != 0,
			WindowScaling: e[3]&4 != 0,
			WindowScale:   e[13],
			MSS:           uint16(e[3]>>4) * 100,
			TSVal:         uint32(int8(e[12])),
			TSEcr:         uint32(int8(e[12])),
		},
	}
	if e[1]&0x20 != 0 {
		seg.Flow = listenq.NewFlow(netip.MustParseAddrPort("[2001:db8::1]:80"),
			netip.AddrPortFrom(netip.MustParseAddr("2001:db8::2"), uint16(e[1])))
	}
	if e[0]&0x80 != 0 {
		seg.Flow = g.last.Flow
		seg.Seq += g.last.Ack
		seg.Ack += g.last.Seq + 1
		seg.Options.TSVal += g.last.Handshake.Peer.TSVal
		seg.Options.TSEcr += g.last.Handshake.TSVal
	}
	return seg
}
