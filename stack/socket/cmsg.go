//go:build linux

package socket

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// put appends a control message to what a receive returns, as put_cmsg does: one
// that does not fit is cut, or left out if not even its header fits, and
// MSG_CTRUNC says so.
func (m *message) put(level, typ int, data []byte) {
	room := cap(m.control) - len(m.control)
	if room < unix.SizeofCmsghdr {
		m.flags |= unix.MSG_CTRUNC
		return
	}
	length := unix.CmsgLen(len(data))
	if room < length {
		m.flags |= unix.MSG_CTRUNC
		length = room
	}
	start := len(m.control)
	m.control = m.control[:start+min(unix.CmsgSpace(len(data)), room)]
	b := m.control[start:]
	clear(b)
	h := unix.Cmsghdr{Level: int32(level), Type: int32(typ)}
	h.SetLen(length)
	copy(b, structOption(&h))
	copy(b[unix.CmsgLen(0):length], data)
}

func (m *message) putInt(level, typ, value int) {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(int32(value)))
	m.put(level, typ, b[:])
}

// eachControl calls f with every control message of a send until f fails. EINVAL
// for one whose length does not add up (CMSG_OK); a rest that is too short for a
// header is ignored (CMSG_NXTHDR).
func eachControl(b []byte, f func(level, typ int, data []byte) error) error {
	for len(b) >= unix.SizeofCmsghdr {
		var h unix.Cmsghdr
		structValue(&h, b)
		if uint64(h.Len) < unix.SizeofCmsghdr || uint64(h.Len) > uint64(len(b)) {
			return unix.EINVAL
		}
		length := int(h.Len)
		if err := f(int(h.Level), int(h.Type), b[unix.CmsgLen(0):length]); err != nil {
			return err
		}
		b = b[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(b)):]
	}
	return nil
}

// describe adds the control messages that the socket has asked for, in the
// kernel's order (udp_recvmsg, udpv6_recvmsg). The receive queue's lock is held.
func (u *udpSocket) describe(m *message, d *datagram) {
	want := u.wanted.Load()
	if want == nil {
		return
	}
	switch want.timestamp {
	case unix.SO_TIMESTAMP:
		tv := unix.NsecToTimeval(d.at.UnixNano())
		m.put(unix.SOL_SOCKET, unix.SCM_TIMESTAMP, structOption(&tv))
	case unix.SO_TIMESTAMPNS:
		ts := unix.NsecToTimespec(d.at.UnixNano())
		m.put(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, structOption(&ts))
	}
	if want.packetInfo6 {
		info := unix.Inet6Pktinfo{Addr: d.to.As16(), Ifindex: uint32(d.nic)}
		m.put(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, structOption(&info))
	}
	if d.to.Is4() {
		if want.packetInfo {
			info := unix.Inet4Pktinfo{Ifindex: d.nic, Spec_dst: u.answerFrom(d.to), Addr: d.to.As4()}
			m.put(unix.IPPROTO_IP, unix.IP_PKTINFO, structOption(&info))
		}
		if want.ttl {
			m.putInt(unix.IPPROTO_IP, unix.IP_TTL, int(d.ttl))
		}
		if want.tos {
			m.put(unix.IPPROTO_IP, unix.IP_TOS, []byte{d.tos})
		}
		return
	}
	if want.hopLimit {
		m.putInt(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, int(d.ttl))
	}
	if want.trafficClass {
		m.putInt(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(d.tos))
	}
}

// answerFrom returns the address that an answer to what came for an address
// should come from (fib_compute_spec_dst).
func (u *udpSocket) answerFrom(to netip.Addr) [4]byte {
	if to.IsMulticast() || u.ns.broadcast(to) {
		to = u.ns.primary(to)
	}
	return to.As4()
}

// A sendControl is what control messages change for one datagram.
type sendControl struct {
	ttl    int // 0 to 255, -1 for the socket's
	tos    int // 0 to 255, -1 for the socket's
	source netip.Addr
	device tcpip.NICID
}

// parse4 reads the control messages of a datagram over IPv4 (ip_cmsg_send).
func (c *sendControl) parse4(control []byte, domain int) error {
	return eachControl(control, func(level, typ int, data []byte) error {
		switch {
		case level == unix.SOL_SOCKET:
			return socketControl(typ)
		case level == unix.SOL_UDP:
			return unix.EINVAL // UDP_SEGMENT
		case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_PKTINFO && domain == unix.AF_INET6:
			var info unix.Inet6Pktinfo
			if structValue(&info, data) != nil {
				return unix.EINVAL
			}
			a := netip.AddrFrom16(info.Addr)
			if !a.Is4In6() {
				return unix.EINVAL
			}
			return c.from(a.Unmap(), tcpip.NICID(info.Ifindex))
		case level != unix.IPPROTO_IP:
			return nil
		}
		switch typ {
		case unix.IP_PKTINFO:
			var info unix.Inet4Pktinfo
			if len(data) != int(unsafe.Sizeof(info)) {
				return unix.EINVAL
			}
			structValue(&info, data)
			return c.from(netip.AddrFrom4(info.Spec_dst), tcpip.NICID(info.Ifindex))
		case unix.IP_TTL:
			v, err := intControl(data)
			if err != nil || v < 1 || v > 255 {
				return unix.EINVAL
			}
			c.ttl = v
		case unix.IP_TOS:
			v, err := intControl(data)
			if len(data) == 1 {
				v, err = int(data[0]), nil
			}
			if err != nil || v < 0 || v > 255 {
				return unix.EINVAL
			}
			c.tos = v
		default:
			return unix.EINVAL
		}
		return nil
	})
}

// parse6 reads the control messages of a datagram over IPv6
// (ip6_datagram_send_ctl).
func (c *sendControl) parse6(control []byte) error {
	return eachControl(control, func(level, typ int, data []byte) error {
		switch {
		case level == unix.SOL_SOCKET:
			return socketControl(typ)
		case level == unix.SOL_UDP:
			return unix.EINVAL // UDP_SEGMENT
		case level != unix.IPPROTO_IPV6:
			return nil
		}
		switch typ {
		case unix.IPV6_PKTINFO:
			var info unix.Inet6Pktinfo
			if structValue(&info, data) != nil {
				return unix.EINVAL
			}
			return c.from(netip.AddrFrom16(info.Addr), tcpip.NICID(info.Ifindex))
		case unix.IPV6_HOPLIMIT, unix.IPV6_TCLASS:
			v, err := intControl(data)
			if err != nil || v < -1 || v > 255 {
				return unix.EINVAL
			}
			if typ == unix.IPV6_HOPLIMIT {
				c.ttl = v
			} else {
				c.tos = v
			}
		default:
			return unix.EINVAL
		}
		return nil
	})
}

// from notes the source address and the interface of a datagram.
func (c *sendControl) from(source netip.Addr, device tcpip.NICID) error {
	if device != 0 {
		c.device = device
	}
	c.source = source
	if source.IsUnspecified() {
		c.source = netip.Addr{}
	}
	return nil
}

// intControl reads the data of a control message that is an int and nothing else.
func intControl(data []byte) (int, error) {
	if len(data) != 4 {
		return 0, unix.EINVAL
	}
	return intValue(data)
}

// socketControl judges a control message at SOL_SOCKET (__sock_cmsg_send): those
// of unix sockets are ignored.
func socketControl(typ int) error {
	if typ == unix.SCM_RIGHTS || typ == unix.SCM_CREDENTIALS {
		return nil
	}
	return unix.EINVAL
}
