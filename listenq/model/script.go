package model

import (
	"net/netip"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// A Script turns a source of small numbers into events for a Pair. Clients are
// few and numbers collide, so that short scripts reach far: a duplicate SYN, a
// cookie that comes back late, a RST one beside the window.
type Script struct {
	Pair *Pair
	// Draw returns a number from 0 to n-1.
	Draw func(n int) int
	// Log, if set, is told what happens.
	Log func(format string, args ...any)

	now     time.Duration
	sysctls listenq.Sysctls
	answers []answer // the latest SYN-ACKs
}

type answer struct {
	flow      listenq.Flow
	irs, iss  uint32
	tsPeer    uint32
	tsOurs    uint32
	timestamp bool
}

const (
	clients    = 10
	maxAnswers = 16
)

var steps = []time.Duration{
	0, time.Millisecond, 100 * time.Millisecond, 499 * time.Millisecond, 500 * time.Millisecond,
	time.Second - 1, time.Second, 2 * time.Second, 3 * time.Second, 7 * time.Second, 30 * time.Second,
	59 * time.Second, time.Minute, 61 * time.Second, 119 * time.Second, 2*time.Minute - 1, 2 * time.Minute,
	2*time.Minute + 1, 10 * time.Minute,
}

func pick[T any](s *Script, from ...T) T { return from[s.Draw(len(from))] }

func (s *Script) chance(n int) bool { return s.Draw(n) == 0 }

// NewScript starts a script with a pair that it chooses.
func NewScript(draw func(n int) int) *Script {
	s := &Script{Draw: draw, Log: func(string, ...any) {}, now: 5 * time.Second, sysctls: listenq.DefaultSysctls()}
	s.changeSysctls()
	cfg := listenq.Config{
		Backlog:  pick(s, 1, 0, 2, 3, 9, -1),
		Window:   pick[uint32](s, 64240, 0, 65535, 1, 100_000),
		Sysctls:  &s.sysctls,
		Overflow: s.overflow(),
	}
	if s.chance(4) {
		cfg.DeferAccept = time.Duration(s.Draw(40)) * time.Second
	}
	if s.chance(4) {
		cfg.SYNCount = pick(s, 1, 2, 3, 127)
	}
	s.Pair = NewPair(cfg)
	return s
}

func (s *Script) overflow() listenq.Overflow {
	return listenq.Overflow{ResetSYN: s.chance(3), ResetFinalACK: s.chance(3)}
}

func (s *Script) changeSysctls() {
	c := &s.sysctls
	switch s.Draw(9) {
	case 0:
		c.Syncookies = s.Draw(3)
	case 1:
		c.MaxSYNBacklog = s.Draw(17)
	case 2:
		c.SYNACKRetries = pick(s, 0, 1, 2, 5, 9, 255)
	case 3:
		c.AbortOnOverflow = !c.AbortOnOverflow
	case 4:
		c.InvalidRatelimit = pick(s, 0, time.Millisecond, 500*time.Millisecond, time.Minute)
	case 5:
		c.Timestamps = !c.Timestamps
	case 6:
		c.SACK = !c.SACK
	case 7:
		c.WindowScaling = !c.WindowScaling
	case 8:
		c.Somaxconn = pick(s, 4096, 0, 1, 4)
	}
}

// Step makes one event happen.
func (s *Script) Step() error {
	if s.Pair.Model.closed && s.chance(4) {
		return s.listen()
	}
	switch n := s.Draw(36); {
	case n < 9:
		return s.segment(s.freshSYN())
	case n < 18 && len(s.answers) > 0:
		return s.segment(s.finalACK())
	case n < 22 && len(s.answers) > 0:
		return s.segment(s.mutated())
	case n < 26:
		s.now += pick(s, steps...)
		s.Log("advance to %v", s.now)
		return s.Pair.Advance(s.now)
	case n < 30:
		s.Log("accept")
		return s.Pair.Accept()
	case n == 30:
		return s.listen()
	case n == 31:
		s.changeSysctls()
		s.Log("sysctls %+v", s.sysctls)
		return s.Pair.SetSysctls(s.sysctls)
	case n == 32:
		return s.Pair.SetOverflow(s.overflow())
	case n == 33 && s.chance(2):
		s.Log("close")
		return s.Pair.Close(s.now)
	case n > 33 && len(s.answers) > 0:
		return s.icmp()
	}
	return nil
}

func (s *Script) listen() error {
	backlog := pick(s, 0, 1, 2, 4, 9, -1)
	s.Log("listen %d", backlog)
	return s.Pair.Listen(backlog)
}

func (s *Script) client() listenq.Flow {
	i := s.Draw(clients)
	if i == clients-1 {
		return listenq.NewFlow(netip.MustParseAddrPort("[2001:db8::1]:80"), netip.MustParseAddrPort("[2001:db8::2]:40000"))
	}
	return listenq.NewFlow(netip.MustParseAddrPort("192.0.2.1:80"),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i / 2)}), uint16(40000+i)))
}

