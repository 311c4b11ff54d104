package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hostileLines are what no client of ours sends.
var hostileLines = []string{
	"", "{", "null", "[]", "1", `"listeners"`, "\x00\xff", `{"op":7}`, `{"op":"listeners"} {}`,
	`{"op":"shutdown"}`, `{"op":"listeners","colour":"red"}`, strings.Repeat("[", 100_000),
	`{"op":"` + strings.Repeat("x", maxRequest) + `"}`,
}

func TestHostileRequests(t *testing.T) {
	for _, line := range hostileLines {
		_, err := decodeRequest([]byte(line))
		require.Error(t, err, "%.40q", line)
	}
	r, err := decodeRequest([]byte(`{"op":"set","address":":80","changes":[{"name":"policy","value":"reset"}]}`))
	require.NoError(t, err)
	require.Equal(t, request{Op: "set", Address: ":80", Changes: []setting{{"policy", "reset"}}}, r)
}

func FuzzDecodeRequest(f *testing.F) {
	for _, line := range hostileLines {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"op":"listeners"}`))
	f.Add([]byte(`{"op":"sysctl","names":["net.core.somaxconn"],"values":[{"name":"a","value":"1"}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			require.Equal(t, request{}, r)
			return
		}
		// What was understood survives the way back.
		text, err := json.Marshal(r)
		require.NoError(t, err)
		again, err := decodeRequest(text)
		if len(text) <= maxRequest {
			require.NoError(t, err)
			require.Equal(t, r.Op, again.Op)
		}
	})
}

func FuzzListenSpec(f *testing.F) {
	for _, s := range []string{
		":80", "*:80", "[2001:db8::2]:80,backlog=-1,policy=reset+abort,app=http", "192.0.2.2:0,accept-rate=0.5",
		"1.2.3.4:80,forward=host:1,accept-delay=1h", ",,,", ":80,=", "[::ffff:1.2.3.4]:1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s listenSpec
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return
		}
		a, err := parseListenAddress(s.address)
		require.NoError(t, err)
		again, err := parseListenAddress(showAddress(a))
		require.NoError(t, err, "what ss shows can be given to set")
		require.Equal(t, a, again)
		require.GreaterOrEqual(t, s.pace.or(paceSpec{}).interval(), 0*s.pace.delay)
	})
}

// controlPair is a control socket with a handler that echoes the op.
func controlPair(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ul")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "c.sock")
	c, err := listenControl(path)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.serve(func(r request) response { return response{Device: r.Op} })
	}()
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		<-ended
		_, err := os.Lstat(path)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	return path
}

func TestControlSocketSurvivesItsClients(t *testing.T) {
	path := controlPair(t)
	for _, line := range hostileLines {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		_, err = io.WriteString(conn, line+"\n"+`{"op":"listeners"}`+"\n")
		lines := bufio.NewReader(conn)
		first, readErr := lines.ReadString('\n')
		if err == nil {
			require.NoError(t, readErr, "%.40q", line)
			require.Contains(t, first, `"error":`)
		}
		conn.Close()
	}
	// Several requests on one connection, an error among them.
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "{\n"+`{"op":"sysctl"}`+"\n")
	require.NoError(t, err)
	lines := bufio.NewReader(conn)
	first, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, first, `"usage":true`)
	second, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.JSONEq(t, `{"device":"sysctl"}`, second)
}

func TestControlSocketServesManyAtOnce(t *testing.T) {
	path := controlPair(t)
	// More than are served at once; the first ones go before the last ones come.
	for range 3 * controlClients {
		f := controlFlag{Control: path}
		reply, err := f.ask(request{Op: "listeners"})
		require.NoError(t, err)
		require.Equal(t, "listeners", reply.Device)
	}
}

func TestControlSocketPathTooLong(t *testing.T) {
	_, err := listenControl(filepath.Join(t.TempDir(), strings.Repeat("x", 120)))
	require.ErrorContains(t, err, "the path is too long")
}

func TestHostAddresses(t *testing.T) {
	parse := func(s string) []addressFlag {
		var all []addressFlag
		for _, f := range strings.Fields(s) {
			var a addressFlag
			require.NoError(t, a.UnmarshalText([]byte(f)))
			all = append(all, a)
		}
		return all
	}
	for _, tc := range []struct{ own, peers, want, err string }{
		{own: "192.0.2.2/24", want: "192.0.2.1/24"},
		{own: "192.0.2.1/24", want: "192.0.2.2/24"},
		{own: "192.0.2.1/24 192.0.2.2/24", want: "192.0.2.3/24"},
		{own: "192.0.2.1/30 192.0.2.2/30", err: "leaves no address"},
		{own: "192.0.2.2/31", want: "192.0.2.3/31"},
		{own: "192.0.2.3/31", want: "192.0.2.2/31"},
		{own: "192.0.2.2/32", err: "leaves no address"},
		{own: "192.0.2.2/32", peers: "192.0.2.9/24", want: "192.0.2.9/24"},
		{own: "2001:db8::2/64 192.0.2.2/24", want: "2001:db8::1/64 192.0.2.1/24"},
		{own: "2001:db8::/127", want: "2001:db8::1/127"},
		{own: "192.0.2.2/24 198.51.100.2/24", peers: "198.51.100.77/24", want: "198.51.100.77/24 192.0.2.1/24"},
		{own: "192.0.2.2/24 192.0.2.2/24", err: "given twice"},
	} {
		got, err := hostAddresses(parse(tc.own), parse(tc.peers))
		if tc.err != "" {
			require.ErrorContains(t, err, tc.err, tc.own)
			continue
		}
		require.NoError(t, err, tc.own)
		require.Equal(t, tc.want, strings.Join(toStrings(got), " "), tc.own)
	}
}
