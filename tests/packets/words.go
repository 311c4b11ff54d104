//go:build linux

package packets

import "golang.org/x/sys/unix"

// words are the constants that scripts may name.
var words = map[string]int{
	"SOCK_STREAM": unix.SOCK_STREAM, "IPPROTO_TCP": unix.IPPROTO_TCP,
	"SHUT_RD": unix.SHUT_RD, "SHUT_WR": unix.SHUT_WR, "SHUT_RDWR": unix.SHUT_RDWR,
	"F_SETFL": unix.F_SETFL, "O_RDWR": unix.O_RDWR, "O_NONBLOCK": unix.O_NONBLOCK,
	"SIOCINQ": unix.TIOCINQ, "SIOCOUTQ": unix.TIOCOUTQ, // linux/sockios.h

	"MSG_MORE": unix.MSG_MORE, "MSG_DONTWAIT": unix.MSG_DONTWAIT, "MSG_NOSIGNAL": unix.MSG_NOSIGNAL, "MSG_OOB": unix.MSG_OOB,

	"POLLIN": unix.POLLIN, "POLLOUT": unix.POLLOUT, "POLLERR": unix.POLLERR, "POLLHUP": unix.POLLHUP, "POLLRDHUP": unix.POLLRDHUP,

	"SOL_SOCKET": unix.SOL_SOCKET, "SOL_IP": unix.SOL_IP, "SOL_IPV6": unix.SOL_IPV6, "SOL_TCP": unix.SOL_TCP,

	"SO_REUSEADDR": unix.SO_REUSEADDR, "SO_RCVBUF": unix.SO_RCVBUF, "SO_SNDBUF": unix.SO_SNDBUF, "SO_ERROR": unix.SO_ERROR,
	"SO_KEEPALIVE": unix.SO_KEEPALIVE, "SO_LINGER": unix.SO_LINGER, "SO_PRIORITY": unix.SO_PRIORITY, "SO_MARK": unix.SO_MARK,
	"SO_RCVLOWAT": unix.SO_RCVLOWAT,

	"IP_TTL": unix.IP_TTL, "IP_TOS": unix.IP_TOS,
	"IPV6_UNICAST_HOPS": unix.IPV6_UNICAST_HOPS, "IPV6_TCLASS": unix.IPV6_TCLASS,

	"TCP_NODELAY": unix.TCP_NODELAY, "TCP_CORK": unix.TCP_CORK, "TCP_MAXSEG": unix.TCP_MAXSEG, "TCP_QUICKACK": unix.TCP_QUICKACK,
	"TCP_KEEPIDLE": unix.TCP_KEEPIDLE, "TCP_KEEPINTVL": unix.TCP_KEEPINTVL, "TCP_KEEPCNT": unix.TCP_KEEPCNT,
	"TCP_USER_TIMEOUT": unix.TCP_USER_TIMEOUT, "TCP_LINGER2": unix.TCP_LINGER2, "TCP_SYNCNT": unix.TCP_SYNCNT,
	"TCP_DEFER_ACCEPT": unix.TCP_DEFER_ACCEPT, "TCP_WINDOW_CLAMP": unix.TCP_WINDOW_CLAMP, "TCP_CONGESTION": unix.TCP_CONGESTION,
	"TCP_NOTSENT_LOWAT": unix.TCP_NOTSENT_LOWAT,
}

// versionWords are the words of one version of IP only.
var versionWords = map[string]int{"SOL_IP": 4, "SOL_IPV6": 6}

// errnos are the numbers of the errors that unix.ErrnoName knows.
var errnos = func() map[string]unix.Errno {
	byName := make(map[string]unix.Errno)
	const last = unix.EHWPOISON
	for e := unix.Errno(1); e <= last; e++ {
		if name := unix.ErrnoName(e); name != "" {
			byName[name] = e
		}
	}
	return byName
}()
