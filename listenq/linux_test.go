package listenq

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The recordings in testdata/linux come from a live kernel; their format is
// described beside them. Here they are replayed on a bare Listener: everything
// that a recording says about segments before a connection exists must be
// reproduced, with the kernel's counters, at the nominal time.

type oracleScenario struct {
	ID     string
	Server struct {
		IP   netip.Addr
		Port uint16
	}
	Conns map[string]struct {
		IP   netip.Addr
		Port uint16
	}
	Sysctls  map[string]int
	Duration float64
	Steps    []oracleStep
}

type oracleStep struct {
	N           int
	T           float64
	Op          string
	Sock, As    string
	Backlog     int
	Port        uint16
	Dport       uint16
	DeferAccept int `json:"defer_accept"`
	SYNCount    int `json:"syncnt"`
	Key         string
	Value       int
	How         string
	Conn        string
	Flags       string
	Seq         int64
	Ack         int64
	Len         int
	ISN         int
	Win         uint16
	Opts        oracleOptions
	Type, Code  uint8
	Result      map[string]any
	Emitted     []oracleSegment
	After       struct {
		Listen *struct {
			RecvQ int `json:"recv_q"`
			SendQ int `json:"send_q"`
		}
		HalfOpen []string `json:"half_open"`
		Full     map[string]string
	}
	Counters map[string]uint64
}

type oracleOptions struct {
	MSS    uint16
	WS     *uint8
	SACKOK bool
	TS     any
}

type oracleSegment struct {
	Conn   string
	Flags  string
	Seq    *int64
	SeqAbs *int64 `json:"seq_abs"`
	ISN    int
	Ack    *int64
	Len    int
	Opts   *oracleOptions
	When   string
	T      float64 `json:"t_nominal"`
}

const (
	clientISN = 1_000_000
	// foreignBase stands for the listener's number where it has not sent one.
	foreignBase = 77_000_000
)

// oracleCounters are those that a listen queue alone decides.
var oracleCounters = []string{
	"SyncookiesSent", "SyncookiesRecv", "SyncookiesFailed", "EmbryonicRsts", "ListenOverflows", "ListenDrops",
	"TCPReqQFullDoCookies", "TCPReqQFullDrop", "TCPDeferAcceptDrop", "TCPTimeouts", "TCPSynRetrans",
	"TCPACKSkippedSynRecv", "PassiveOpens", "AttemptFails", "RetransSegs", "OutOfWindowIcmps",
}

type oracleReplay struct {
	*testing.T
	sc      oracleScenario
	l       *Listener
	former  *Listener // a closed listener on the same port
	sysctls Sysctls
	closed  bool
	isns    map[string][]uint32 // listener's initial sequence numbers by client
	tsval   map[string]uint32
	full    map[string]string // clients with a connection, and its state
	sent    map[string]int64  // what is behind the last thing sent to a client, relative
	renewed bool              // the step's SYN ends TIME-WAIT
	got     []string
}

func TestLinuxRecordings(t *testing.T) {
	files, err := filepath.Glob("testdata/linux/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			r := &oracleReplay{T: t, isns: map[string][]uint32{}, tsval: map[string]uint32{}, sent: map[string]int64{}}
			require.NoError(t, json.Unmarshal(data, &r.sc))
			r.run()
		})
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s*1e6+0.5) * time.Microsecond
}

func (r *oracleReplay) run() {
	r.sysctls = DefaultSysctls()
	for name, value := range r.sc.Sysctls {
		if slices.Contains(SysctlNames(), name) {
			require.NoError(r, r.sysctls.Set(name, fmt.Sprint(value)))
		}
	}
	for i, step := range r.sc.Steps {
		end := r.sc.Duration
		if i+1 < len(r.sc.Steps) {
			end = r.sc.Steps[i+1].T
		}
		r.step(step, seconds(step.T), seconds(end))
	}
}

