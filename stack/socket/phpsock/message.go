//go:build linux

package phpsock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Message is the array of SendMsg and RecvMsg.
type Message struct {
	// Name and Port are the peer's address; "" is none.
	Name string
	Port int
	// IOV is the data: what to send, piece by piece, or what was received.
	IOV []string
	// Control are the control messages, with their data as the kernel lays it
	// out.
	Control []Control
	// BufferSize and ControlLen are how much RecvMsg has room for, in bytes.
	BufferSize, ControlLen int
	// Flags are those of what was received, such as MSG_TRUNC.
	Flags int
}

// A Control is a control message.
type Control struct {
	Level, Type int
	Data        []byte
}

// SendMsg is socket_sendmsg.
func (s *Sockets) SendMsg(sock *Socket, m Message, flags int) (int, bool) {
	return s.count(sock, "sendmsg", "error in sendmsg", func() (int, error) {
		var to unix.Sockaddr
		if m.Name != "" {
			var err error
			if to, err = s.sockaddr(sock, m.Name, m.Port); err != nil {
				return 0, err
			}
		}
		iov := make([][]byte, len(m.IOV))
		for i, piece := range m.IOV {
			iov[i] = []byte(piece)
		}
		var oob []byte
		for _, c := range m.Control {
			oob = append(oob, c.encode()...)
		}
		return s.p.Sendmsg(sock.fd, iov, oob, to, flags)
	})
}

// encode is the control message in the kernel's layout.
func (c *Control) encode() []byte {
	b := make([]byte, unix.CmsgSpace(len(c.Data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(c.Level), int32(c.Type)
	h.SetLen(unix.CmsgLen(len(c.Data)))
	copy(b[unix.CmsgLen(0):], c.Data)
	return b
}

// RecvMsg is socket_recvmsg: it reads BufferSize and ControlLen of m and fills in
// the rest.
func (s *Sockets) RecvMsg(sock *Socket, m *Message, flags int) (int, bool) {
	return s.count(sock, "recvmsg", "error in recvmsg", func() (int, error) {
		b, oob := make([]byte, max(m.BufferSize, 0)), make([]byte, max(m.ControlLen, 0))
		n, oobn, got, from, err := s.p.Recvmsg(sock.fd, [][]byte{b}, oob, flags)
		if err != nil {
			return 0, err
		}
		m.Name, m.Port = text(from)
		m.IOV, m.Flags, m.Control = []string{string(b[:min(n, len(b))])}, got, nil
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err == nil || got&unix.MSG_CTRUNC != 0 { // the last one may be cut
			for _, c := range messages {
				m.Control = append(m.Control, Control{int(c.Header.Level), int(c.Header.Type), c.Data})
			}
		}
		return n, nil
	})
}

// CmsgSpace is socket_cmsg_space: the room that a control message takes, in bytes;
// n is how many descriptors SCM_RIGHTS has. FALSE for a level and type that are
// not known.
func (s *Sockets) CmsgSpace(level, typ int, n ...int) (int, bool) {
	size, each, ok := controlSize(level, typ)
	if !ok {
		s.warn("cmsg_space", "The pair level %d and/or type %d is not supported", level, typ)
		return 0, false
	}
	count := option(n, 0)
	if count < 0 || count > mostControl {
		s.warn("cmsg_space", "The fourth argument is out of range")
		return 0, false
	}
	return unix.CmsgSpace(size + count*each), true
}

// mostControl bounds how many things a control message is asked to have.
const mostControl = 1 << 20

// controlSize returns the size of the data of a control message, and of each thing
// that it can have several of.
func controlSize(level, typ int) (size, each int, ok bool) {
	type pair struct{ level, typ int }
	sizes := map[pair][2]int{
		{unix.SOL_SOCKET, unix.SCM_RIGHTS}:      {0, 4},
		{unix.SOL_SOCKET, unix.SCM_CREDENTIALS}: {unix.SizeofUcred, 0},
		{unix.SOL_SOCKET, unix.SCM_TIMESTAMP}:   {16, 0},
		{unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS}: {16, 0},
		{unix.IPPROTO_IP, unix.IP_PKTINFO}:      {unix.SizeofInet4Pktinfo, 0},
		{unix.IPPROTO_IP, unix.IP_TTL}:          {4, 0},
		{unix.IPPROTO_IP, unix.IP_TOS}:          {1, 0},
		{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO}:  {unix.SizeofInet6Pktinfo, 0},
		{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}: {4, 0},
		{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:   {4, 0},
	}
	v, ok := sizes[pair{level, typ}]
	return v[0], v[1], ok
}
