package listenq

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
)

var updatePlatforms = flag.Bool("update-platforms", false, "write testdata/platforms anew")

// What each platform does in each situation of the matrix is written down in
// testdata/platforms, one file for each profile; run with -update-platforms after
// a change and read the difference.
func TestPlatformTraces(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			s := &scene{t: t, profile: p}
			fmt.Fprintf(&s.text, "# %s\n", p.Title)
			for _, c := range platformScenes {
				fmt.Fprintf(&s.text, "\n== %s\n", c.title)
				s.now, s.lines = 0, nil
				c.play(s)
				s.flush()
			}
			file := filepath.Join("testdata/platforms", p.Name+".txt")
			if *updatePlatforms {
				require.NoError(t, os.WriteFile(file, []byte(s.text.String()), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), s.text.String(), "if this is right, run go test ./listenq -run TestPlatformTraces -update-platforms")
		})
	}
	files, err := filepath.Glob("testdata/platforms/*.txt")
	require.NoError(t, err)
	require.Len(t, files, len(Profiles()))
}

// A scene is a listener of one platform and its clients, c1, c2 ..., whose
// segments and fates it writes down.
type scene struct {
	t       *testing.T
	profile *Profile
	l       *Listener
	now     time.Duration
	text    strings.Builder
	lines   []sceneLine
}

// A sceneLine is one decision; equal ones that follow each other are written as
// one.
type sceneLine struct {
	at         time.Duration
	client     int
	what, fate string
	syn, acc   int
}

type sceneClient struct {
	n    int
	flow Flow
	irs  uint32
	iss  uint32
}

func (s *scene) client(n int) *sceneClient {
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 40000)
	return &sceneClient{n: n, flow: NewFlow(netip.MustParseAddrPort("192.0.2.1:80"), remote), irs: uint32(n) * 1_000_000}
}

// listen begins anew.
func (s *scene) listen(backlog int) {
	l, err := New(Config{Profile: s.profile, Backlog: backlog, Window: 64240})
	require.NoError(s.t, err)
	s.l = l
	s.say("listen(%d): limit %d", backlog, l.Limit())
}

func (s *scene) say(format string, args ...any) {
	s.flush()
	fmt.Fprintf(&s.text, format+"\n", args...)
}

func (s *scene) flush() {
	for i := 0; i < len(s.lines); {
		first, j := s.lines[i], i+1
		for j < len(s.lines) && s.lines[j].what == first.what && s.lines[j].fate == first.fate && s.lines[j].at == first.at {
			j++
		}
		last := s.lines[j-1]
		who := fmt.Sprintf("c%d", first.client)
		if last.client != first.client {
			who += fmt.Sprintf("..c%d", last.client)
		}
		fmt.Fprintf(&s.text, "%6.1fs  %-12s %-16s synq=%d acceptq=%d  %s\n",
			first.at.Seconds(), who, first.what, last.syn, last.acc, first.fate)
		i = j
	}
	s.lines = nil
}

func (s *scene) note(what string, o Outcome) {
	fate := o.Verdict.String() + ": " + o.Reason.String()
	if o.RSTACK {
		fate = "RST-ACK: " + o.Reason.String()
	}
	if o.Removed && o.Verdict != Expire {
		fate += ", request removed"
	}
	if o.Evicted != (Flow{}) {
		fate += ", another evicted"
	}
	s.lines = append(s.lines, sceneLine{s.now, clientOf(o.Flow), what, fate, o.SYNQueue, o.AcceptQueue})
}

func clientOf(f Flow) int {
	a := f.Remote().Addr().As4()
	return int(a[2])<<8 | int(a[3])
}

func (s *scene) send(c *sceneClient, what string, seg Segment) Outcome {
	seg.Flow = c.flow
	out := s.l.Segment(s.now, &seg)
	if out.Verdict == SendSYNACK || out.Verdict == SendCookie {
		c.iss = out.Seq
	}
	s.note(what, out)
	return out
}

func (s *scene) syn(c *sceneClient) Outcome {
	return s.send(c, "SYN", Segment{Flags: SYN, Seq: c.irs})
}

