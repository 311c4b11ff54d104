//go:build linux

package syscalls

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A vocabulary gives numbers the names that scripts use, in the order of the
// numbers.
type vocabulary []entry

type entry struct {
	name   string
	number int
}

func newVocabulary(numbers map[string]int) vocabulary {
	var v vocabulary
	for name, n := range numbers {
		v = append(v, entry{name, n})
	}
	slices.SortFunc(v, func(a, b entry) int { return cmp.Or(a.number-b.number, strings.Compare(a.name, b.name)) })
	return v
}

// names returns all names.
func (v vocabulary) names() []string {
	var all []string
	for _, e := range v {
		all = append(all, e.name)
	}
	return all
}

// number returns what a word stands for: words joined by |, or numbers.
func (v vocabulary) number(word string) (int, error) {
	sum := 0
	for part := range strings.SplitSeq(word, "|") {
		if i := slices.IndexFunc(v, func(e entry) bool { return e.name == part }); i >= 0 {
			sum |= v[i].number
			continue
		}
		n, err := strconv.ParseInt(part, 0, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is neither a number nor one of %s", part, strings.Join(v.names(), " "))
		}
		sum |= int(n)
	}
	return sum, nil
}

// name returns the name of a number.
func (v vocabulary) name(number int) string {
	for _, e := range v {
		if e.number == number {
			return e.name
		}
	}
	return fmt.Sprint(number)
}

// words returns the names of the bits of a number, and what is left of it.
func (v vocabulary) words(number int) string {
	var parts []string
	for _, e := range v {
		if e.number != 0 && number&e.number == e.number {
			parts = append(parts, e.name)
			number &^= e.number
		}
	}
	if number != 0 || len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("%#x", number))
	}
	return strings.Join(parts, "|")
}

