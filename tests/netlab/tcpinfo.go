//go:build linux

package netlab

import (
	"os"

	"golang.org/x/sys/unix"
)

// TCPState is a state of a kernel socket, numbered as in Linux
// include/net/tcp_states.h.
type TCPState uint8

// The states that a client passes through.
const (
	Established TCPState = 1
	SynSent     TCPState = 2
	FinWait1    TCPState = 4
	FinWait2    TCPState = 5
	TimeWait    TCPState = 6
	Closed      TCPState = 7
	CloseWait   TCPState = 8
	LastACK     TCPState = 9
	Closing     TCPState = 11
)

// Info returns the TCP_INFO of the socket, in any state.
func (s *Socket) Info() (*unix.TCPInfo, error) {
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt TCP_INFO", err)
	}
	return info, nil
}

// State returns the TCP state of the socket. A client whose handshake lacks
// nothing but the server's approval is Established; see Wait for errors.
func (s *Socket) State() (TCPState, error) {
	info, err := s.Info()
	if err != nil {
		return 0, err
	}
	return TCPState(info.State), nil
}

// Retransmits returns how many segments the socket has sent again in its life.
// Before data are sent, all of them were SYNs: 0 means that the first SYN was
// answered, or is not yet overdue.
func (s *Socket) Retransmits() (int, error) {
	info, err := s.Info()
	if err != nil {
		return 0, err
	}
	return int(info.Total_retrans), nil
}
