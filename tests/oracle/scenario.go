package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Format is the value of a scenario's format field.
const Format = "listen-queue-oracle/1"

// CounterNames are the counters that scenarios track, in the order in which
// recordings list them: TcpExt of /proc/net/netstat, then Tcp of /proc/net/snmp.
var CounterNames = []string{
	"SyncookiesSent", "SyncookiesRecv", "SyncookiesFailed", "EmbryonicRsts", "ListenOverflows", "ListenDrops",
	"TCPReqQFullDoCookies", "TCPReqQFullDrop", "TCPDeferAcceptDrop", "TCPTimeouts", "TCPSynRetrans",
	"TCPACKSkippedSynRecv", "TCPAbortOnData", "TCPAbortOnClose", "TCPChallengeACK", "TCPSYNChallenge",
	"TW", "TWRecycled", "TWKilled", "TCPTimeWaitOverflow", "PAWSTimewait", "TCPACKSkippedFinWait2", "TCPACKSkippedTimeWait",
	"TCPMigrateReqSuccess", "TCPMigrateReqFailure", "OutOfWindowIcmps",
	"PassiveOpens", "AttemptFails", "EstabResets", "RetransSegs", "OutRsts",
}

// A Scenario is one recording.
type Scenario struct {
	Format      string           `json:"format"`
	ID          string           `json:"id"`
	Title       string           `json:"title"`
	Rules       []string         `json:"rules"`
	Description string           `json:"description"`
	Platform    Platform         `json:"platform"`
	Server      Address          `json:"server"`
	Conns       ordered[Address] `json:"conns"`
	Sysctls     ordered[int64]   `json:"sysctls"`
	Duration    Seconds          `json:"duration"`
	Steps       []Step           `json:"steps"`
	Totals      Totals           `json:"totals"`
}

// Platform says where a scenario was recorded.
type Platform struct {
	OS     string `json:"os"`
	Kernel string `json:"kernel"`
	HZ     int    `json:"hz"`
}

// Address is one end of a connection.
type Address struct {
	IP   netip.Addr `json:"ip"`
	Port uint16     `json:"port"`
}

// AddrPort returns the address in the form of package netip.
func (a Address) AddrPort() netip.AddrPort { return netip.AddrPortFrom(a.IP, a.Port) }

// A Step is one operation and what was observed until the next one.
type Step struct {
	N  int     `json:"n"`
	T  Seconds `json:"t"`
	Op string  `json:"op"`

	Sock        string   `json:"sock,omitempty"`
	As          string   `json:"as,omitempty"`
	Port        uint16   `json:"port,omitempty"`
	Backlog     *int64   `json:"backlog,omitempty"`
	DeferAccept int      `json:"defer_accept,omitempty"`
	SYNCount    int      `json:"syncnt,omitempty"`
	How         string   `json:"how,omitempty"`
	Key         string   `json:"key,omitempty"`
	Value       *int64   `json:"value,omitempty"`
	For         Seconds  `json:"for,omitzero"`
	Conn        string   `json:"conn,omitempty"`
	Flags       *string  `json:"flags,omitempty"`
	Seq         *int64   `json:"seq,omitempty"`
	Ack         *int64   `json:"ack,omitempty"`
	ISN         int      `json:"isn,omitempty"`
	Dport       uint16   `json:"dport,omitempty"`
	Len         *int     `json:"len,omitempty"`
	Win         *int     `json:"win,omitempty"`
	Opts        *Options `json:"opts,omitempty"`
	Type        *uint8   `json:"type,omitempty"`
	Code        *uint8   `json:"code,omitempty"`
	MTU         uint16   `json:"mtu,omitempty"`

	Observed
}

// Observed is what the stack under test did in one step.
type Observed struct {
	Result   *Result          `json:"result,omitempty"`
	Emitted  []Emitted        `json:"emitted"`
	After    State            `json:"after"`
	Counters map[string]int64 `json:"counters"`
}

// Options are those of a segment.
type Options struct {
	MSS    uint16     `json:"mss,omitempty"`
	SACKOK bool       `json:"sackok,omitempty"`
	TS     *Timestamp `json:"ts,omitempty"`
	WS     *uint8     `json:"ws,omitempty"`
}

// Timestamp is the timestamp option. A recording keeps no values of the
// listener's.
type Timestamp struct {
	Value, Echo uint32
	// EchoLast stands for the last value that the listener has sent.
	EchoLast bool
	// Present is all that is known of the option.
	Present bool
}

// Result is the result of a socket call.
type Result struct {
	Error string `json:"error,omitempty"` // name of the errno
	OK    bool   `json:"ok,omitempty"`
	Conn  string `json:"conn,omitempty"`
	Len   *int   `json:"len,omitempty"`
	EOF   bool   `json:"eof,omitempty"`
	// State, Unacked and Sacked are fields of TCP_INFO.
	State   int  `json:"state,omitempty"`
	Unacked *int `json:"unacked,omitempty"`
	Sacked  *int `json:"sacked,omitempty"`
}