// icmp is an ICMP error; its sequence number is relative to the SYN-ACK's.
func (s *scene) icmp(c *sceneClient, e ICMPError) Outcome {
	what := fmt.Sprintf("ICMP %d/%d", e.Type, e.Code)
	if e.Seq != 0 {
		what += fmt.Sprintf(" at %d", e.Seq)
	}
	e.Flow, e.Seq = c.flow, c.iss+e.Seq
	out := s.l.ICMP(&e)
	s.note(what, out)
	return out
}

func (s *scene) ack(c *sceneClient) Outcome {
	return s.send(c, "ACK", Segment{Flags: ACK, Seq: c.irs + 1, Ack: c.iss + 1})
}

func (s *scene) data(c *sceneClient) Outcome {
	return s.send(c, "ACK, 10 bytes", Segment{Flags: ACK, Seq: c.irs + 1, Ack: c.iss + 1, Len: 10})
}

// connect is a whole handshake; it reports whether it succeeded. If it does, one
// line says so.
func (s *scene) connect(c *sceneClient) bool {
	before := len(s.lines)
	out := s.syn(c)
	if out.Verdict != SendSYNACK && out.Verdict != SendCookie || s.ack(c).Verdict != Promote {
		return false
	}
	line := s.lines[len(s.lines)-1]
	line.what, line.fate = "SYN, ACK", "SYN-ACK, promote"
	s.lines = append(s.lines[:before], line)
	return true
}

// fill completes handshakes, one after the other, until one fails; it returns
// their number.
func (s *scene) fill(from int) int {
	n := 0
	for s.connect(s.client(from + n)) {
		n++
	}
	return n
}

// advance lets timers fire.
func (s *scene) advance(to time.Duration) {
	for at, ok := s.l.NextTimeout(); ok && at <= to; at, ok = s.l.NextTimeout() {
		s.now = at
		s.l.Advance(at, func(o Outcome) { s.note("timer", o) })
	}
	s.now = to
}

func (s *scene) accept() {
	c, ok := s.l.Accept()
	switch {
	case !ok:
		s.say("accept: nothing there")
	case c.Aborted:
		s.say("accept: ECONNABORTED")
	default:
		s.say("accept: c%d", clientOf(c.Flow))
	}
}

// halfOpen is a listener with room and one request.
func (s *scene) halfOpen(n int) *sceneClient {
	s.listen(5)
	c := s.client(n)
	s.syn(c)
	return c
}

// mostSYNs bounds what a scene sends to fill the largest SYN queue.
const mostSYNs = 20_000

