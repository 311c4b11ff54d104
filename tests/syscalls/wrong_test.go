//go:build linux

package syscalls

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// situations are calls that bring socket a into a state.
var situations = map[string]string{
	"no descriptor": `z = socket inet stream
		close z
		a = dup z`,
	"epoll": `a = epoll`,

	"tcp":                   `a = socket inet stream|nonblock`,
	"tcp bound":             "a = socket inet stream|nonblock\nbind a 192.0.2.1:p1",
	"tcp listening":         "a = socket inet stream|nonblock\nbind a 192.0.2.1:p1\nlisten a 1",
	"tcp unbound listening": "a = socket inet stream|nonblock\nlisten a 1",
	"tcp connecting":        "a = socket inet stream|nonblock\nconnect a 198.51.100.9:p1",
	"tcp refused":           "a = socket inet stream|nonblock\nconnect a 192.0.2.1:p7",
	"tcp connected":         tcpPair,
	"tcp accepted": `l = socket inet stream|nonblock
		bind l 192.0.2.1:p1
		listen l 1
		b = socket inet stream|nonblock
		connect b &l
		a = accept l nonblock`,
	"tcp with data":      tcpPair + "\nwrite b \"hello\"",
	"tcp peer closed":    tcpPair + "\nclose b",
	"tcp peer shut":      tcpPair + "\nwrite b \"hello\"\nshutdown b wr",
	"tcp reset":          tcpPair + "\nsetsockopt b SOL_SOCKET SO_LINGER 1,0\nclose b",
	"tcp reset and told": tcpPair + "\nsetsockopt b SOL_SOCKET SO_LINGER 1,0\nclose b\nread a 10",
	"tcp shut rd":        tcpPair + "\nshutdown a rd",
	"tcp shut wr":        tcpPair + "\nshutdown a wr",
	"tcp shut both":      tcpPair + "\nshutdown a rdwr",
	"tcp both shut wr":   tcpPair + "\nshutdown a wr\nshutdown b wr",
	"tcp listener shut":  "a = socket inet stream|nonblock\nbind a 192.0.2.1:p1\nlisten a 1\nshutdown a rd",
	"tcp disconnected":   tcpPair + "\nconnect a unspec",

	"tcp6":           `a = socket inet6 stream|nonblock`,
	"tcp6 bound":     "a = socket inet6 stream|nonblock\nbind a [2001:db8::1]:p1",
	"tcp6 bound any": "a = socket inet6 stream|nonblock\nbind a [::]:p1",
	"tcp6 only":      "a = socket inet6 stream|nonblock\nsetsockopt a SOL_IPV6 IPV6_V6ONLY 1",
	"tcp6 listening": "a = socket inet6 stream|nonblock\nbind a [::]:p1\nlisten a 1",
	"tcp6 connected": strings.NewReplacer("inet ", "inet6 ", "192.0.2.1", "[2001:db8::1]").Replace(tcpPair),
	"tcp6 mapped": `l = socket inet stream|nonblock
		bind l 192.0.2.1:p1
		listen l 1
		a = socket inet6 stream|nonblock
		connect a [::ffff:192.0.2.1]:p1`,

	"udp":              `a = socket inet dgram|nonblock`,
	"udp bound":        "a = socket inet dgram|nonblock\nbind a 192.0.2.1:p1",
	"udp connected":    udpPair,
	"udp with data":    udpPair + "\nsendto b \"hello\" 0 &a\nsendto b \"\" 0 &a\nsendto b fill*100 0 &a",
	"udp refused":      "a = socket inet dgram|nonblock\nconnect a 192.0.2.1:p7\nwrite a \"x\"",
	"udp shut rd":      udpPair + "\nshutdown a rd",
	"udp shut wr":      udpPair + "\nshutdown a wr",
	"udp disconnected": udpPair + "\nconnect a unspec",
	"udp6":             `a = socket inet6 dgram|nonblock`,
	"udp6 bound":       "a = socket inet6 dgram|nonblock\nbind a [::]:p1",
	"udp6 connected":   strings.NewReplacer("inet ", "inet6 ", "192.0.2.1", "[2001:db8::1]").Replace(udpPair),
}