func (r *oracleReplay) step(step oracleStep, start, end time.Duration) {
	var before Counters
	if r.l != nil {
		before = r.l.Counters()
	}
	r.got = nil
	state := r.full[step.Conn]
	r.full = step.After.Full
	// A SYN that replaces a connection in TIME-WAIT comes to the queue; what else
	// arrives for a connection does not.
	r.renewed = state == "TIME-WAIT" && r.full[step.Conn] == "" && strings.HasPrefix(step.Flags, "S")
	established := state != "" && !r.renewed
	defer func() {
		for _, e := range step.Emitted {
			if e.Seq != nil && strings.Contains(e.Flags, "A") {
				r.sent[e.Conn] = *e.Seq + int64(e.Len+strings.Count(e.Flags, "S")+strings.Count(e.Flags, "F"))
			}
		}
	}()
	switch step.Op {
	case "listen":
		if r.l == nil || r.closed {
			r.former, r.l = r.l, MustNew(Config{
				Backlog:     step.Backlog,
				Window:      64240,
				Sysctls:     &r.sysctls,
				DeferAccept: time.Duration(step.DeferAccept) * time.Second,
				SYNCount:    step.SYNCount,
			})
			r.closed = false
		}
	case "relisten":
		if step.Result["ok"] == true {
			require.NoError(r, r.l.Listen(step.Backlog))
			r.closed = false
		}
	case "accept":
		c, ok := r.l.Accept()
		require.Equal(r, step.Result["conn"] != nil, ok, "step %d: accept", step.N)
		if ok {
			require.Equal(r, step.Result["conn"], r.client(c.Flow), "step %d: accept order", step.N)
		}
	case "sysctl":
		if slices.Contains(SysctlNames(), step.Key) {
			require.NoError(r, r.sysctls.Set(step.Key, fmt.Sprint(step.Value)))
			r.l.SetSysctls(r.sysctls)
		}
	case "close", "shutdown":
		if step.Sock == "L" && step.How != "WR" {
			closeQuietly(r.T, r.l, start)
			r.closed = true
		}
	case "inject":
		if r.l != nil && !established && step.Dport == 0 {
			r.inject(step, start)
		}
	case "icmp":
		if r.l != nil && !established {
			r.icmp(step, start)
		}
	}
	if r.l == nil {
		return // a port that nobody listens on
	}
	for {
		at, ok := r.l.NextTimeout()
		if !ok || at >= end {
			break
		}
		r.l.Advance(at, func(o Outcome) { r.outcome(o, at, "timer") })
	}
	if established || step.Dport != 0 {
		return
	}

	want := []string{}
	for _, e := range step.Emitted {
		if e.Flags != "SA" && step.After.Full[e.Conn] != "" || e.When == "reply" && (step.Op == "close" || step.Op == "shutdown" || step.Op == "send") {
			continue // what an established connection sends
		}
		want = append(want, e.String())
	}
	sort.Strings(want)
	sort.Strings(r.got)
	require.Equal(r, want, append([]string{}, r.got...), "step %d: emitted", step.N)

	if step.After.Listen != nil {
		require.Equal(r, step.After.Listen.RecvQ, r.l.AcceptQueueLen(), "step %d: Recv-Q", step.N)
		require.Equal(r, step.After.Listen.SendQ, r.l.Limit(), "step %d: Send-Q", step.N)
	}
	var halfOpen []string
	for _, l := range []*Listener{r.l, r.former} {
		if l == nil {
			continue
		}
		l.Advance(end-1, func(Outcome) {})
		for f := range l.Requests() {
			halfOpen = append(halfOpen, r.client(f))
		}
	}
	sort.Strings(halfOpen)
	require.ElementsMatch(r, step.After.HalfOpen, halfOpen, "step %d: half-open", step.N)

	delta := map[string]uint64{}
	after := r.l.Counters()
	was := map[string]uint64{}
	before.Each(func(name string, v uint64) { was[name] = v })
	after.Each(func(name string, v uint64) { delta[name] = v - was[name] })
	for _, name := range oracleCounters {
		require.Equal(r, step.Counters[name], delta[name], "step %d: %s", step.N, name)
	}
}

func (r *oracleReplay) client(f Flow) string {
	for name, c := range r.sc.Conns {
		if netip.AddrPortFrom(c.IP, c.Port) == f.Remote() {
			return name
		}
	}
	r.Fatalf("no client for %v", f)
	return ""
}

func (r *oracleReplay) flow(client string) Flow {
	c := r.sc.Conns[client]
	return NewFlow(netip.AddrPortFrom(r.sc.Server.IP, r.sc.Server.Port), netip.AddrPortFrom(c.IP, c.Port))
}

func (r *oracleReplay) icmp(step oracleStep, now time.Duration) {
	e := ICMPError{Flow: r.flow(step.Conn), Seq: r.base(step.Conn, step.ISN) + uint32(step.Seq), Type: step.Type, Code: step.Code}
	l := r.l
	if r.former != nil && r.former.Holds(e.Flow) {
		l = r.former
	}
	r.outcome(l.ICMP(&e), now, "reply")
}

