//go:build linux

package socket

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// control is a control message as the kernel lays it out.
func control(level, typ int, data []byte) []byte {
	m := message{control: make([]byte, 0, unix.CmsgSpace(len(data)))}
	m.put(level, typ, data)
	return m.control
}

func packetInfo(ifindex int32, source string) []byte {
	return structOption(&unix.Inet4Pktinfo{Ifindex: ifindex, Spec_dst: netip.MustParseAddr(source).As4()})
}

func packetInfo6(ifindex uint32, source string) []byte {
	return structOption(&unix.Inet6Pktinfo{Ifindex: ifindex, Addr: netip.MustParseAddr(source).As16()})
}

func TestControlMessagesArriveInTheKernelsOrder(t *testing.T) {
	a, b := twoProcesses(t)
	receiver := b.datagramSocket(t, unix.AF_INET, "0.0.0.0:9")
	for _, o := range []optionName{
		{unix.IPPROTO_IP, unix.IP_RECVTOS}, {unix.IPPROTO_IP, unix.IP_RECVTTL}, {unix.IPPROTO_IP, unix.IP_PKTINFO},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMP}, {unix.SOL_SOCKET, unix.SO_TIMESTAMPNS},
	} {
		require.NoError(t, b.SetsockoptInt(receiver, o.level, o.name, 1))
	}
	sender := a.datagramSocket(t, unix.AF_INET, "")
	oob := control(unix.IPPROTO_IP, unix.IP_TTL, intOption(7))
	oob = append(oob, control(unix.IPPROTO_IP, unix.IP_TOS, []byte{0x10})...)
	oob = append(oob, control(unix.IPPROTO_IP, unix.IP_PKTINFO, packetInfo(0, "192.0.2.11"))...)
	_, err := a.Sendmsg(sender, [][]byte{[]byte("x")}, oob, inet("192.0.2.2:9"), 0)
	require.NoError(t, err)

	before := time.Now()
	got := make([]byte, 200)
	n, oobn, flags, from, err := b.Recvmsg(receiver, [][]byte{make([]byte, 8)}, got, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Zero(t, flags)
	require.Equal(t, [4]byte{192, 0, 2, 11}, from.(*unix.SockaddrInet4).Addr, "the source that IP_PKTINFO asked for")

	messages, err := unix.ParseSocketControlMessage(got[:oobn])
	require.NoError(t, err)
	require.Len(t, messages, 4)
	var ts unix.Timespec
	require.NoError(t, structValue(&ts, messages[0].Data))
	require.WithinDuration(t, before, time.Unix(ts.Unix()), time.Minute)
	require.Equal(t, []unix.SocketControlMessage{
		{Header: messages[0].Header, Data: messages[0].Data},
		{Header: headerOf(unix.IPPROTO_IP, unix.IP_PKTINFO, 12), Data: structOption(&unix.Inet4Pktinfo{
			Ifindex: 1, Spec_dst: [4]byte{192, 0, 2, 2}, Addr: [4]byte{192, 0, 2, 2}})},
		{Header: headerOf(unix.IPPROTO_IP, unix.IP_TTL, 4), Data: intOption(7)},
		{Header: headerOf(unix.IPPROTO_IP, unix.IP_TOS, 1), Data: []byte{0x10}},
	}, messages)
	require.Equal(t, headerOf(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, 16), messages[0].Header, "the format asked for last")
}

func headerOf(level, typ int32, size int) unix.Cmsghdr {
	h := unix.Cmsghdr{Level: level, Type: typ}
	h.SetLen(unix.CmsgLen(size))
	return h
}