// An Emitted is a segment of the stack under test.
type Emitted struct {
	Conn     string     `json:"conn"`
	Flags    string     `json:"flags"`
	Seq      *int64     `json:"seq,omitempty"`
	SeqAbs   *int64     `json:"seq_abs,omitempty"`
	ISN      int        `json:"isn,omitempty"`
	Ack      *int64     `json:"ack,omitempty"`
	Len      int        `json:"len"`
	Win      int        `json:"win"`
	Opts     *Options   `json:"opts,omitempty"`
	When     string     `json:"when"`
	T        Seconds    `json:"t"`
	TNominal Seconds    `json:"t_nominal"`
	TWindow  [2]Seconds `json:"t_window"`
}

// State is what ss would show.
type State struct {
	Listen   *Queue          `json:"listen"`
	HalfOpen []string        `json:"half_open"`
	Full     ordered[string] `json:"full"`
}

// Queue is the accept queue of the listener on the server's port.
type Queue struct {
	RecvQ int `json:"recv_q"`
	SendQ int `json:"send_q"`
}

// Totals sum up a scenario.
type Totals struct {
	Counters map[string]int64 `json:"counters"`
	Final    State            `json:"final"`
}

// Seconds is a time on a scenario's axis, kept to the microsecond.
type Seconds time.Duration

// Duration returns the time as package time has it.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

func (s Seconds) String() string { return s.Duration().String() }

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(s.Duration().Microseconds())/1e6, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("%s is no number of seconds", b)
	}
	const week = 7 * 24 * 3600
	if math.Abs(f) > week {
		return fmt.Errorf("%s is too many seconds", b)
	}
	*s = Seconds(math.Round(f*1e6)) * Seconds(time.Microsecond)
	return nil
}

// MarshalJSON implements json.Marshaler.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	switch {
	case t.Present:
		return []byte("true"), nil
	case t.EchoLast:
		return fmt.Appendf(nil, `[%d, "echo"]`, t.Value), nil
	}
	return fmt.Appendf(nil, "[%d, %d]", t.Value, t.Echo), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	complaint := fmt.Errorf(`ts is %s: use true, or [value, echo] with numbers or "echo"`, b)
	if string(b) == "true" {
		t.Present = true
		return nil
	}
	var pair []json.RawMessage
	if json.Unmarshal(b, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[0], &t.Value) != nil {
		return complaint
	}
	if string(pair[1]) == `"echo"` {
		t.EchoLast = true
		return nil
	}
	if json.Unmarshal(pair[1], &t.Echo) != nil {
		return complaint
	}
	return nil
}

// ordered is a JSON object whose members keep their order.
type ordered[V any] struct {
	Names []string
	Of    map[string]V
}

func (o *ordered[V]) set(name string, v V) {
	if o.Of == nil {
		o.Of = make(map[string]V)
	}
	if _, ok := o.Of[name]; !ok {
		o.Names = append(o.Names, name)
	}
	o.Of[name] = v
}

// MarshalJSON implements json.Marshaler.
func (o ordered[V]) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, name := range o.Names {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := compact(name)
		if err != nil {
			return nil, err
		}
		value, err := compact(o.Of[name])
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *ordered[V]) UnmarshalJSON(b []byte) error {
	*o = ordered[V]{}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("need an object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name := t.(string) // the decoder accepts nothing else
		if _, twice := o.Of[name]; twice {
			return fmt.Errorf("%q stands there twice", name)
		}
		var v V
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		o.set(name, v)
	}
	_, err := d.Token()
	return err
}

// Load reads and checks a scenario file.
func Load(path string) (*Scenario, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(filepath.Base(path), data)
}

// raw is a scenario whose steps are not decoded yet, so that an error in one can
// name it.
type raw struct {
	Scenario
	Steps []json.RawMessage `json:"steps"`
}

// Parse reads and checks a scenario. An error names the file, the step and the
// field that is wrong.
func Parse(file string, data []byte) (*Scenario, error) {
	var r raw
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, explain(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: something follows the scenario", file)
	}
	sc := &r.Scenario
	for i, data := range r.Steps {
		var step Step
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&step); err != nil {
			return nil, fmt.Errorf("%s: step %d: %w", file, i+1, explain(err))
		}
		sc.Steps = append(sc.Steps, step)
	}
	if err := sc.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return sc, nil
}

