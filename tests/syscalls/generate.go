//go:build linux

package syscalls

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A theme says which sockets a random script is about.
type theme struct {
	// sockets are what it makes: "family type".
	sockets []string
	// ready is how it may begin: sockets that are connected. $1 and so on are
	// the names that it gets.
	ready []string
}

var (
	tcp4 = theme{[]string{"inet stream"}, []string{
		"$1 = socket inet stream|nonblock", "bind $1 192.0.2.1:p1", "listen $1 2",
		"$2 = socket inet stream|nonblock", "connect $2 &$1", "$3 = accept $1 nonblock",
	}}
	tcp6 = theme{[]string{"inet6 stream", "inet6 stream", "inet stream"}, []string{
		"$1 = socket inet6 stream|nonblock", "bind $1 [::]:p1", "listen $1 2",
		"$2 = socket inet6 stream|nonblock", "connect $2 [2001:db8::1]:p1", "$3 = accept $1 nonblock",
	}}
	udp4 = theme{[]string{"inet dgram"}, []string{
		"$1 = socket inet dgram|nonblock", "bind $1 192.0.2.1:p1",
		"$2 = socket inet dgram|nonblock", "connect $2 192.0.2.1:p1", "$3 = socket inet dgram|nonblock",
	}}
	udp6 = theme{[]string{"inet6 dgram", "inet6 dgram", "inet dgram"}, []string{
		"$1 = socket inet6 dgram|nonblock", "bind $1 [2001:db8::1]:p1",
		"$2 = socket inet6 dgram|nonblock", "connect $2 [2001:db8::1]:p1", "$3 = socket inet6 dgram|nonblock",
	}}
	unixStream = theme{[]string{"unix stream"}, []string{
		"$1 = socket unix stream|nonblock", "bind $1 /a", "listen $1 2",
		"$2 = socket unix stream|nonblock", "connect $2 &$1", "$3 = accept $1 nonblock",
	}}
	unixSeqpacket = theme{[]string{"unix seqpacket"}, []string{
		"$1 = socket unix seqpacket|nonblock", "bind $1 abstract:a", "listen $1 2",
		"$2 = socket unix seqpacket|nonblock", "connect $2 &$1", "$3 = accept $1 nonblock",
	}}
	unixDgram = theme{[]string{"unix dgram"}, []string{
		"$1 = socket unix dgram|nonblock", "bind $1 /a",
		"$2 = socket unix dgram|nonblock", "connect $2 &$1", "$3 = socket unix dgram|nonblock",
	}}
	mixed = theme{[]string{
		"inet stream", "inet6 stream", "inet dgram", "inet6 dgram", "unix stream", "unix seqpacket", "unix dgram",
	}, nil}

	themes = []theme{tcp4, tcp4, tcp6, udp4, udp6, unixStream, unixSeqpacket, unixDgram, mixed}
)

// A generator makes up a script.
type generator struct {
	*rand.Rand
	theme  theme
	script Script
	live   []made
	epolls []string
	count  int
}

// made is a descriptor that was made and not closed, and what it was made as.
type made struct{ name, family, typ string }

// RandomScript makes up a script of about length calls. Equal seeds give equal
// scripts. Every socket in it is non-blocking.
func RandomScript(seed uint64, length int) Script {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	g.theme = themes[g.IntN(len(themes))]
	if g.theme.ready != nil && g.IntN(4) > 0 {
		g.connected()
	}
	for len(g.script) < length {
		g.random()
	}
	return g.script
}