func TestControlMessagesOverIPv6(t *testing.T) {
	a, b := twoProcesses(t)
	receiver := b.datagramSocket(t, unix.AF_INET6, "[::]:9")
	for _, name := range []int{unix.IPV6_RECVPKTINFO, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS} {
		require.NoError(t, b.SetsockoptInt(receiver, unix.IPPROTO_IPV6, name, 1))
	}
	require.NoError(t, b.SetsockoptInt(receiver, unix.IPPROTO_IP, unix.IP_RECVTTL, 1))

	sender := a.datagramSocket(t, unix.AF_INET6, "")
	oob := control(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, intOption(7))
	oob = append(oob, control(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, intOption(0x10))...)
	oob = append(oob, control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, packetInfo6(1, "2001:db8::1"))...)
	receive := func() []unix.SocketControlMessage {
		got := make([]byte, 200)
		_, oobn, _, _, err := b.Recvmsg(receiver, nil, got, 0)
		require.NoError(t, err)
		messages, err := unix.ParseSocketControlMessage(got[:oobn])
		require.NoError(t, err)
		return messages
	}
	_, err := a.Sendmsg(sender, nil, oob, inet("[2001:db8::2]:9"), 0)
	require.NoError(t, err)
	require.Equal(t, []unix.SocketControlMessage{
		{Header: headerOf(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, 20), Data: packetInfo6(1, "2001:db8::2")},
		{Header: headerOf(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, 4), Data: intOption(7)},
		{Header: headerOf(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4), Data: intOption(0x10)},
	}, receive())

	_, err = a.Sendto(sender, nil, 0, inet("192.0.2.2:9"))
	require.NoError(t, err)
	require.Equal(t, []unix.SocketControlMessage{
		{Header: headerOf(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, 20), Data: packetInfo6(1, "::ffff:192.0.2.2")},
		{Header: headerOf(unix.IPPROTO_IP, unix.IP_TTL, 4), Data: intOption(64)},
	}, receive(), "what came over IPv4")
}

func TestControlMessagesThatDoNotFit(t *testing.T) {
	const ttl = 4
	for _, tc := range []struct {
		room, used, flags int
	}{
		{200, unix.CmsgSpace(ttl), 0},
		{unix.CmsgSpace(ttl), unix.CmsgSpace(ttl), 0},
		{unix.CmsgLen(ttl), unix.CmsgLen(ttl), 0}, // the padding may be missing
		{unix.CmsgLen(ttl) - 1, unix.CmsgLen(ttl) - 1, unix.MSG_CTRUNC},
		{unix.SizeofCmsghdr, unix.SizeofCmsghdr, unix.MSG_CTRUNC},
		{unix.SizeofCmsghdr - 1, 0, unix.MSG_CTRUNC},
		{0, 0, unix.MSG_CTRUNC},
	} {
		m := message{control: make([]byte, 0, tc.room)}
		m.putInt(unix.IPPROTO_IP, unix.IP_TTL, 64)
		require.Len(t, m.control, tc.used, "%d bytes", tc.room)
		require.Equal(t, tc.flags, m.flags)
		if tc.used > 0 {
			var h unix.Cmsghdr
			require.NoError(t, structValue(&h, m.control))
			require.EqualValues(t, min(unix.CmsgLen(ttl), tc.room), h.Len)
		}
	}
}

// What TestBadControlMessages wants was seen on Linux 6.18.
func TestBadControlMessages(t *testing.T) {
	a, _ := twoProcesses(t)
	four, six := inet("127.0.0.1:9"), inet("[::1]:9")
	const ip, ip6 = unix.IPPROTO_IP, unix.IPPROTO_IPV6
	long := control(ip, unix.IP_TTL, intOption(1))
	binary.NativeEndian.PutUint64(long, 100)
	short := control(ip, unix.IP_TTL, intOption(1))
	binary.NativeEndian.PutUint64(short, unix.SizeofCmsghdr-1)
	for _, tc := range []struct {
		name string
		to   unix.Sockaddr
		oob  []byte
		err  error
	}{
		{"longer than there is", four, long, unix.EINVAL},
		{"shorter than its header", four, short, unix.EINVAL},
		{"no header", four, make([]byte, unix.SizeofCmsghdr-1), nil},
		{"TTL 0", four, control(ip, unix.IP_TTL, intOption(0)), unix.EINVAL},
		{"TTL 256", four, control(ip, unix.IP_TTL, intOption(256)), unix.EINVAL},
		{"TTL in a char", four, control(ip, unix.IP_TTL, []byte{1}), unix.EINVAL},
		{"TOS 300", four, control(ip, unix.IP_TOS, intOption(300)), unix.EINVAL},
		{"TOS in two chars", four, control(ip, unix.IP_TOS, []byte{1, 2}), unix.EINVAL},
		{"unknown type", four, control(ip, 99, nil), unix.EINVAL},
		{"unknown level", four, control(77, 1, nil), nil},
		{"IPv6 over IPv4", four, control(ip6, unix.IPV6_HOPLIMIT, intOption(0)), nil},
		{"unknown type of the socket", four, control(unix.SOL_SOCKET, 99, nil), unix.EINVAL},
		{"SCM_RIGHTS", four, control(unix.SOL_SOCKET, unix.SCM_RIGHTS, intOption(0)), nil},
		{"short packet info", four, control(ip, unix.IP_PKTINFO, []byte{1, 2, 3}), unix.EINVAL},
		{"no such interface", four, control(ip, unix.IP_PKTINFO, packetInfo(99, "0.0.0.0")), unix.ENODEV},
		{"not an own source", four, control(ip, unix.IP_PKTINFO, packetInfo(0, "198.51.100.1")), unix.ENETUNREACH},
		{"broadcast source", four, control(ip, unix.IP_PKTINFO, packetInfo(0, "255.255.255.255")), unix.EINVAL},
		{"hop limit -2", six, control(ip6, unix.IPV6_HOPLIMIT, intOption(-2)), unix.EINVAL},
		{"hop limit -1", six, control(ip6, unix.IPV6_HOPLIMIT, intOption(-1)), nil},
		{"hop limit 256", six, control(ip6, unix.IPV6_HOPLIMIT, intOption(256)), unix.EINVAL},
		{"traffic class -1", six, control(ip6, unix.IPV6_TCLASS, intOption(-1)), nil},
		{"traffic class 256", six, control(ip6, unix.IPV6_TCLASS, intOption(256)), unix.EINVAL},
		{"unknown IPv6 type", six, control(ip6, 99, nil), unix.EINVAL},
		{"IPv4 over IPv6", six, control(ip, unix.IP_TTL, intOption(0)), nil},
		{"short IPv6 packet info", six, control(ip6, unix.IPV6_PKTINFO, []byte{0}), unix.EINVAL},
		{"no such IPv6 interface", six, control(ip6, unix.IPV6_PKTINFO, packetInfo6(99, "::")), unix.ENODEV},
		{"not an own IPv6 source", six, control(ip6, unix.IPV6_PKTINFO, packetInfo6(0, "2001:db8:1::1")), unix.EINVAL},
	} {
		domain := unix.AF_INET
		if tc.to == six {
			domain = unix.AF_INET6
		}
		s := a.datagramSocket(t, domain, "")
		_, err := a.Sendmsg(s, nil, tc.oob, tc.to, 0)
		if tc.err == nil {
			require.NoError(t, err, tc.name)
		} else {
			require.Equal(t, tc.err, err, tc.name)
		}
		require.NoError(t, a.Close(s))
	}
}