var platformScenes = []struct {
	title string
	play  func(*scene)
}{
	{"The backlog", func(s *scene) {
		for _, backlog := range []int{-1, 0, 1, 2, 5, 100_000, 1<<31 - 1} {
			l, err := New(Config{Profile: s.profile, Backlog: backlog})
			if err != nil {
				require.ErrorIs(s.t, err, ErrBacklog)
				s.say("listen(%d): EINVAL", backlog)
				continue
			}
			s.say("listen(%d): limit %d, accept queue %s, SYN queue %s", backlog, l.Limit(), orUnlimited(l.AcceptCapacity()), orUnlimited(l.SYNCapacity()))
		}
	}},
	{"Connections one after the other, until one fails", func(s *scene) {
		s.listen(2)
		s.fill(1)
	}},
	{"All SYNs first, then all final ACKs, then data from those that were left out", func(s *scene) {
		s.listen(2)
		n := s.l.AcceptCapacity() + 2
		var cs []*sceneClient
		for i := range n {
			c := s.client(i + 1)
			cs = append(cs, c)
			s.syn(c)
		}
		var left []*sceneClient
		for _, c := range cs {
			if c.iss != 0 && s.ack(c).Verdict != Promote {
				left = append(left, c)
			}
		}
		for _, c := range left {
			s.data(c)
		}
		s.accept()
		for _, c := range left {
			s.data(c)
		}
	}},
	{"SYNs without an ACK, until no more fit, and three more; the first that was evicted acknowledges; another SYN when all have timed out once", func(s *scene) {
		s.listen(2)
		cs := map[Flow]*sceneClient{}
		var evicted []Flow
		n := 0
		for more := 3; n < mostSYNs && more > 0; {
			n++
			c := s.client(n)
			cs[c.flow] = c
			out := s.syn(c)
			if out.Evicted != (Flow{}) {
				evicted = append(evicted, out.Evicted)
			}
			if out.Verdict != SendSYNACK || out.Evicted != (Flow{}) {
				more--
			}
		}
		if len(evicted) > 0 {
			s.ack(cs[evicted[0]])
		}
		s.advance(s.profile.SYNACK.Waits[0])
		s.connect(s.client(n + 1))
	}},
	{"SYN-ACKs for a silent client", func(s *scene) {
		c := s.halfOpen(1)
		s.advance(10 * time.Minute)
		s.ack(c)
	}},
	{"The same SYN again", func(s *scene) {
		c := s.halfOpen(1)
		for _, at := range []time.Duration{100, 600, 700, 4500} {
			s.advance(at * time.Millisecond)
			s.syn(c)
		}
		s.advance(10 * time.Minute)
	}},
	{"A SYN with another number", func(s *scene) {
		for i, seq := range []uint32{^uint32(0) - 4999, 500, 1 << 20} {
			c := s.halfOpen(i + 1)
			s.send(c, [...]string{"SYN below", "SYN inside", "SYN beyond"}[i], Segment{Flags: SYN, Seq: c.irs + seq})
			s.ack(c)
		}
	}},
	{"RST for a half-open connection", func(s *scene) {
		for i, rst := range []struct {
			what string
			at   uint32
		}{{"RST at next", 1}, {"RST at SYN", 0}, {"RST inside", 500}, {"RST beyond", 1 << 20}} {
			c := s.halfOpen(i + 1)
			s.send(c, rst.what, Segment{Flags: RST, Seq: c.irs + rst.at})
		}
	}},
	{"Host unreachable, port unreachable and time exceeded, after each SYN-ACK", func(s *scene) {
		for i, e := range []ICMPError{{Type: 3, Code: 1}, {Type: 3, Code: 3}, {Type: 11}} {
			s.now = 0
			c := s.halfOpen(i + 1)
			s.icmp(c, ICMPError{Type: e.Type, Code: e.Code, Seq: 1})
			for s.l.Holds(c.flow) && s.now < time.Minute {
				s.icmp(c, e)
				s.nextTimer()
			}
		}
	}},
	{"Acknowledgments that do not fit", func(s *scene) {
		c := s.halfOpen(1)
		s.send(c, "ACK of nothing", Segment{Flags: ACK, Seq: c.irs + 1, Ack: c.iss + 77})
		s.ack(c)
		c = s.halfOpen(2)
		s.send(c, "ACK out of place", Segment{Flags: ACK, Seq: c.irs + 1<<20, Ack: c.iss + 1})
		s.ack(c)
		c = s.halfOpen(3)
		s.send(c, "no flags", Segment{Seq: c.irs + 1})
		s.ack(c)
	}},
	{"Queued, then reset by the peer, then accept", func(s *scene) {
		s.listen(1)
		n := s.fill(1)
		out, _ := s.l.Front()
		s.l.Aborted(out.ID)
		s.say("c1 resets its connection")
		s.connect(s.client(n + 10))
		for range n + 2 {
			s.accept()
		}
	}},
	{"listen again", func(s *scene) {
		s.listen(5)
		for i := range 3 {
			s.connect(s.client(i + 1))
		}
		for _, backlog := range []int{1, 7, -1} {
			if err := s.l.Listen(backlog); err != nil {
				require.ErrorIs(s.t, err, ErrBacklog)
				s.say("listen(%d) again: EINVAL, limit %d", backlog, s.l.Limit())
			} else {
				s.say("listen(%d) again: limit %d", backlog, s.l.Limit())
			}
			s.connect(s.client(10 + backlog))
		}
	}},
	{"close with one connection queued and two half-open", func(s *scene) {
		s.listen(5)
		s.connect(s.client(1))
		a, b := s.client(2), s.client(3)
		s.syn(a)
		s.syn(b)
		s.say("close")
		for _, c := range s.l.Close(s.now, func(o Outcome) { s.note("close", o) }) {
			s.say("c%d was queued: to be reset", clientOf(c.Flow))
		}
		s.ack(a)
		s.advance(10 * time.Minute)
		s.ack(b)
		s.syn(s.client(4))
	}},
	{"Segments that belong to nothing", func(s *scene) {
		s.listen(5)
		for i, what := range []Flags{ACK, SYN | ACK, FIN | ACK, RST, FIN, SYN | FIN} {
			s.send(s.client(i+1), what.String(), Segment{Flags: what, Seq: 5, Ack: 7})
		}
	}},
}

