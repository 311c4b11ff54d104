//go:build linux

package socket

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// infoOption is TCP_INFO, of which netstack knows a part: the other fields are 0.
// On a listener tcpi_unacked is the length of the accept queue and tcpi_sacked its
// limit (tcp_get_info).
func (t *tcpSocket) infoOption() ([]byte, error) {
	state := t.state()
	info := unix.TCPInfo{State: uint8(state)} // netstack counts as Linux does
	switch {
	case state == tcp.StateListen:
		s := t.listener.Stats()
		info.Unacked, info.Sacked = uint32(s.AcceptQueue), uint32(s.Limit)
	case t.ep != nil && !t.over:
		i := t.conn.Info()
		info.Rto = uint32(i.RTO.Microseconds())
		info.Rtt = uint32(i.RTT.Microseconds())
		info.Rttvar = uint32(i.RTTVariance.Microseconds())
		info.Snd_mss = uint32(i.MaxSegment)
		info.Unacked = uint32(i.Outstanding)
		info.Snd_ssthresh = i.SlowStartThreshold
		info.Snd_cwnd = i.CongestionWindow
		info.Pmtu = uint32(t.ns.stack.MTU())
		const timestamps, sack = 1, 2 // TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK
		if i.Timestamps {
			info.Options |= timestamps
		}
		if i.SACK {
			info.Options |= sack
		}
	}
	return structOption(&info), nil
}
