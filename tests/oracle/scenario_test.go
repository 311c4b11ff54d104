package oracle

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// recordings are those of the project.
const recordings = "../../listenq/testdata/linux"

func scenarioFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	var out []string
	for _, f := range files {
		if filepath.Base(f) != "index.json" {
			out = append(out, f)
		}
	}
	return out
}

func TestFilesAreWrittenAsTheyWereRead(t *testing.T) {
	for _, file := range scenarioFiles(t, recordings) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		sc, err := Parse(filepath.Base(file), data)
		require.NoError(t, err)
		got, err := sc.Write()
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), "%s is written differently", file)
	}
}

// example is a small scenario; tests spoil parts of it.
const example = `{
 "format": "listen-queue-oracle/1",
 "id": "example",
 "title": "one <connection>",
 "rules": ["fifo"],
 "description": "",
 "platform": {"os": "linux", "kernel": "6.18.44", "hz": 250},
 "server": {"ip": "10.77.0.1", "port": 7000},
 "conns": {"c1": {"ip": "10.77.0.50", "port": 20001}},
 "sysctls": {"net.core.somaxconn": 4096},
 "duration": 0.1,
 "steps": [
  {"n": 1, "t": 0.0, "op": "listen", "sock": "L", "port": 7000, "backlog": 5, "result": {"ok": true}, "emitted": [],
   "after": {"listen": {"recv_q": 0, "send_q": 5}, "half_open": [], "full": {}},
   "counters": {}},
  {"n": 2, "t": 0.05, "op": "inject", "conn": "c1", "flags": "S", "seq": 0, "len": 0, "win": 65535, "opts": {"mss": 1460, "ts": [7, "echo"]},
   "emitted": [
    {"conn": "c1", "flags": "SA", "seq": 0, "ack": 1, "len": 0, "win": 64240, "opts": {"mss": 1460, "ts": true}, "when": "reply", "t": 0.05, "t_nominal": 0.05, "t_window": [0.05, 0.15]}],
   "after": {"listen": {"recv_q": 0, "send_q": 5}, "half_open": ["c1"], "full": {}},
   "counters": {"PassiveOpens": 0}}
 ],
 "totals": {"counters": {}, "final": {"listen": null, "half_open": ["c1"], "full": {}}}
}
`

func TestExampleIsWrittenAsItWasRead(t *testing.T) {
	sc, err := Parse("example.json", []byte(example))
	require.NoError(t, err)
	got, err := sc.Write()
	require.NoError(t, err)
	require.Equal(t, example, string(got))
}

