//go:build linux

package packets

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

// right is a script that passes, and has a bit of everything.
const right = `
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 32792 <mss 1000,sackOK,TS val 500000 ecr 0,nop,wscale 7>
   +0 > S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 100 ecr 500000,nop,wscale 7>
 +.01 < . 1:1(0) ack 1 win 257 <nop,nop,TS val 500001 ecr 100>
   +0 accept(3, ..., ...) = 4
   +0 getsockopt(4, SOL_TCP, TCP_NODELAY, [0], [4]) = 0
   +0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0
   +0 read(4, ..., 10) = -1 EAGAIN (Resource temporarily unavailable)
 +.01 < P. 1:4(3) ack 1 win 257 <nop,nop,TS val 500012 ecr 100>
   +0 > [ttl 64, tos 0] . 1:1(0) ack 4 <nop,nop,TS val 120 ecr 500012>
   +0 poll([{fd=4, events=POLLIN, revents=POLLIN}], 1, 0) = 1
   +0 ioctl(4, SIOCINQ, [3]) = 0
   +0 read(4, ..., 10) = 3
 +.01 write(4, ..., 2000) = 2000
   +0 > P. 1:2001(2000) ack 4 <...>
 +.01 < . 4:4(0) ack 2001 win 257 <nop,nop,TS val 500042 ecr 130>
   +0 %{ assert tcpi_state == 1 }%
+0...0.1 read(4, ..., 10) = 3
  +.1 < P. 4:7(3) ack 2001 win 257 <nop,nop,TS val 500142 ecr 130>
+0~+.05 > . 2001:2001(0) ack 7 <...>
  +.1 close(4) = 0
   +0 > F. 2001:2001(0) ack 7 <...>
`

// What is not as the script has it must be found: a line is replaced by a wrong
// one, or left out.
func TestWrongScriptsFail(t *testing.T) {
	s, err := Parse("right", right)
	require.NoError(t, err)
	for _, version := range s.Versions() {
		require.NoError(t, PlayOnOurs(s, version))
	}
	for _, tc := range []struct{ line, wrong, want string }{
		{"+0 listen(3, 1) = 0", "+0 listen(3, 1) = 1", "listen returned 0"},
		{"+0 accept(3, ..., ...) = 4", "+0 accept(4, ..., ...) = 5", "the script has no descriptor 4"},
		{"+0 > S. 0:0(0) ack 1 <mss 1460", "+.01 > S. 0:0(0) ack 1 <mss 1460", "it should have come at 0.0100, and came at 0.0000"},
		{"+0 > S. 0:0(0) ack 1 <mss 1460", "+0 > S. 0:0(0) ack 1 <mss 1459", "its options should be <mss 1459,"},
		{"nop,wscale 7>\n +.01", "wscale 7>\n +.01", "its options should be"},
		{"TS val 100 ecr 500000", "TS val 100 ecr 500001", "its options should be"},
		{"[0], [4]) = 0", "[1], [4]) = 0", "it should give the bytes 01000000, of a length of 4, and gave 00000000, 4"},
		{"= -1 EAGAIN", "= -1 EPIPE", "read returned -1 EAGAIN"},
		{"[ttl 64, tos 0] . 1:1(0)", "[ttl 63] . 1:1(0)", "its ttl is 64"},
		{"[ttl 64, tos 0] . 1:1(0)", "[tos 1] . 1:1(0)", "its tos is 0x0"},
		{"tos 0] . 1:1(0) ack 4", "tos 0] P. 1:1(0) ack 4", "its flags are wrong"},
		{"tos 0] . 1:1(0) ack 4", "tos 0] . 2:2(0) ack 4", "its number is wrong"},
		{"tos 0] . 1:1(0) ack 4", "tos 0] . 1:1(0) ack 5", "its ack is wrong"},
		{"tos 0] . 1:1(0) ack 4", "tos 0] . 1:1(0) ack 4 win 1", "its window is wrong"},
		{"TS val 120 ecr 500012>", "TS val 170 ecr 500012>", "its options should be"},
		{"revents=POLLIN", "revents=0", "revents should be 0x0, and is 0x1"},
		{"SIOCINQ, [3]", "SIOCINQ, [2]", "it should give 2, and gave 3"},
		{"read(4, ..., 10) = 3", "read(4, ..., 10) = 2", "read returned 3"},
		{"+0 > P. 1:2001(2000) ack 4 <...>", "+0 > P. 1:2000(1999) ack 4 <...>", "its length is wrong"},
		{"+0 > P. 1:2001(2000) ack 4 <...>", "+0 > P. 1:2002(2001) ack 4 <...>", "its length is wrong"},
		{"+0 > P. 1:2001(2000) ack 4 <...>", "", "its number is wrong"},
		{"tcpi_state == 1", "tcpi_state != 1", "State is 1"},
		{"+0...0.1 read", "+0...0.2 read", "the call of line 21 should have returned at 0.24"},
		{"+0 > F. 2001:2001(0) ack 7 <...>", "", "nothing more should have come, and there came"},
		{"+0 > F. 2001:2001(0) ack 7 <...>", "+0 > F. 2001:2001(0) ack 7 <...>\n +0 > . 2002:2002(0) ack 7 <...>", "nothing had come"},
	} {
		require.Contains(t, right, tc.line)
		wrong, err := Parse("wrong", strings.Replace(right, tc.line, tc.wrong, 1))
		require.NoError(t, err, tc.wrong)
		require.ErrorContains(t, PlayOnOurs(wrong, 4), tc.want, tc.wrong)
	}
}

func TestTheRightScriptHoldsOnTheKernel(t *testing.T) {
	netlab.RequireTUN(t)
	s, err := Parse("right", right)
	require.NoError(t, err)
	var all []*played
	for _, version := range s.Versions() {
		all = append(all, &played{Script: s, version: version})
	}
	for _, p := range untilItHolds(all) {
		t.Error(p.err)
	}
}

// What the program reads and what the stack sends is compared with the pattern.
func TestPattern(t *testing.T) {
	b := pattern(250, 4)
	require.Equal(t, []byte{250, 0, 1, 2}, b)
	require.Equal(t, -1, wrongByte(b, 250))
	require.Equal(t, -1, wrongByte(nil, 250))
	b[2]++
	require.Equal(t, 2, wrongByte(b, 250))
}