// FuzzControlMessages looks for control messages that are accepted and do not mean
// what they say.
func FuzzControlMessages(f *testing.F) {
	f.Add(control(unix.IPPROTO_IP, unix.IP_TTL, intOption(7)), true)
	f.Add(append(control(unix.IPPROTO_IP, unix.IP_TOS, []byte{1}), control(unix.IPPROTO_IP, unix.IP_PKTINFO, packetInfo(1, "192.0.2.1"))...), true)
	f.Add(control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, packetInfo6(1, "2001:db8::1")), false)
	f.Add(control(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, intOption(-1)), false)
	f.Add([]byte{0x10}, true)
	f.Fuzz(func(t *testing.T, oob []byte, v4 bool) {
		c := sendControl{ttl: -1, tos: -1}
		var err error
		if v4 {
			err = c.parse4(oob, unix.AF_INET6)
		} else {
			err = c.parse6(oob)
		}
		if err != nil {
			require.Equal(t, unix.EINVAL, err)
			return
		}
		require.True(t, c.ttl >= -1 && c.ttl <= 255 && c.tos >= -1 && c.tos <= 255, "%+v", c)

		// What was understood survives being written again.
		again, m := sendControl{ttl: -1, tos: -1}, message{control: make([]byte, 0, 256)}
		level, ttl, tos := unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, unix.IPV6_TCLASS
		if v4 {
			level, ttl, tos = unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
		}
		if c.ttl >= 0 {
			m.putInt(level, ttl, c.ttl)
		}
		if c.tos >= 0 {
			m.putInt(level, tos, c.tos)
		}
		if c.source.IsValid() || c.device != 0 {
			if v4 {
				info := unix.Inet4Pktinfo{Ifindex: int32(c.device)}
				if c.source.IsValid() {
					info.Spec_dst = c.source.As4()
				}
				m.put(level, unix.IP_PKTINFO, structOption(&info))
			} else {
				info := unix.Inet6Pktinfo{Ifindex: uint32(c.device)}
				if c.source.IsValid() {
					info.Addr = c.source.As16()
				}
				m.put(level, unix.IPV6_PKTINFO, structOption(&info))
			}
		}
		require.Zero(t, m.flags)
		if v4 {
			require.NoError(t, again.parse4(m.control, unix.AF_INET6))
		} else {
			require.NoError(t, again.parse6(m.control))
		}
		require.Equal(t, c, again)
	})
}