func orUnlimited(n int) string {
	if n < 0 {
		return "unlimited"
	}
	return fmt.Sprint(n)
}

// The matrix of platforms, as numbers. They come from the platforms' sources and
// documents and from measurements, by hand, not from the profiles.
func TestPlatformMatrix(t *testing.T) {
	type row struct {
		inTurn      [3]int // connections that complete one after the other, for backlogs of 1, 2 and 5
		burst       [3]int // that complete if all SYNs come first
		maximum     int    // largest limit
		fullSYN     string // what a SYN gets that finds the accept queue full
		fullACK     string // and a final ACK
		synacks     []float64
		end         float64
		endVerdict  string
		accept      string // of a connection that its peer has reset
		requests    int    // half-open connections for a backlog of 2; 0: they take places of the accept queue
		closed      string // what half-open clients hear from close
		duplicate   string
		resets      string // the answers to RST at next, at the SYN, inside, beyond: x removes
		wrongACK    string
		otherNumber string // the answers to a SYN below, inside, beyond
		icmp        string // see icmpEnds
	}
	long := []float64{1, 3, 7, 15, 31, 63}
	bsd := row{
		inTurn: [3]int{2, 3, 6}, burst: [3]int{2, 4, 8}, maximum: 128, fullSYN: "drop", fullACK: "RST x",
		synacks: []float64{3, 9, 21, 45}, end: 93, endVerdict: "expire", accept: "ECONNABORTED", requests: 10255, closed: "expire",
		duplicate: "SYN-ACK", resets: "x x - -", wrongACK: "SYN-ACK", otherNumber: "SYN-ACK SYN-ACK SYN-ACK",
		icmp: "4 - -, late 2, exact",
	}
	openBSD := bsd
	openBSD.inTurn, openBSD.burst = [3]int{81, 81, 81}, [3]int{241, 241, 241}
	gvisor := row{
		inTurn: [3]int{2, 3, 6}, burst: [3]int{2, 3, 6}, maximum: 1025, fullSYN: "drop", fullACK: "ignored",
		synacks: long, end: 127, endVerdict: "expire", accept: "returned", requests: 2, closed: "expire",
		duplicate: "ACK", resets: "x - x -", wrongACK: "RST", otherNumber: "ACK RST x ACK",
		icmp: "1 1 -, late 1, any",
	}
	netstack := gvisor
	netstack.inTurn, netstack.burst, netstack.maximum, netstack.requests = [3]int{1, 2, 5}, [3]int{1, 2, 5}, 1<<31-1, 1
	windows := row{
		inTurn: [3]int{1, 2, 5}, burst: [3]int{1, 2, 5}, maximum: 200, fullSYN: "RST", fullACK: "-",
		synacks: []float64{3, 9}, end: 21, endVerdict: "expire", accept: "returned", closed: "RST",
		duplicate: "SYN-ACK", resets: "x - ACK -", wrongACK: "RST", otherNumber: "ACK ACK ACK",
		icmp: "never",
	}
	workstation := windows
	workstation.maximum = 5
	matrix := map[string]row{
		"linux-6": {
			inTurn: [3]int{2, 3, 6}, burst: [3]int{2, 3, 6}, maximum: 4096, fullSYN: "drop", fullACK: "ignored",
			synacks: []float64{1, 3, 7, 15, 31}, end: 63, endVerdict: "expire", accept: "returned", requests: 3, closed: "",
			duplicate: "SYN-ACK", resets: "x - ACK -", wrongACK: "RST", otherNumber: "ACK RST x ACK",
			icmp: "1 - 1, late 1, exact",
		},
		"linux-2.6": {
			inTurn: [3]int{2, 3, 6}, burst: [3]int{2, 3, 6}, maximum: 128, fullSYN: "SYN-ACK", fullACK: "ignored",
			synacks: []float64{3, 9, 21, 45, 93}, end: 189, endVerdict: "expire", accept: "returned", requests: 16, closed: "expire",
			duplicate: "SYN-ACK", resets: "x - x -", wrongACK: "RST", otherNumber: "ACK RST x ACK",
			icmp: "1 1 1, late 1, exact",
		},
		"windows":                 windows,
		"windows-nt4-workstation": workstation,
		"freebsd": {
			inTurn: [3]int{2, 4, 8}, burst: [3]int{2, 4, 8}, maximum: 128, fullSYN: "SYN-ACK", fullACK: "RST x",
			synacks: []float64{1, 3, 7}, end: 15, endVerdict: "expire", accept: "ECONNABORTED", requests: 15360, closed: "",
			duplicate: "SYN-ACK", resets: "x - ACK -", wrongACK: "RST x", otherNumber: "SYN-ACK SYN-ACK SYN-ACK",
			icmp: "4 4 4, late 2, exact",
		},
		"macos": {
			inTurn: [3]int{1, 2, 5}, burst: [3]int{1, 2, 5}, maximum: 128, fullSYN: "drop", fullACK: "-",
			synacks: long, end: 75, endVerdict: "RST", accept: "returned", closed: "RST",
			duplicate: "ACK", resets: "x x ACK -", wrongACK: "RST", otherNumber: "RST ACK ACK",
			icmp: "5 RST - -, late 2, exact",
		},
		"openbsd": openBSD,
		"netbsd":  bsd,
		"illumos": {
			inTurn: [3]int{1, 2, 5}, burst: [3]int{1025, 1026, 1029}, maximum: 128, fullSYN: "drop", fullACK: "-",
			synacks: append(long[:6:6], 123), end: 183, endVerdict: "RST", accept: "ECONNABORTED", requests: 1026, closed: "RST",
			duplicate: "SYN-ACK", resets: "x - ACK -", wrongACK: "RST", otherNumber: "ACK ACK ACK",
			icmp: "- 1 -, late 1, exact",
		},
		"lwip": {
			inTurn: [3]int{1, 2, 5}, burst: [3]int{1, 2, 5}, maximum: 255, fullSYN: "drop", fullACK: "-",
			synacks: []float64{3, 9}, end: 20.5, endVerdict: "expire", accept: "returned, place free", closed: "",
			duplicate: "SYN-ACK", resets: "x - ACK -", wrongACK: "RST", otherNumber: "- - -",
			icmp: "never",
		},
		"gvisor":   gvisor,
		"netstack": netstack,
	}
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			want, ok := matrix[p.Name]
			require.True(t, ok)
			s := &scene{t: t, profile: p}
			var got row
			for i, backlog := range []int{1, 2, 5} {
				s.listen(backlog)
				got.inTurn[i] = s.fill(1)
				got.burst[i], got.fullACK = s.burst(backlog)
			}
			got.maximum = s.maximum()

			s.listen(2)
			n := s.fill(1)
			got.fullSYN = s.syn(s.client(n + 2)).Verdict.String()

			s.halfOpen(1)
			got.synacks, got.end, got.endVerdict = s.schedule()
			got.accept = s.acceptReset()
			s.listen(2)
			got.requests = max(s.l.SYNCapacity(), 0)

			s.halfOpen(1)
			s.l.Close(0, func(o Outcome) { got.closed = o.Verdict.String() })
			c := s.halfOpen(1)
			got.duplicate = s.syn(c).Verdict.String()
			got.wrongACK = verdictOf(s.send(c, "", Segment{Flags: ACK, Seq: c.irs + 1, Ack: c.iss + 99}))
			var resets, others []string
			for _, at := range []uint32{1, 0, 500, 1 << 20} {
				c = s.halfOpen(1)
				resets = append(resets, strings.TrimPrefix(verdictOf(s.send(c, "", Segment{Flags: RST, Seq: c.irs + at})), "- "))
			}
			for _, at := range []uint32{^uint32(4999), 500, 1 << 20} {
				c = s.halfOpen(1)
				others = append(others, verdictOf(s.send(c, "", Segment{Flags: SYN, Seq: c.irs + at})))
			}
			got.icmp = s.icmpEnds()
			got.resets, got.otherNumber = strings.Join(resets, " "), strings.Join(others, " ")
			require.Equal(t, want, got)
		})
	}
	require.Len(t, matrix, len(Profiles()))
}