const (
	tcpPair = `l = socket inet stream|nonblock
		bind l 192.0.2.1:p1
		listen l 1
		a = socket inet stream|nonblock
		connect a &l
		b = accept l nonblock`
	udpPair = `b = socket inet dgram|nonblock
		bind b 192.0.2.1:p1
		a = socket inet dgram|nonblock
		connect a &b`
)

func init() {
	for _, typ := range []string{"stream", "seqpacket", "dgram"} {
		with := func(text string) string { return strings.ReplaceAll(text, "TYPE", typ) }
		name := "unix " + typ
		situations[name] = with("a = socket unix TYPE|nonblock")
		situations[name+" bound"] = with("a = socket unix TYPE|nonblock\nbind a /a")
		situations[name+" bound abstract"] = with("a = socket unix TYPE|nonblock\nbind a abstract:a")
		situations[name+" pair"] = with("a b = socketpair unix TYPE|nonblock")
		situations[name+" with data"] = with("a b = socketpair unix TYPE|nonblock\nwrite b \"hello\"\nwrite b fill*100")
		situations[name+" peer closed"] = with("a b = socketpair unix TYPE|nonblock\nclose b")
		situations[name+" peer closed with data"] = with("a b = socketpair unix TYPE|nonblock\nwrite a \"hello\"\nclose b")
		situations[name+" peer shut"] = with("a b = socketpair unix TYPE|nonblock\nwrite b \"hello\"\nshutdown b wr")
		situations[name+" shut rd"] = with("a b = socketpair unix TYPE|nonblock\nshutdown a rd")
		situations[name+" shut wr"] = with("a b = socketpair unix TYPE|nonblock\nshutdown a wr")
		situations[name+" shut both"] = with("a b = socketpair unix TYPE|nonblock\nshutdown a rdwr")
		if typ == "dgram" {
			situations[name+" connected"] = "b = socket unix dgram|nonblock\nbind b /a\na = socket unix dgram|nonblock\nconnect a &b"
			situations[name+" peer gone"] = situations[name+" connected"] + "\nclose b"
			continue
		}
		situations[name+" listening"] = with("a = socket unix TYPE|nonblock\nbind a /a\nlisten a 0")
		situations[name+" listening and full"] = with("a = socket unix TYPE|nonblock\nbind a /a\nlisten a 0\nb = socket unix TYPE|nonblock\nconnect b &a")
		situations[name+" connected"] = with("l = socket unix TYPE|nonblock\nbind l /a\nlisten l 1\na = socket unix TYPE|nonblock\nconnect a &l")
		situations[name+" accepted"] = with("l = socket unix TYPE|nonblock\nbind l /a\nlisten l 1\nb = socket unix TYPE|nonblock\nconnect b &l\na = accept l nonblock")
	}
}