func (s *Script) options() listenq.Options {
	return listenq.Options{
		MSS:           pick[uint16](s, 1460, 0, 536, 1, 1300, 1439, 9000),
		WindowScale:   pick[uint8](s, 7, 0, 14, 15, 255),
		WindowScaling: s.chance(2),
		SACKPermitted: s.chance(2),
		Timestamps:    s.chance(2),
		TSVal:         pick[uint32](s, 1000, 0, 1001, 1<<31, 1<<32-1),
		TSEcr:         pick[uint32](s, 0, 0, 1),
	}
}

func (s *Script) freshSYN() listenq.Segment {
	return listenq.Segment{
		Flow:     s.client(),
		Flags:    listenq.SYN,
		Seq:      pick[uint32](s, 1000, 1000, 1001, 30_000, 5_000_000, 1<<32-1),
		Len:      pick(s, 0, 0, 0, 5),
		Options:  s.options(),
		TimeWait: s.chance(12),
		Proven:   s.chance(8),
	}
}

func (s *Script) finalACK() listenq.Segment {
	a := s.answers[s.Draw(len(s.answers))]
	seg := listenq.Segment{
		Flow:  a.flow,
		Flags: listenq.ACK | pick[listenq.Flags](s, 0, 0, listenq.PSH, listenq.FIN),
		Seq:   a.irs + 1,
		Ack:   a.iss + 1,
		Len:   pick(s, 0, 0, 10),
	}
	if a.timestamp {
		seg.Options.Timestamps = true
		seg.Options.TSVal = a.tsPeer + pick[uint32](s, 0, 1, 100)
		seg.Options.TSEcr = a.tsOurs
	}
	return seg
}

func (s *Script) mutated() listenq.Segment {
	seg := s.finalACK()
	seg.Flags = listenq.Flags(s.Draw(64))
	if s.chance(2) {
		seg.Flags = pick(s, listenq.ACK, listenq.RST, listenq.RST|listenq.ACK, listenq.SYN, listenq.SYN|listenq.ACK)
	}
	seg.Seq += pick[uint32](s, 0, 0, 1, 1<<32-1, 10, 1<<32-10, 64239, 64240, 64241, 65534, 65535, 65536, 1<<30, 3<<30)
	seg.Ack += pick[uint32](s, 0, 0, 0, 1, 2, 3, 1<<32-1, 1<<32-3, 1000)
	if s.chance(3) {
		seg.Options.Timestamps = !seg.Options.Timestamps
	}
	seg.Options.TSVal += pick[uint32](s, 0, 0, 1<<32-1, 1<<31)
	seg.Options.TSEcr += pick[uint32](s, 0, 0, 0, 1, 1<<32-1, 1<<20)
	return seg
}

func (s *Script) segment(seg listenq.Segment) error {
	out, err := s.Pair.Segment(s.now, &seg)
	s.Log("%v %v %v seq=%d ack=%d len=%d %+v: %v", s.now, seg.Flow, seg.Flags, seg.Seq, seg.Ack, seg.Len, seg.Options, out)
	if out.Verdict == listenq.SendSYNACK || out.Verdict == listenq.SendCookie {
		h := out.Handshake
		s.answers = append(s.answers, answer{seg.Flow, h.IRS, h.ISS, h.Peer.TSVal, h.TSVal, h.Peer.Timestamps})
		if len(s.answers) > maxAnswers {
			s.answers = s.answers[1:]
		}
	}
	return err
}