func (r *oracleReplay) inject(step oracleStep, now time.Duration) {
	seg := Segment{
		Flow:   r.flow(step.Conn),
		Seq:    clientISN + uint32(step.Seq),
		Window: step.Win,
		Len:    step.Len,
	}
	for _, letter := range step.Flags {
		seg.Flags |= map[rune]Flags{'S': SYN, 'F': FIN, 'R': RST, 'P': PSH, 'A': ACK, 'U': URG}[letter]
	}
	if seg.Flags.Has(ACK) {
		seg.Ack = r.base(step.Conn, step.ISN) + uint32(step.Ack)
	}
	seg.Options.MSS = step.Opts.MSS
	seg.Options.SACKPermitted = step.Opts.SACKOK
	if step.Opts.WS != nil {
		seg.Options.WindowScaling, seg.Options.WindowScale = true, *step.Opts.WS
	}
	if ts, ok := step.Opts.TS.([]any); ok {
		seg.Options.Timestamps = true
		seg.Options.TSVal = uint32(ts[0].(float64))
		if ts[1] == "echo" {
			seg.Options.TSEcr = r.tsval[step.Conn]
		} else {
			seg.Options.TSEcr = uint32(ts[1].(float64))
		}
	}
	// An address with a known round trip time lies outside the queue.
	if r.renewed {
		const beyond = 65537 // tcp_timewait_state_process
		seg.TimeWait, seg.ISS = true, r.base(step.Conn, 0)+uint32(r.sent[step.Conn])+beyond
	}
	seg.Proven = step.Conn == "old2"
	if r.former != nil {
		r.former.Segment(now, &seg) // the kernel looks its request up first, drops it, and goes on
	}
	r.outcome(r.l.Segment(now, &seg), now, "reply")
}

func (r *oracleReplay) base(client string, nth int) uint32 {
	isns := r.isns[client]
	switch {
	case len(isns) == 0:
		return foreignBase
	case nth == 0:
		return isns[len(isns)-1]
	}
	return isns[nth-1]
}

func (r *oracleReplay) outcome(o Outcome, at time.Duration, when string) {
	client := r.client(o.Flow)
	e := oracleSegment{Conn: client, When: when, T: at.Seconds()}
	relAck := int64(int32(o.Ack - clientISN))
	switch o.Verdict {
	case SendSYNACK, SendCookie:
		if !slices.Contains(r.isns[client], o.Seq) {
			r.isns[client] = append(r.isns[client], o.Seq)
		}
		r.tsval[client] = o.Handshake.TSVal
		e.Flags, e.Ack = "SA", &relAck
		peer := o.Handshake.Peer
		e.Opts = &oracleOptions{MSS: 1460, SACKOK: peer.SACKPermitted}
		if !o.Flow.Is4() {
			e.Opts.MSS = 1440
		}
		if peer.WindowScaling {
			e.Opts.WS = new(uint8)
		}
		if peer.Timestamps {
			e.Opts.TS = true
		}
	case SendACK:
		e.Flags, e.Ack = "A", &relAck
	case SendRST:
		e.Flags = "R"
		if o.RSTACK {
			e.Flags, e.Ack = "RA", &relAck
		}
	default:
		return
	}
	seq := int64(int32(o.Seq - r.base(client, 0)))
	if o.RSTACK || len(r.isns[client]) == 0 {
		seq = int64(o.Seq)
		if len(r.isns[client]) == 0 && !o.RSTACK {
			seq -= foreignBase
		}
	}
	e.Seq = &seq
	if n := len(r.isns[client]); n > 1 {
		e.ISN = n
	}
	r.got = append(r.got, e.String())
}

func (e oracleSegment) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %.3fs %s %s", e.When, e.T, e.Conn, e.Flags)
	switch {
	case e.Seq != nil:
		fmt.Fprintf(&b, " seq=%d", *e.Seq)
	case e.SeqAbs != nil:
		fmt.Fprintf(&b, " seq=%d", *e.SeqAbs)
	}
	if e.Ack != nil {
		fmt.Fprintf(&b, " ack=%d", *e.Ack)
	}
	if e.ISN > 1 {
		fmt.Fprintf(&b, " isn=%d", e.ISN)
	}
	if e.Len > 0 {
		fmt.Fprintf(&b, " len=%d", e.Len)
	}
	if o := e.Opts; o != nil {
		fmt.Fprintf(&b, " mss=%d ws=%t sack=%t ts=%t", o.MSS, o.WS != nil, o.SACKOK, o.TS != nil)
	}
	return b.String()
}