func (g *generator) add(format string, a ...any) {
	g.script = append(g.script, step(format, a...))
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// oneIn is true once in n times.
func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

// fresh returns a new name; what says what it will be.
func (g *generator) fresh(family, typ string) string {
	g.count++
	name := fmt.Sprint("s", g.count)
	g.live = append(g.live, made{name, family, typ})
	return name
}

// connected makes the sockets that the theme begins with.
func (g *generator) connected() {
	family, typ, _ := strings.Cut(g.theme.sockets[0], " ")
	var names []string
	for i := range 3 {
		names = append(names, fmt.Sprint("$", i+1), g.fresh(family, typ))
	}
	replace := strings.NewReplacer(names...)
	for _, line := range g.theme.ready {
		g.add("%s", replace.Replace(line))
	}
}

func (g *generator) socket() {
	family, typ, _ := strings.Cut(pick(g, g.theme.sockets...), " ")
	protocol := ""
	if g.oneIn(20) {
		protocol = pick(g, " tcp", " udp", " sctp", " 255")
	}
	if family == "unix" && g.oneIn(3) {
		a, b := g.fresh(family, typ), g.fresh(family, typ)
		g.add("%s %s = socketpair unix %s|nonblock%s", a, b, typ, protocol)
		return
	}
	g.add("%s = socket %s %s|nonblock%s", g.fresh(family, typ), family, typ, protocol)
}

// one returns a descriptor: mostly one that is open, and often one of the first,
// for those are surely there.
func (g *generator) one() made {
	if len(g.live) == 0 || g.oneIn(150) {
		return made{pick(g, "-1", "60", "1000000"), "inet", "stream"}
	}
	if g.oneIn(2) {
		return pick(g, g.live[:min(3, len(g.live))]...)
	}
	return pick(g, g.live...)
}

// address returns an address, mostly of the family asked for.
func (g *generator) address(family string) string {
	if g.oneIn(40) {
		family = pick(g, "inet", "inet6", "unix")
	}
	if g.oneIn(60) {
		return pick(g, "nil", "unspec", "unnamed")
	}
	if len(g.live) > 0 && g.oneIn(2) {
		if other := pick(g, g.live...); other.family == family {
			return "&" + other.name
		}
	}
	port := pick(g, "p1", "p1", "p2", "0")
	switch family {
	case "inet":
		return pick(g, "192.0.2.1", "192.0.2.1", "192.0.2.1", "0.0.0.0", "127.0.0.1", "192.0.2.2", "198.51.100.9") + ":" + port
	case "inet6":
		return "[" + pick(g, "2001:db8::1", "2001:db8::1", "::", "::ffff:192.0.2.1", "::1", "2001:db8:1::9") + "]:" + port
	}
	return pick(g, "/a", "/a", "/b", "abstract:a", "abstract:b", "unnamed")
}

// flags returns flags of a receive or a send, mostly none.
func (g *generator) flags(of ...string) string {
	if g.oneIn(3) {
		return pick(g, of...)
	}
	return "0"
}

func (g *generator) sendFlags() string {
	return g.flags("dontwait", "nosignal", "more", "eor", "oob", "dontroute", "confirm", "nosignal|dontwait", "errqueue")
}

func (g *generator) receiveFlags() string {
	return g.flags("dontwait", "peek", "trunc", "peek|trunc", "waitall", "oob", "errqueue", "nosignal", "waitall|peek")
}

func (g *generator) data() string {
	return pick(g, `"hello"`, `"x"`, `""`, "fill*100", "fill*1000", "fill*3000")
}

func (g *generator) size() int { return pick(g, 0, 1, 3, 10, 100, 5000) }

func (g *generator) random() {
	if len(g.live) == 0 {
		g.socket()
		return
	}
	s := g.one()
	switch n := g.IntN(100); {
	case n < 5:
		if len(g.live) < 12 {
			g.socket()
		}
	case n < 12:
		g.add("bind %s %s", s.name, g.address(s.family))
	case n < 17:
		g.add("listen %s %d", s.name, pick(g, 0, 1, 1, 2, 5, -1))
	case n < 26:
		to := g.address(s.family)
		if g.oneIn(12) {
			to = "unspec"
		}
		if to == "&"+s.name {
			to = "192.0.2.1:p1" // testdata/tcp-self-connect.txt has that
		}
		if s.typ == "dgram" && to != "unspec" {
			// Not port 0, and not from IPv6 to IPv4: see differences.txt.
			switch s.family {
			case "inet":
				to = pick(g, "192.0.2.1:p1", "192.0.2.1:p2", "0.0.0.0:p1", "[2001:db8::1]:p1")
			case "inet6":
				to = pick(g, "[2001:db8::1]:p1", "[2001:db8::1]:p2", "[::]:p1", "/a")
			}
		}
		g.add("connect %s %s", s.name, to)
	case n < 32:
		g.add("%s = accept %s nonblock", g.fresh(s.family, s.typ), s.name)
	case n < 36:
		g.add("shutdown %s %s", s.name, pick(g, "rd", "wr", "wr", "rdwr", "3"))
	case n < 41:
		g.add("close %s", s.name)
		if !g.oneIn(8) {
			g.live = slices.DeleteFunc(g.live, func(m made) bool { return m.name == s.name })
		}
	case n < 45:
		g.add("%s %s", pick(g, "getsockname", "getpeername"), s.name)
	case n < 62:
		g.send(s)
	case n < 80:
		g.receive(s)
	case n < 90:
		g.option(s)
	case n < 93:
		g.table(s)
	default:
		g.poll(s)
	}
}

func (g *generator) send(s made) {
	switch g.IntN(5) {
	case 0:
		g.add("write %s %s", s.name, g.data())
	case 1:
		g.add("writev %s %s %s", s.name, g.data(), g.data())
	case 2:
		g.add("send %s %s %s", s.name, g.data(), g.sendFlags())
	case 3:
		g.add("sendto %s %s %s %s", s.name, g.data(), g.sendFlags(), g.address(s.family))
	case 4:
		to := "nil"
		if g.oneIn(2) {
			to = g.address(s.family)
		}
		g.add("sendmsg %s %s - %s %s", s.name, g.data(), to, g.sendFlags())
	}
}

func (g *generator) receive(s made) {
	switch g.IntN(5) {
	case 0:
		g.add("read %s %d", s.name, g.size())
	case 1:
		g.add("readv %s %d,%d", s.name, g.size(), g.size())
	case 2:
		g.add("recv %s %d %s", s.name, g.size(), g.receiveFlags())
	case 3:
		g.add("recvfrom %s %d %s", s.name, g.size(), g.receiveFlags())
	case 4:
		g.add("recvmsg %s %d,%d 0 %s", s.name, g.size(), g.size(), g.receiveFlags())
	}
}

func (g *generator) option(s made) {
	switch g.IntN(10) {
	case 0, 1:
		g.add("getsockopt %s SOL_SOCKET %s", s.name, pick(g, "SO_ERROR", "SO_TYPE", "SO_DOMAIN", "SO_PROTOCOL", "SO_ACCEPTCONN",
			"SO_REUSEADDR", "SO_KEEPALIVE", "SO_LINGER", "SO_BROADCAST", "SO_RCVLOWAT"))
	case 2:
		g.add("setsockopt %s SOL_SOCKET %s %d", s.name, pick(g, "SO_REUSEADDR", "SO_REUSEADDR", "SO_KEEPALIVE", "SO_BROADCAST", "SO_TYPE"), g.IntN(3))
	case 3:
		g.add("setsockopt %s SOL_SOCKET SO_LINGER %s", s.name, pick(g, "1,0", "1,0", "0,0"))
	case 4:
		g.add("getsockopt %s SOL_TCP %s", s.name, pick(g, "TCP_INFO", "TCP_NODELAY", "TCP_CORK", "TCP_SYNCNT", "TCP_DEFER_ACCEPT"))
	case 5:
		g.add("setsockopt %s SOL_TCP %s %d", s.name, pick(g, "TCP_NODELAY", "TCP_QUICKACK", "TCP_KEEPCNT", "TCP_SYNCNT"), g.IntN(3))
	case 6:
		g.add("setsockopt %s SOL_IPV6 IPV6_V6ONLY %d", s.name, g.IntN(2))
	case 7:
		g.add("ioctl %s %s", s.name, pick(g, "FIONREAD", "FIONREAD", "SIOCOUTQ"))
	case 8:
		g.add("fcntl %s %s", s.name, pick(g, "F_GETFL", "F_GETFD", "F_SETFD FD_CLOEXEC", "F_SETFL O_NONBLOCK"))
	case 9:
		g.add("getsockopt %s SOL_SOCKET SO_ERROR", s.name)
	}
}

// table does something to the descriptor table.
func (g *generator) table(s made) {
	if g.oneIn(3) {
		g.add("dup3 %s %s", s.name, g.one().name)
		return
	}
	g.add("%s = dup %s", g.fresh(s.family, s.typ), s.name)
}

func (g *generator) poll(s made) {
	if len(g.epolls) == 0 {
		g.count++
		name := fmt.Sprint("s", g.count)
		g.epolls = append(g.epolls, name)
		g.add("%s = epoll", name)
		return
	}
	ep := pick(g, g.epolls...)
	switch g.IntN(8) {
	case 0:
		g.add("poll %s:in %s:in|out %s:out", s.name, g.one().name, g.one().name)
	case 1:
		g.add("select %s,%s %s %s", s.name, g.one().name, g.one().name, g.one().name)
	case 2, 3, 4:
		g.add("epoll_ctl %s %s %s %s", ep, pick(g, "add", "add", "mod", "del"), s.name,
			pick(g, "in", "in|out", "in|et", "in|out|et|rdhup", "out|oneshot", "in|oneshot|et", "0"))
	default:
		g.add("epoll_wait %s 10", ep)
	}
}