// icmpEnds says after which SYN-ACK a request ends if host unreachable, port
// unreachable or time exceeded follows each of them, how many it takes if they
// come late only, and whether a number that is too great by 1 does it.
func (s *scene) icmpEnds() string {
	var all []string
	for _, e := range []ICMPError{{Type: 3, Code: 1}, {Type: 3, Code: 3}, {Type: 11}} {
		c := s.halfOpen(1)
		ends := "-"
		for n := 1; s.l.Holds(c.flow); n++ {
			if out := s.icmp(c, e); out.Removed {
				ends = strings.TrimPrefix(verdictOf(out), "- ")
				ends = fmt.Sprintf("%d %s", n, strings.TrimSpace(strings.TrimSuffix(ends, "x")))
				break
			}
			s.nextTimer()
		}
		all = append(all, strings.TrimSpace(ends))
	}
	var kind *ICMPError
	for i, e := range []ICMPError{{Type: 3, Code: 1}, {Type: 3, Code: 3}} {
		if all[i] != "-" && kind == nil {
			kind = &e
		}
	}
	if kind == nil {
		return "never"
	}
	c := s.halfOpen(1)
	for range s.profile.SYNACK.Retries {
		s.nextTimer()
	}
	late := 1
	for !s.icmp(c, *kind).Removed {
		late++
	}
	c = s.halfOpen(1)
	for range s.profile.SYNACK.Retries {
		s.nextTimer()
	}
	kind.Seq = 1
	number := "exact"
	if s.icmp(c, *kind); s.icmp(c, *kind).Removed || !s.l.Holds(c.flow) {
		number = "any"
	}
	return fmt.Sprintf("%s, late %d, %s", strings.Join(all, " "), late, number)
}