// explain makes an error of package json name the field.
func explain(err error) error {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		field := strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "Scenario."), "Observed.")
		return fmt.Errorf("%s: a %s does not fit", field, wrong.Value)
	case errors.As(err, &syntax):
		return fmt.Errorf("no JSON at byte %d: %w", syntax.Offset, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("no JSON: it ends too early")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// A fieldError is a complaint about one field.
type fieldError struct {
	field, complaint string
}

func (e fieldError) Error() string { return e.field + ": " + e.complaint }

func wrong(field, format string, args ...any) error {
	return fieldError{field, fmt.Sprintf(format, args...)}
}

func (sc *Scenario) check() error {
	switch {
	case sc.Format != Format:
		return wrong("format", "is %q, and should be %q", sc.Format, Format)
	case sc.ID == "":
		return wrong("id", "is missing")
	case !sc.Server.IP.IsValid() || sc.Server.IP.Is4In6() || sc.Server.Port == 0:
		return wrong("server", "needs an address and a port")
	case len(sc.Steps) == 0:
		return wrong("steps", "there are none")
	}
	taken := make(map[Address]string)
	for _, name := range sc.Conns.Names {
		a := sc.Conns.Of[name]
		if a.IP.BitLen() != sc.Server.IP.BitLen() || a.IP.Is4In6() || a.Port == 0 {
			return wrong("conns", "%s needs an address of the server's IP version and a port", name)
		}
		if other, twice := taken[a]; twice {
			return wrong("conns", "%s and %s have the same address and port", other, name)
		}
		taken[a] = name
	}
	socks := make(map[string]bool)
	for i := range sc.Steps {
		step := &sc.Steps[i]
		end := sc.Duration
		if i+1 < len(sc.Steps) {
			end = sc.Steps[i+1].T
		}
		err := sc.checkStep(step, i+1, end, socks)
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if err := checkCounters("totals.counters", sc.Totals.Counters); err != nil {
		return err
	}
	return sc.checkState("totals.final", &sc.Totals.Final)
}

// inputs lists the fields that each operation needs, and those that it may have.
var inputs = map[string]struct{ needs, may []string }{
	"listen":      {[]string{"sock", "port", "backlog"}, []string{"defer_accept", "syncnt"}},
	"relisten":    {[]string{"sock", "backlog"}, nil},
	"accept":      {[]string{"sock", "as"}, nil},
	"recv":        {[]string{"sock"}, nil},
	"send":        {[]string{"sock", "len"}, nil},
	"close":       {[]string{"sock"}, nil},
	"shutdown":    {[]string{"sock", "how"}, nil},
	"getpeername": {[]string{"sock"}, nil},
	"tcp_info":    {[]string{"sock"}, nil},
	"sysctl":      {[]string{"key", "value"}, nil},
	"inject":      {[]string{"conn", "flags", "seq", "len", "win", "opts"}, []string{"ack", "isn", "dport"}},
	"icmp":        {[]string{"conn", "type", "code", "seq"}, []string{"isn", "dport", "mtu"}},
	"wait":        {[]string{"for"}, nil},
}

// given says which input fields a step has.
func (s *Step) given() map[string]bool {
	return map[string]bool{
		"sock": s.Sock != "", "as": s.As != "", "port": s.Port != 0, "backlog": s.Backlog != nil,
		"defer_accept": s.DeferAccept != 0, "syncnt": s.SYNCount != 0, "how": s.How != "", "key": s.Key != "",
		"value": s.Value != nil, "for": s.For != 0, "conn": s.Conn != "", "flags": s.Flags != nil,
		"seq": s.Seq != nil, "ack": s.Ack != nil, "isn": s.ISN != 0, "dport": s.Dport != 0,
		"len": s.Len != nil, "win": s.Win != nil, "opts": s.Opts != nil,
		"type": s.Type != nil, "code": s.Code != nil, "mtu": s.MTU != 0,
	}
}

func (sc *Scenario) checkStep(s *Step, n int, end Seconds, socks map[string]bool) error {
	op, known := inputs[s.Op]
	switch {
	case s.N != n:
		return wrong("n", "is %d, and should be %d", s.N, n)
	case s.T < 0 || end < s.T:
		return wrong("t", "the step begins at %v and ends at %v", s.T, end)
	case !known:
		return wrong("op", "%q is not an operation", s.Op)
	}
	given := s.given()
	for _, name := range op.needs {
		if !given[name] {
			return wrong(name, "is missing in %s", s.Op)
		}
		delete(given, name)
	}
	for _, name := range op.may {
		delete(given, name)
	}
	for name, there := range given {
		if there {
			return wrong(name, "does not belong to %s", s.Op)
		}
	}
	if err := sc.checkInput(s, socks); err != nil {
		return err
	}
	return sc.checkObserved(s)
}

func (sc *Scenario) checkInput(s *Step, socks map[string]bool) error {
	switch {
	case s.Backlog != nil && int64(int32(*s.Backlog)) != *s.Backlog:
		return wrong("backlog", "%d is no C int", *s.Backlog)
	case s.DeferAccept < 0:
		return wrong("defer_accept", "is negative")
	case s.SYNCount < 0 || s.SYNCount > 127:
		return wrong("syncnt", "%d is not in 1 to 127", s.SYNCount)
	case s.Op == "shutdown" && !slices.Contains([]string{"RD", "WR", "RDWR"}, s.How):
		return wrong("how", "is %q: use RD, WR or RDWR", s.How)
	case s.For < 0:
		return wrong("for", "is negative")
	case s.Len != nil && (*s.Len < 0 || *s.Len > 1<<16):
		return wrong("len", "%d is not in 0 to 65536", *s.Len)
	case s.Sock != "" && s.Op != "listen" && !socks[s.Sock]:
		return wrong("sock", "no earlier step makes %q", s.Sock)
	case s.Conn != "" && sc.Conns.Of[s.Conn] == Address{}:
		return wrong("conn", "%q is not in conns", s.Conn)
	case s.ISN < 0:
		return wrong("isn", "is negative")
	}
	switch s.Op {
	case "listen":
		socks[s.Sock] = true
	case "accept":
		socks[s.As] = true
	case "inject":
		return s.checkSegment()
	}
	return nil
}

func (s *Step) checkSegment() error {
	if !isFlags(*s.Flags, "SFRPAU") {
		return wrong("flags", "%q: use the letters S F R P A U, each once at most", *s.Flags)
	}
	switch {
	case strings.Contains(*s.Flags, "A") != (s.Ack != nil):
		return wrong("ack", "goes with the A flag, and only with it")
	case *s.Win < 0 || *s.Win > 65535:
		return wrong("win", "%d is not in 0 to 65535", *s.Win)
	case *s.Len > 1400:
		return wrong("len", "%d does not fit into one segment", *s.Len)
	case s.Opts.TS != nil && s.Opts.TS.Present:
		return wrong("opts.ts", "needs [value, echo]")
	}
	return nil
}

// isFlags reports whether text has each of the letters at most once and nothing
// else.
func isFlags(text, letters string) bool {
	for i, c := range text {
		if !strings.ContainsRune(letters, c) || strings.ContainsRune(text[:i], c) {
			return false
		}
	}
	return true
}

func (sc *Scenario) checkObserved(s *Step) error {
	noResult := s.Op == "inject" || s.Op == "icmp" || s.Op == "wait"
	switch {
	case noResult && s.Result != nil:
		return wrong("result", "%s has none", s.Op)
	case !noResult && s.Result == nil:
		return wrong("result", "is missing")
	case s.Result != nil && s.Result.Conn != "" && sc.Conns.Of[s.Result.Conn] == Address{}:
		return wrong("result.conn", "%q is not in conns", s.Result.Conn)
	case s.Result != nil && *s.Result == Result{}:
		return wrong("result", "is empty")
	}
	for i := range s.Emitted {
		if err := sc.checkEmitted(&s.Emitted[i]); err != nil {
			return fmt.Errorf("emitted[%d].%w", i, err)
		}
	}
	if err := sc.checkState("after", &s.After); err != nil {
		return err
	}
	return checkCounters("counters", s.Counters)
}

func (sc *Scenario) checkEmitted(e *Emitted) error {
	_, known := sc.Conns.Of[e.Conn]
	switch {
	case !known:
		return wrong("conn", "%q is not in conns", e.Conn)
	case !isFlags(e.Flags, "SFRPAUEC"):
		return wrong("flags", "%q: use the letters S F R P A U E C, each once at most", e.Flags)
	case (e.Seq == nil) == (e.SeqAbs == nil):
		return wrong("seq", "there must be either seq or seq_abs")
	case strings.Contains(e.Flags, "A") != (e.Ack != nil):
		return wrong("ack", "goes with the A flag, and only with it")
	case e.When != "reply" && e.When != "timer":
		return wrong("when", "is %q: use reply or timer", e.When)
	case e.TWindow[0] > e.TWindow[1]:
		return wrong("t_window", "ends before it begins")
	}
	return nil
}

func (sc *Scenario) checkState(field string, st *State) error {
	for _, name := range st.HalfOpen {
		if _, known := sc.Conns.Of[name]; !known {
			return wrong(field+".half_open", "%q is not in conns", name)
		}
	}
	for _, name := range st.Full.Names {
		if _, known := sc.Conns.Of[name]; !known {
			return wrong(field+".full", "%q is not in conns", name)
		}
	}
	return nil
}

func checkCounters(field string, counters map[string]int64) error {
	for name := range counters {
		if !slices.Contains(CounterNames, name) {
			return wrong(field+"."+name, "is no counter that is tracked")
		}
	}
	return nil
}