var (
	families = newVocabulary(map[string]int{"unspec": unix.AF_UNSPEC, "unix": unix.AF_UNIX, "inet": unix.AF_INET, "inet6": unix.AF_INET6})
	types    = newVocabulary(map[string]int{
		"stream": unix.SOCK_STREAM, "dgram": unix.SOCK_DGRAM, "seqpacket": unix.SOCK_SEQPACKET,
		"nonblock": unix.SOCK_NONBLOCK, "cloexec": unix.SOCK_CLOEXEC,
	})
	protocols  = newVocabulary(map[string]int{"ip": unix.IPPROTO_IP, "tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP})
	directions = newVocabulary(map[string]int{"rd": unix.SHUT_RD, "wr": unix.SHUT_WR, "rdwr": unix.SHUT_RDWR})
	flags      = newVocabulary(map[string]int{
		"oob": unix.MSG_OOB, "peek": unix.MSG_PEEK, "dontroute": unix.MSG_DONTROUTE, "ctrunc": unix.MSG_CTRUNC,
		"trunc": unix.MSG_TRUNC, "dontwait": unix.MSG_DONTWAIT, "eor": unix.MSG_EOR, "waitall": unix.MSG_WAITALL,
		"confirm": unix.MSG_CONFIRM, "errqueue": unix.MSG_ERRQUEUE, "nosignal": unix.MSG_NOSIGNAL, "more": unix.MSG_MORE,
		"cmsg_cloexec": unix.MSG_CMSG_CLOEXEC,
	})
	events = newVocabulary(map[string]int{
		"in": unix.POLLIN, "pri": unix.POLLPRI, "out": unix.POLLOUT, "err": unix.POLLERR, "hup": unix.POLLHUP,
		"nval": unix.POLLNVAL, "rdnorm": 0x40, "rdband": 0x80, "wrnorm": 0x100,
		"wrband": 0x200, "rdhup": unix.POLLRDHUP,
		"et": unix.EPOLLET & 0xffffffff, "oneshot": unix.EPOLLONESHOT, "exclusive": unix.EPOLLEXCLUSIVE,
	})
	epollOps = newVocabulary(map[string]int{"add": unix.EPOLL_CTL_ADD, "mod": unix.EPOLL_CTL_MOD, "del": unix.EPOLL_CTL_DEL})
	commands = newVocabulary(map[string]int{
		"F_DUPFD": unix.F_DUPFD, "F_DUPFD_CLOEXEC": unix.F_DUPFD_CLOEXEC, "F_GETFD": unix.F_GETFD, "F_SETFD": unix.F_SETFD,
		"F_GETFL": unix.F_GETFL, "F_SETFL": unix.F_SETFL,
		"O_NONBLOCK": unix.O_NONBLOCK, "O_RDWR": unix.O_RDWR, "FD_CLOEXEC": unix.FD_CLOEXEC,
	})
	requests = newVocabulary(map[string]int{"FIONREAD": unix.TIOCINQ, "SIOCOUTQ": unix.TIOCOUTQ, "SIOCATMARK": 0x8905})
	levels   = newVocabulary(map[string]int{
		"SOL_SOCKET": unix.SOL_SOCKET, "SOL_IP": unix.SOL_IP, "SOL_IPV6": unix.SOL_IPV6,
		"SOL_TCP": unix.SOL_TCP, "SOL_UDP": unix.SOL_UDP,
	})
)

// options are the options of each level.
var options = map[int]vocabulary{
	unix.SOL_SOCKET: newVocabulary(map[string]int{
		"SO_DEBUG": unix.SO_DEBUG, "SO_REUSEADDR": unix.SO_REUSEADDR, "SO_TYPE": unix.SO_TYPE, "SO_ERROR": unix.SO_ERROR,
		"SO_DONTROUTE": unix.SO_DONTROUTE, "SO_BROADCAST": unix.SO_BROADCAST, "SO_SNDBUF": unix.SO_SNDBUF,
		"SO_RCVBUF": unix.SO_RCVBUF, "SO_SNDBUFFORCE": unix.SO_SNDBUFFORCE, "SO_RCVBUFFORCE": unix.SO_RCVBUFFORCE,
		"SO_KEEPALIVE": unix.SO_KEEPALIVE, "SO_OOBINLINE": unix.SO_OOBINLINE,
		"SO_PRIORITY": unix.SO_PRIORITY, "SO_LINGER": unix.SO_LINGER, "SO_REUSEPORT": unix.SO_REUSEPORT,
		"SO_PASSCRED": unix.SO_PASSCRED, "SO_PEERCRED": unix.SO_PEERCRED, "SO_RCVLOWAT": unix.SO_RCVLOWAT,
		"SO_SNDLOWAT": unix.SO_SNDLOWAT, "SO_RCVTIMEO": unix.SO_RCVTIMEO, "SO_SNDTIMEO": unix.SO_SNDTIMEO,
		"SO_ACCEPTCONN": unix.SO_ACCEPTCONN, "SO_PEERSEC": unix.SO_PEERSEC, "SO_PASSSEC": unix.SO_PASSSEC,
		"SO_BINDTODEVICE": unix.SO_BINDTODEVICE, "SO_TIMESTAMP": unix.SO_TIMESTAMP, "SO_TIMESTAMPNS": unix.SO_TIMESTAMPNS,
		"SO_TIMESTAMPING": unix.SO_TIMESTAMPING, "SO_MARK": unix.SO_MARK, "SO_PROTOCOL": unix.SO_PROTOCOL,
		"SO_DOMAIN": unix.SO_DOMAIN, "SO_RXQ_OVFL": unix.SO_RXQ_OVFL, "SO_PEEK_OFF": unix.SO_PEEK_OFF,
		"SO_BUSY_POLL": unix.SO_BUSY_POLL, "SO_INCOMING_CPU": unix.SO_INCOMING_CPU, "SO_COOKIE": unix.SO_COOKIE,
		"SO_NO_CHECK": unix.SO_NO_CHECK, "SO_ATTACH_FILTER": unix.SO_ATTACH_FILTER, "SO_ZEROCOPY": unix.SO_ZEROCOPY,
		"SO_MEMINFO": unix.SO_MEMINFO, "SO_PEERGROUPS": unix.SO_PEERGROUPS, "SO_BINDTOIFINDEX": unix.SO_BINDTOIFINDEX,
		"SO_TXTIME": unix.SO_TXTIME, "SO_MAX_PACING_RATE": unix.SO_MAX_PACING_RATE,
	}),
	unix.SOL_IP: newVocabulary(map[string]int{
		"IP_TOS": unix.IP_TOS, "IP_TTL": unix.IP_TTL, "IP_HDRINCL": unix.IP_HDRINCL, "IP_OPTIONS": unix.IP_OPTIONS,
		"IP_RECVOPTS": unix.IP_RECVOPTS, "IP_RETOPTS": unix.IP_RETOPTS, "IP_PKTINFO": unix.IP_PKTINFO,
		"IP_MTU_DISCOVER": unix.IP_MTU_DISCOVER, "IP_RECVERR": unix.IP_RECVERR, "IP_RECVTTL": unix.IP_RECVTTL,
		"IP_RECVTOS": unix.IP_RECVTOS, "IP_MTU": unix.IP_MTU, "IP_FREEBIND": unix.IP_FREEBIND,
		"IP_TRANSPARENT": unix.IP_TRANSPARENT, "IP_RECVORIGDSTADDR": unix.IP_RECVORIGDSTADDR, "IP_MINTTL": unix.IP_MINTTL,
		"IP_BIND_ADDRESS_NO_PORT": unix.IP_BIND_ADDRESS_NO_PORT, "IP_MULTICAST_TTL": unix.IP_MULTICAST_TTL,
		"IP_MULTICAST_LOOP": unix.IP_MULTICAST_LOOP, "IP_MULTICAST_IF": unix.IP_MULTICAST_IF,
		"IP_LOCAL_PORT_RANGE": unix.IP_LOCAL_PORT_RANGE, "IP_UNICAST_IF": unix.IP_UNICAST_IF,
	}),
	unix.SOL_IPV6: newVocabulary(map[string]int{
		"IPV6_V6ONLY": unix.IPV6_V6ONLY, "IPV6_UNICAST_HOPS": unix.IPV6_UNICAST_HOPS, "IPV6_TCLASS": unix.IPV6_TCLASS,
		"IPV6_RECVTCLASS": unix.IPV6_RECVTCLASS, "IPV6_RECVPKTINFO": unix.IPV6_RECVPKTINFO,
		"IPV6_RECVHOPLIMIT": unix.IPV6_RECVHOPLIMIT, "IPV6_MTU": unix.IPV6_MTU, "IPV6_MTU_DISCOVER": unix.IPV6_MTU_DISCOVER,
		"IPV6_RECVERR": unix.IPV6_RECVERR, "IPV6_FREEBIND": unix.IPV6_FREEBIND, "IPV6_TRANSPARENT": unix.IPV6_TRANSPARENT,
		"IPV6_MULTICAST_HOPS": unix.IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_LOOP": unix.IPV6_MULTICAST_LOOP,
		"IPV6_ADDRFORM": unix.IPV6_ADDRFORM, "IPV6_AUTOFLOWLABEL": unix.IPV6_AUTOFLOWLABEL,
		"IPV6_DONTFRAG": unix.IPV6_DONTFRAG,
	}),
	unix.SOL_TCP: newVocabulary(map[string]int{
		"TCP_NODELAY": unix.TCP_NODELAY, "TCP_MAXSEG": unix.TCP_MAXSEG, "TCP_CORK": unix.TCP_CORK,
		"TCP_KEEPIDLE": unix.TCP_KEEPIDLE, "TCP_KEEPINTVL": unix.TCP_KEEPINTVL, "TCP_KEEPCNT": unix.TCP_KEEPCNT,
		"TCP_SYNCNT": unix.TCP_SYNCNT, "TCP_LINGER2": unix.TCP_LINGER2, "TCP_DEFER_ACCEPT": unix.TCP_DEFER_ACCEPT,
		"TCP_WINDOW_CLAMP": unix.TCP_WINDOW_CLAMP, "TCP_INFO": unix.TCP_INFO, "TCP_QUICKACK": unix.TCP_QUICKACK,
		"TCP_CONGESTION": unix.TCP_CONGESTION, "TCP_USER_TIMEOUT": unix.TCP_USER_TIMEOUT, "TCP_FASTOPEN": unix.TCP_FASTOPEN,
		"TCP_TIMESTAMP": unix.TCP_TIMESTAMP, "TCP_NOTSENT_LOWAT": unix.TCP_NOTSENT_LOWAT, "TCP_SAVE_SYN": unix.TCP_SAVE_SYN,
		"TCP_FASTOPEN_CONNECT": unix.TCP_FASTOPEN_CONNECT, "TCP_ULP": unix.TCP_ULP, "TCP_INQ": unix.TCP_INQ,
		"TCP_REPAIR": unix.TCP_REPAIR, "TCP_TX_DELAY": unix.TCP_TX_DELAY, "TCP_THIN_LINEAR_TIMEOUTS": unix.TCP_THIN_LINEAR_TIMEOUTS,
	}),
	unix.SOL_UDP: newVocabulary(map[string]int{"UDP_CORK": unix.UDP_CORK, "UDP_SEGMENT": unix.UDP_SEGMENT, "UDP_GRO": unix.UDP_GRO, "UDP_NO_CHECK6_TX": unix.UDP_NO_CHECK6_TX}),
}

// errname returns the name of an errno. EOPNOTSUPP and ENOTSUP are the same.
func errname(err error) string {
	if err == unix.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	if errno, ok := err.(unix.Errno); ok {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}