// nextTimer lets the next timer fire.
func (s *scene) nextTimer() {
	if at, ok := s.l.NextTimeout(); ok {
		s.advance(at)
	}
}

// verdictOf is a verdict in short; x says that the request is gone.
func verdictOf(o Outcome) string {
	v := o.Verdict.String()
	if o.Verdict == Drop {
		v = "-"
	}
	if o.Removed {
		v += " x"
	}
	return v
}

// burst returns how many connections complete if all SYNs come first, and what
// the first final ACK gets that completes none; "-" if all do.
func (s *scene) burst(backlog int) (n int, refused string) {
	s.listen(backlog)
	var cs []*sceneClient
	evicted := map[Flow]bool{}
	for i := range 2000 {
		c := s.client(i + 1)
		out := s.syn(c)
		evicted[out.Evicted] = true
		if c.iss != 0 {
			cs = append(cs, c)
		}
	}
	refused = "-"
	for _, c := range cs {
		if evicted[c.flow] {
			continue
		}
		if out := s.ack(c); out.Verdict == Promote {
			n++
		} else if refused == "-" {
			if refused = verdictOf(out); out.Verdict == Drop {
				refused = "ignored"
			}
		}
	}
	return n, refused
}

func (s *scene) maximum() int {
	most := 0
	for _, backlog := range []int{200, 1 << 20, 1<<31 - 1} {
		limit, err := s.profile.Limit(backlog, -1)
		require.NoError(s.t, err)
		most = max(most, limit)
	}
	return most
}

// schedule returns when the SYN-ACK of the only request is repeated, when that
// ends, and how.
func (s *scene) schedule() (again []float64, end float64, verdict string) {
	for at, ok := s.l.NextTimeout(); ok; at, ok = s.l.NextTimeout() {
		s.l.Advance(at, func(o Outcome) {
			if o.Removed {
				end, verdict = at.Seconds(), o.Verdict.String()
			} else {
				again = append(again, at.Seconds())
			}
		})
	}
	return again, end, verdict
}

// acceptReset returns what accept makes of a connection that was reset.
func (s *scene) acceptReset() string {
	s.listen(1)
	n := s.fill(1)
	front, ok := s.l.Front()
	require.True(s.t, ok)
	s.l.Aborted(front.ID)
	place := s.connect(s.client(n + 5))
	c, ok := s.l.Accept()
	require.True(s.t, ok)
	switch {
	case c.Aborted:
		require.False(s.t, place)
		return "ECONNABORTED"
	case place:
		return "returned, place free"
	}
	return "returned"
}
