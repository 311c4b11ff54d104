//go:build linux

package packets

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func TestParse(t *testing.T) {
	s, err := Parse("x.pkt", "// a comment\n"+
		"`sysctl -q net.ipv4.tcp_fin_timeout=5 net.ipv4.tcp_rmem=\"1 2 3\"; ip tcp_metrics flush all >/dev/null 2>&1; true`\n"+
		"0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3 // another\n"+
		"\n"+
		"+0...1.5 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)\n"+
		"+.2~+.22 > [ttl 42, tos 0x10] SE. 0:0(0) ack 1 win 7 <mss 1460,sackOK,TS val 1 ecr 2,nop,wscale 3,sack 1:2 3:4>\n"+
		"+.000001 < icmp unreachable frag_needed mtu 1000 [1:11(10)]\n"+
		"+0 %{ assert tcpi_snd_cwnd >= 10 and tcpi_ca_state == 0, (tcpi_snd_cwnd) }%\n")
	require.NoError(t, err)
	require.Equal(t, []int{4}, s.Versions(), "frag_needed is a word of IPv4")
	require.Len(t, s.Events, 6)
	require.Equal(t, Settings{{"net.ipv4.tcp_fin_timeout", "5"}, {"net.ipv4.tcp_rmem", "1 2 3"}}, s.Events[0].Action)
	c := s.Events[1].Action.(*Call)
	require.Equal(t, 3, c.Result)
	require.Equal(t, unix.IPPROTO_TCP, c.Args[2].number)
	require.Equal(t, Moment{Relative: true, Waits: true, End: 1500 * time.Millisecond}, s.Events[2].At)
	require.Equal(t, unix.EINPROGRESS, s.Events[2].Action.(*Call).Error)
	require.Equal(t, Moment{Relative: true, From: 200 * time.Millisecond, To: 220 * time.Millisecond}, s.Events[3].At)
	seg := s.Events[3].Action.(*Segment)
	require.Equal(t, header.TCPFlagSyn|header.TCPFlagAck|1<<6, seg.Flags)
	require.Equal(t, Packet{TTL: some(uint8(42)), TOS: some(uint8(0x10))}, seg.Packet)
	require.Equal(t, "<mss 1460,sackOK,TS val 1 ecr 2,nop,wscale 3,sack 1:2 3:4>", show(seg.Options))
	require.Equal(t, seg.Options[:5], decodeOptions(encodeOptions(seg.Options[:5]))[:5])
	require.Equal(t, some(uint16(7)), seg.Window)
	require.Equal(t, time.Microsecond, s.Events[4].At.From)
	require.Equal(t, &ICMP{Type: "unreachable", Code: "frag_needed", MTU: 1000, Seq: 1, Len: 10}, s.Events[4].Action)
	require.Equal(t, Assertion{{"Snd_cwnd", ">=", 10}, {"Ca_state", "==", 0}}, s.Events[5].Action)
	require.Equal(t, 8, s.Events[5].Line)
}

func TestParseErrors(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"", "x: there is no event in it"},
		{"soon close(3) = 0", `x:1: expected a time in seconds, found "soon close(3) = 0"`},
		{"+1.2.3 close(3) = 0", `x:1: expected <, >, a backtick, %{ or a call of accept,`},
		{"0 cloze(3) = 0", `x:1: expected <, >, a backtick, %{ or a call of accept,`},
		{"0 close(3", `x:1: expected ), found the end of the line`},
		{"0 close(...) = 0", `x:1: expected a number, found "...) = 0"`},
		{"0 close(foo) = 0", `x:1: expected a number or a constant that words.go has, found "foo) = 0"`},
		{"0 close(3) = -1 EWHAT", `x:1: expected the name of an error, found "EWHAT"`},
		{"0 close(3) = 0 0", `x:1: expected the end of the line, found "0"`},
		{"0...1 close(3) = 0", `x:1: only accept, connect, read, recv may wait`},
		{"0...1 > . 1:1(0) ack 1", `x:1: only accept, connect, read, recv may wait`},
		{"+0~+1 < . 1:1(0) ack 1", `x:1: only an expected packet may have a range of times`},
		{"+1~+0 > . 1:1(0) ack 1", `x:1: the range of times ends before it begins`},
		{"0 > . 1:1(0)", `x:1: expected ack, which the dot among the flags asks for, found the end of the line`},
		{"0 > S 1:1(0) ack 1", `x:1: expected the end of the line, found "ack 1"`},
		{"0 > S 1:3(0)", `x:1: from 1 to 3 there are 2 bytes, not 0`},
		{"0 > 1:1(0)", `x:1: expected flags: letters out of S F R P . U E W, or -, found "1:1(0)"`},
		{"0 > S 0:0(0) win 70000", `x:1: 70000 is more than 65535`},
		{"0 < S 0:0(0) <...>", `x:1: what is sent needs options of its own`},
		{"0 < S 0:0(0) <foo>", `x:1: expected an option: mss, wscale, sackOK, sack, TS, nop or eol, found "foo>"`},
		{"0 < S 0:70000(70000)", `x:1: 70000 bytes are more than the`},
		{"0 > icmp unreachable port_unreachable [1:1(0)]", `x:1: ICMP goes to the stack only`},
		{"0 < icmp unreachable nobody [1:1(0)]", `x:1: there is no ICMP error "unreachable nobody": types are`},
		{"0 < icmp unreachable 3 [1:1(0)]", `x:1: the code 3 is not the same in both versions of IP: use a name`},
		{"0 setsockopt(3, SOL_IP, IP_TTL, [1], 4) = 0\n0 < icmp packet_too_big mtu 1280 [1:1(0)]", `x:2: packet_too_big is of IPv6 only, and a line above`},
		{"`reboot`", "x:1: in \"reboot\": expected sysctl, ip tcp_metrics flush all, or true, found \"reboot\""},
		{"`sysctl -q foo", "x:1: expected `, found the end of the line"},
		{"0 %{ print(1) }%", `x:1: expected assert, found "print(1) "`},
		{"0 %{ assert tcpi_foo == 1 }%", `x:1: "tcpi_foo" is no field of TCP_INFO`},
		{"0 %{ assert tcpi_rtt ~ 1 }%", `x:1: expected one of == != <= >= < >, found "~ 1 "`},
		{"0 poll([{fd=4, events=POLLIN}], 1, 0) = 0", `x:1: expected ,, found "}], 1, 0) = 0"`},
		{"--ip_version=ipv5", "x:1: there is no IPv5 here"},
	} {
		_, err := Parse("x", tc.line)
		require.ErrorContains(t, err, tc.want, tc.line)
	}
}

// Scripts are text of others: whatever they are, there is a script or an error.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(folder, "*.pkt"))
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("x", text)
		if err != nil {
			return
		}
		require.NotEmpty(t, s.Events)
		require.NotEmpty(t, s.Versions())
		for _, e := range s.Events {
			if seg, ok := e.Action.(*Segment); ok && seg.In {
				require.LessOrEqual(t, len(encodeOptions(seg.Options)), header.TCPOptionsMaximumSize)
			}
		}
	})
}

// A peer can send anything.
func FuzzDissect(f *testing.F) {
	for _, addr := range []netip.Addr{peer4, peer6} {
		both := netip.AddrPortFrom(addr, connectPort)
		f.Add(flow{both, both}.packet(Packet{}, header.TCPFields{}, []byte{header.TCPOptionNOP, header.TCPOptionMSS, 2, 0}, []byte("x")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := dissect(b); ok {
			r.payload()
			show(wireOptions(&r))
		}
	})
}