func TestMalformedScenariosNameFileStepAndField(t *testing.T) {
	for _, tc := range []struct{ old, new, want string }{
		{`oracle/1`, `oracle/2`, `x.json: format: is "listen-queue-oracle/2"`},
		{`"id": "example"`, `"id": ""`, `x.json: id: is missing`},
		{`"id": "example"`, `"id": 5`, `x.json: id: a number does not fit`},
		{`10.77.0.1"`, `10.77.0"`, `x.json: `},
		{`"port": 7000}`, `"port": 70000}`, `x.json: server.port: a number 70000 does not fit`},
		{`"port": 20001`, `"port": 0`, `x.json: conns: c1 needs an address`},
		{`{"c1": {"ip"`, `{"c2": {"ip": "10.77.0.50", "port": 20001}, "c1": {"ip"`, `x.json: conns: c2 and c1 have the same`},
		{`{"c1": {"ip"`, `{"c1": {"ip": "10.77.0.51", "port": 20001}, "c1": {"ip"`, `x.json: "c1" stands there twice`},
		{`"duration": 0.1`, `"duration": 0.01`, `x.json: step 2: t: the step begins at 50ms and ends at 10ms`},
		{`"duration": 0.1`, `"duration": 1e300`, `x.json: 1e300 is too many seconds`},
		{`"t": 0.0,`, `"t": -1,`, `x.json: step 1: t: `},
		{`"n": 2`, `"n": 3`, `x.json: step 2: n: is 3, and should be 2`},
		{`"op": "listen"`, `"op": "lisen"`, `x.json: step 1: op: "lisen" is not an operation`},
		{`"op": "listen"`, `"op": "accept"`, `x.json: step 1: as: is missing in accept`},
		{`"op": "listen", "sock": "L", "port": 7000, "backlog": 5`, `"op": "close", "sock": "L"`, `x.json: step 1: sock: no earlier step makes "L"`},
		{`"backlog": 5`, `"backlog": 5, "seq": 3`, `x.json: step 1: seq: does not belong to listen`},
		{`"backlog": 5`, `"backlog": 5, "sequence": 3`, `x.json: step 1: unknown field "sequence"`},
		{`"backlog": 5`, `"backlog": "5"`, `x.json: step 1: backlog: a string does not fit`},
		{`"backlog": 5`, `"backlog": 2147483648`, `x.json: step 1: backlog: 2147483648 is no C int`},
		{`"backlog": 5`, `"backlog": 5, "syncnt": 128`, `x.json: step 1: syncnt: 128 is not in 1 to 127`},
		{`"result": {"ok": true}, `, ``, `x.json: step 1: result: is missing`},
		{`{"ok": true}`, `{}`, `x.json: step 1: result: is empty`},
		{`{"ok": true}`, `{"conn": "c9"}`, `x.json: step 1: result.conn: "c9" is not in conns`},
		{`"conn": "c1", "flags": "S", `, `"conn": "c9", "flags": "S", `, `x.json: step 2: conn: "c9" is not in conns`},
		{`"flags": "S",`, `"flags": "X",`, `x.json: step 2: flags: "X": use the letters`},
		{`"flags": "S",`, `"flags": "SS",`, `x.json: step 2: flags: "SS": use the letters`},
		{`"flags": "S",`, `"flags": "SA",`, `x.json: step 2: ack: goes with the A flag`},
		{`"win": 65535`, `"win": 65536`, `x.json: step 2: win: 65536 is not in 0 to 65535`},
		{`"len": 0, "win": 65535`, `"len": 1401, "win": 65535`, `x.json: step 2: len: 1401 does not fit`},
		{`[7, "echo"]`, `[7]`, `x.json: step 2: ts is [7]: use true, or [value, echo]`},
		{`[7, "echo"]`, `true`, `x.json: step 2: opts.ts: needs [value, echo]`},
		{`"conn": "c1", "flags": "SA"`, `"conn": "c9", "flags": "SA"`, `x.json: step 2: emitted[0].conn: "c9" is not in conns`},
		{`"flags": "SA", "seq": 0, `, `"flags": "SA", `, `x.json: step 2: emitted[0].seq: there must be either`},
		{`"when": "reply"`, `"when": "soon"`, `x.json: step 2: emitted[0].when: is "soon"`},
		{`[0.05, 0.15]`, `[0.15, 0.05]`, `x.json: step 2: emitted[0].t_window: ends before`},
		{`"half_open": ["c1"], "full": {}},
   "c`, `"half_open": ["c9"], "full": {}},
   "c`, `x.json: step 2: after.half_open: "c9" is not in conns`},
		{`"PassiveOpens": 0`, `"PassivOpens": 0`, `x.json: step 2: counters.PassivOpens: is no counter`},
		{`"final": {"listen": null, "half_open": ["c1"]`, `"final": {"listen": null, "half_open": ["c8"]`, `x.json: totals.final.half_open: "c8"`},
		{"\n}\n", "\n}{", `x.json: something follows`},
		{"\n}\n", "\n", `x.json: no JSON: it ends too early`},
		{`"format": `, `"format" `, `x.json: no JSON at byte`},
	} {
		require.Contains(t, example, tc.old)
		_, err := Parse("x.json", []byte(strings.Replace(example, tc.old, tc.new, 1)))
		require.ErrorContains(t, err, tc.want, "%s for %s", tc.new, tc.old)
	}
	_, err := Parse("x.json", []byte(strings.Replace(example, `"steps": [`, `"steps": [], "was": [`, 1)))
	require.ErrorContains(t, err, "x.json: steps: there are none")
}

// What the parser accepts it can write, and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	for _, file := range scenarioFiles(f, recordings)[:10] {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sc, err := Parse("x.json", data)
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "x.json: "), err)
			return
		}
		first, err := sc.Write()
		require.NoError(t, err)
		again, err := Parse("x.json", first)
		require.NoError(t, err, "%s", first)
		second, err := again.Write()
		require.NoError(t, err)
		require.True(t, bytes.Equal(first, second), "%s\n%s", first, second)
	})
}