// attempts are calls on socket a, with every kind of wrong argument. They come
// after a situation, one at a time.
func attempts() []string {
	addresses := []string{
		"nil", "unspec", "unnamed", "/a", "/b", "abstract:a", "/" + strings.Repeat("x", 200), "abstract:" + strings.Repeat("x", 106),
		"192.0.2.1:p1", "192.0.2.1:p2", "192.0.2.1:0", "192.0.2.2:p1", "0.0.0.0:p1", "0.0.0.0:0", "198.51.100.9:p1", "127.0.0.1:p1", "255.255.255.255:p1",
		"[2001:db8::1]:p1", "[2001:db8::1]:0", "[::]:p1", "[::]:0", "[2001:db8:1::9]:p1", "[::ffff:192.0.2.1]:p1", "[::ffff:192.0.2.1]:p2", "[::ffff:0.0.0.0]:0",
		"[::1]:p1", "[fe80::1]:p1",
	}
	var all []string
	add := func(format string, a ...any) { all = append(all, fmt.Sprintf(format, a...)) }
	for _, to := range addresses {
		add("bind a %s", to)
		add("connect a %s", to)
		add("sendto a \"x\" 0 %s", to)
		add("sendmsg a \"x\" - %s", to)
	}
	for _, n := range []int{-1, 0, 1, 1 << 30} {
		add("listen a %d", n)
	}
	for _, bits := range []string{"0", "nonblock", "nonblock|cloexec", "1", "0x40000000"} {
		add("c = accept a %s", bits)
	}
	for _, how := range []string{"rd", "wr", "rdwr", "3", "-1"} {
		add("shutdown a %s", how)
	}
	for _, n := range []string{"0", "1", "10", "1000"} {
		add("read a %s", n)
		add("readv a %s,%s", n, n)
	}
	add("readv a -")
	add("readv a %s", strings.TrimSuffix(strings.Repeat("1,", 1025), ","))
	add("recvmsg a %s 0", strings.TrimSuffix(strings.Repeat("1,", 1025), ","))
	for _, data := range []string{`""`, `"x"`, "fill*1000", "fill*20000"} {
		add("write a %s", data)
		add("writev a %s %s", data, data)
		add("send a %s", data)
	}
	add("writev a")
	add("writev a%s", strings.Repeat(` "x"`, 1025))
	for _, name := range flags.names() {
		add("recv a 10 %s", name)
		add("recv a 0 %s", name)
		add("recvfrom a 3 %s", name)
		add("recvmsg a 3 100 %s", name)
		add("send a \"hello\" %s", name)
	}
	for _, bits := range []string{"0x1000000", "-1", "peek|dontwait|trunc", "peek|waitall", "oob|peek"} {
		add("recv a 10 %s", bits)
		add("recvmsg a 10 100 %s", bits)
	}
	for _, bits := range []string{"0x1000000", "0x80000000", "more|nosignal"} {
		add("send a \"hello\" %s", bits)
	}
	for _, control := range []string{"0/2=40000000", "0/2=40", "0/2=00000000", "0/1=10000000", "0/1=10", "0/99=00000000", "41/52=40000000", "41/67=10000000", "1/99=00000000", "1/1=ffffffff", "1/2=", "6/1=00000000", "0/8=000000000000000000000000"} {
		add("sendmsg a \"x\" %s nil", control)
	}
	add("getsockname a")
	add("getpeername a")
	add("close a")
	add("c = dup a")
	for _, to := range []string{"a", "-1", "9", "63", "64", "1000000"} {
		add("dup3 a %s", to)
		add("dup3 a %s O_NONBLOCK", to)
		add("c = fdup a %s", strings.Replace(to, "a", "0", 1))
	}
	for _, c := range []string{"F_GETFD", "F_GETFL", "F_SETFD FD_CLOEXEC", "F_SETFD -1", "F_SETFL O_NONBLOCK", "99", "-1"} {
		add("fcntl a %s", c)
	}
	for _, r := range requests.names() {
		add("ioctl a %s", r)
	}
	add("ioctl a 0x1234")
	for _, e := range []string{"in", "out", "in|out|rdhup|pri", "0", "err|hup|nval", "rdnorm|wrnorm|rdband|wrband"} {
		add("poll a:%s", e)
	}
	add("select a a a")
	add("select a,a - -")
	add("epoll_ctl a add a in")
	add("epoll_wait a 1")
	add("epoll_wait a 0")
	for _, name := range []string{"SO_ERROR", "SO_ACCEPTCONN", "SO_TYPE", "SO_DOMAIN", "SO_PROTOCOL"} {
		add("getsockopt a SOL_SOCKET %s", name)
	}
	add("getsockopt a SOL_TCP TCP_INFO")
	return all
}

// Each call with each wrong argument, on sockets in every state: as the kernel has
// it. Afterwards the socket is used once more.
func TestWrongArguments(t *testing.T) {
	t.Parallel()
	pair := newPair(t)
	for _, name := range slices.Sorted(maps.Keys(situations)) {
		t.Run(name, func(t *testing.T) {
			differed := 0
			for _, attempt := range attempts() {
				if !check(t, pair, situations[name]+"\n"+attempt+"\nread a 10\ngetsockopt a SOL_SOCKET SO_ERROR\n") {
					differed++
				}
				if differed == enough {
					break
				}
			}
		})
	}
}

// check plays a script and fails if there is a difference that nothing explains.
func check(t *testing.T, pair *Pair, text string) bool {
	t.Helper()
	script, err := ParseScript("script", text)
	require.NoError(t, err)
	found, err := pair.Differences(script)
	require.NoError(t, err)
	if d, differs := Unexplained(found, pair.Known); differs {
		t.Errorf("%v\n%s", d, script)
		return false
	}
	return true
}
