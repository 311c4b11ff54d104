package trace_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/trace"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares with testdata/<test name>.txt.
func golden(t *testing.T, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "-")+".txt")
	if *rewrite {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run with -rewrite to make it")
	require.Equal(t, string(want), got)
}

// play drives a listener and keeps its decisions.
type play struct {
	l      *listenq.Listener
	events []trace.Event
	iss    map[byte]uint32
}

func newPlay(cfg listenq.Config) *play {
	cfg.Window = 64240
	return &play{l: listenq.MustNew(cfg), iss: map[byte]uint32{}}
}

func flow(client byte) listenq.Flow {
	return listenq.NewFlow(netip.MustParseAddrPort("192.0.2.2:80"),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 100 + client}), 40000))
}

const irs = 1000

func (p *play) segment(at time.Duration, client byte, flags listenq.Flags, length int) {
	seg := &listenq.Segment{Flow: flow(client), Flags: flags, Seq: irs, Len: length}
	if flags.Has(listenq.ACK) {
		seg.Seq, seg.Ack = irs+1, p.iss[client]+1
	}
	out := p.l.Segment(at, seg)
	if out.Verdict == listenq.SendSYNACK || out.Verdict == listenq.SendCookie {
		p.iss[client] = out.Seq
	}
	p.events = append(p.events, trace.Event{At: at, Segment: seg, Outcome: out})
}

func (p *play) advance(at time.Duration) {
	p.l.Advance(at, func(o listenq.Outcome) {
		p.events = append(p.events, trace.Event{At: at, Outcome: o})
	})
}

// of returns what was decided about one client.
func (p *play) of(client byte) []trace.Event {
	var events []trace.Event
	for _, e := range p.events {
		if e.Outcome.Flow == flow(client) {
			events = append(events, e)
		}
	}
	return events
}

const ms = time.Millisecond

// overflow fills both queues of a listener with backlog 0 and goes on.
func overflow(cfg listenq.Config) *play {
	p := newPlay(cfg)
	p.segment(5000*ms, 1, listenq.SYN, 0)
	p.segment(5001*ms, 2, listenq.SYN, 0) // SYN queue full
	p.segment(5200*ms, 1, listenq.ACK, 0) // accept queue full
	if err := p.l.Listen(1); err != nil {
		panic(err)
	}
	p.segment(6001*ms, 2, listenq.SYN, 0)
	p.segment(6002*ms, 3, listenq.SYN, 0)
	p.segment(6201*ms, 2, listenq.ACK, 0)
	p.segment(6202*ms, 3, listenq.ACK, 0) // overflow of a final ACK
	p.segment(6203*ms, 3, listenq.PSH|listenq.ACK, 6)
	p.segment(6204*ms, 3, listenq.PSH|listenq.ACK, 1)
	p.advance(7002 * ms)
	p.l.Accept()
	p.segment(7500*ms, 3, listenq.PSH|listenq.ACK, 123456)
	return p
}

func noCookies() *listenq.Sysctls {
	s := listenq.DefaultSysctls()
	s.Syncookies = 0
	s.SYNACKRetries = 1
	return &s
}

var printer = trace.Printer{
	Capacity: 2,
	Start:    5000 * ms,
	Name:     func(f listenq.Flow) string { return fmt.Sprintf("c%d", f.Remote().Addr().As4()[3]-100) },
}

func TestLadder(t *testing.T) {
	for name, o := range map[string]listenq.Overflow{
		"drop":  {},
		"reset": {ResetSYN: true},
		"abort": {ResetFinalACK: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := overflow(listenq.Config{Overflow: o, Sysctls: noCookies()})
			golden(t, "several clients\n"+printer.Ladder(p.events)+
				"\none client\n"+printer.Ladder(p.of(3)))
		})
	}
	t.Run("cookie", func(t *testing.T) {
		p := overflow(listenq.Config{})
		golden(t, printer.Ladder(p.events))
	})
	t.Run("timers", func(t *testing.T) {
		p := newPlay(listenq.Config{Backlog: 1, Sysctls: noCookies()})
		p.segment(5000*ms, 1, listenq.SYN, 0)
		p.advance(6000 * ms)
		p.advance(8000 * ms)
		golden(t, printer.Ladder(p.events))
	})
	t.Run("removed", func(t *testing.T) {
		p := newPlay(listenq.Config{Backlog: 1})
		p.segment(5000*ms, 1, listenq.SYN, 0)
		p.segment(5100*ms, 1, listenq.RST|listenq.ACK, 0)
		golden(t, printer.Ladder(p.events))
	})
	t.Run("icmp", func(t *testing.T) {
		p := newPlay(listenq.Config{Backlog: 1})
		p.segment(5000*ms, 1, listenq.SYN, 0)
		for i, icmpType := range []uint8{4, 12} {
			e := listenq.ICMPError{Flow: flow(1), Seq: p.events[0].Outcome.Seq, Type: icmpType}
			p.events = append(p.events, trace.Event{At: time.Duration(5100+i) * ms, ICMP: &e, Outcome: p.l.ICMP(&e)})
		}
		golden(t, printer.Ladder(p.events)+printer.Line(p.events[2])+"\n")
	})
	t.Run("nothing", func(t *testing.T) { golden(t, printer.Ladder(nil)) })
}

func TestLine(t *testing.T) {
	p := overflow(listenq.Config{Sysctls: noCookies()})
	var b strings.Builder
	for _, e := range p.events {
		fmt.Fprintln(&b, printer.Line(e))
	}
	fmt.Fprintln(&b, trace.Printer{Capacity: 2}.Line(p.events[0]))
	golden(t, b.String())
}
