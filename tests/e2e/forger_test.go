//go:build linux

package e2e

import (
	"encoding/binary"
	"net/netip"
	"os"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	fin = header.TCPFlagFin
	syn = header.TCPFlagSyn
	rst = header.TCPFlagRst
	psh = header.TCPFlagPsh
	ack = header.TCPFlagAck
	urg = header.TCPFlagUrg
)

// A segment is a TCP segment as a forger sends and sees it. Its checksums are
// right unless it is spoilt on its way.
type segment struct {
	src, dst         netip.AddrPort
	flags            header.TCPFlags
	seq, ack         uint32
	window           uint16
	options, payload []byte
}

// A forger puts packets of any shape on the device, as if from hosts that the
// kernel routes for, and sees what comes back to them. The kernel itself has no
// part in it: the addresses are not its own.
type forger struct {
	lab    *lab
	fd     int
	device int
	probes uint16
}

var (
	forger4 = netip.MustParseAddr("192.0.2.77")
	forger6 = netip.MustParseAddr("2001:db8::77")
)

// forger opens a packet socket on the device.
func (l *lab) forger() *forger {
	l.t.Helper()
	f := &forger{lab: l}
	l.ns.Do(func() {
		h, err := l.ns.Netlink()
		require.NoError(l.t, err)
		defer h.Close()
		device, err := h.LinkByName(l.link.Name())
		require.NoError(l.t, err)
		f.device = device.Attrs().Index
		f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(l.t, err)
	})
	l.t.Cleanup(func() { unix.Close(f.fd) })
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16 << 20},
	} {
		require.NoError(l.t, unix.SetsockoptInt(f.fd, option.level, option.name, option.value))
	}
	require.NoError(l.t, unix.Bind(f.fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: f.device}))
	return f
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// from is the address of a forged host that can talk to at.
func (f *forger) from(at netip.AddrPort, port uint16) netip.AddrPort {
	if at.Addr().Is4() {
		return netip.AddrPortFrom(forger4, port)
	}
	return netip.AddrPortFrom(forger6, port)
}

// send puts a packet on the device.
func (f *forger) send(packet []byte) {
	f.lab.t.Helper()
	protocol := uint16(unix.ETH_P_IP)
	if len(packet) > 0 && packet[0]>>4 == 6 {
		protocol = unix.ETH_P_IPV6
	}
	for {
		err := unix.Sendto(f.fd, packet, 0, &unix.SockaddrLinklayer{Protocol: bigEndian(protocol), Ifindex: f.device})
		if err == unix.ENOBUFS || err == unix.EAGAIN {
			time.Sleep(time.Millisecond)
			continue
		}
		require.NoError(f.lab.t, err)
		return
	}
}

// receive returns the next TCP segment that the stack sent before a deadline,
// or the deadline's error.
func (f *forger) receive(deadline time.Time) (segment, error) {
	buf := make([]byte, 1<<16)
	for {
		left := time.Until(deadline)
		if left < 0 {
			return segment{}, os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil || n == 0 {
			continue
		}
		n, _, err := unix.Recvfrom(f.fd, buf, 0)
		if err != nil {
			continue
		}
		if s, ok := parseSegment(buf[:n]); ok {
			return s, nil
		}
	}
}

// answer returns the next segment to a forged host; it must come.
func (f *forger) answer(to netip.AddrPort) segment {
	f.lab.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		s, err := f.receive(deadline)
		require.NoError(f.lab.t, err, "no answer to %v", to)
		if s.dst == to {
			return s
		}
	}
}

// answers sends packets and returns all segments that the stack answers, to
// anybody forged. A SYN to a port where nobody listens follows; when its RST is
// back, all that went before has been dealt with.
func (f *forger) answers(at netip.AddrPort, packets ...[]byte) []segment {
	f.lab.t.Helper()
	for _, p := range packets {
		f.send(p)
	}
	f.probes++
	probe := segment{
		src: f.from(at, 60000+f.probes), dst: netip.AddrPortFrom(at.Addr(), 9),
		flags: syn, seq: 1, window: 1,
	}
	f.send(probe.packet())
	var all []segment
	for deadline := time.Now().Add(patience); ; {
		s, err := f.receive(deadline)
		require.NoError(f.lab.t, err, "no answer to the probe")
		if s.dst == probe.src {
			require.Equal(f.lab.t, rst|ack, s.flags)
			return all
		}
		all = append(all, s)
	}
}

// handshake opens a connection from a forged host and returns the segment that
// would go next, without data.
func (f *forger) handshake(s segment) segment {
	f.lab.t.Helper()
	s.flags = syn
	f.send(s.packet())
	synack := f.answer(s.src)
	require.Equal(f.lab.t, syn|ack, synack.flags)
	require.Equal(f.lab.t, s.seq+1, synack.ack)
	s.flags, s.seq, s.ack, s.options = ack, s.seq+1, synack.seq+1, nil
	f.send(s.packet())
	return s
}

func toAddress(a netip.Addr) tcpip.Address {
	return tcpip.AddrFromSlice(a.AsSlice())
}

// tcp encodes the segment without an IP header.
func (s segment) tcp() []byte {
	size := header.TCPMinimumSize + (len(s.options)+3)/4*4
	b := make([]byte, size, size+len(s.payload))
	copy(b[header.TCPMinimumSize:], s.options)
	b = append(b, s.payload...)
	header.TCP(b).Encode(&header.TCPFields{
		SrcPort: s.src.Port(), DstPort: s.dst.Port(),
		SeqNum: s.seq, AckNum: s.ack,
		DataOffset: uint8(size), Flags: s.flags, WindowSize: s.window,
	})
	s.sum(b)
	return b
}

// sum sets the checksum of a TCP header with what follows it.
func (s segment) sum(b []byte) {
	h := header.TCP(b)
	h.SetChecksum(0)
	xsum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, toAddress(s.src.Addr()), toAddress(s.dst.Addr()), uint16(len(b)))
	h.SetChecksum(^checksum.Checksum(b, xsum))
}

// packet encodes the segment with its IP header.
func (s segment) packet() []byte { return s.wrap(s.tcp()) }

// wrap puts an IP header before bytes that are meant to be TCP.
func (s segment) wrap(tcp []byte) []byte {
	if s.src.Addr().Is4() {
		return s.fragment4(tcp, 0, 0, false)
	}
	b := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(tcp))
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(tcp)), TransportProtocol: header.TCPProtocolNumber, HopLimit: 64,
		SrcAddr: toAddress(s.src.Addr()), DstAddr: toAddress(s.dst.Addr()),
	})
	return append(b, tcp...)
}

// fragment encodes a piece of the packet's payload, from a multiple of 8 on.
func (s segment) fragment(piece []byte, id uint16, offset int, more bool) []byte {
	if s.src.Addr().Is4() {
		return s.fragment4(piece, id, offset, more)
	}
	b := make([]byte, header.IPv6MinimumSize+header.IPv6FragmentHeaderSize)
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(header.IPv6FragmentHeaderSize + len(piece)), TransportProtocol: unix.IPPROTO_FRAGMENT, HopLimit: 64,
		SrcAddr: toAddress(s.src.Addr()), DstAddr: toAddress(s.dst.Addr()),
	})
	ext := b[header.IPv6MinimumSize:]
	ext[0] = byte(header.TCPProtocolNumber)
	binary.BigEndian.PutUint16(ext[2:], uint16(offset))
	if more {
		ext[3] |= 1
	}
	binary.BigEndian.PutUint32(ext[4:], uint32(id))
	return append(b, piece...)
}

func (s segment) fragment4(piece []byte, id uint16, offset int, more bool) []byte {
	b := make([]byte, header.IPv4MinimumSize)
	flags := uint8(0)
	if more {
		flags = header.IPv4FlagMoreFragments
	}
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b) + len(piece)), ID: id, Flags: flags, FragmentOffset: uint16(offset),
		TTL: 64, Protocol: uint8(header.TCPProtocolNumber),
		SrcAddr: toAddress(s.src.Addr()), DstAddr: toAddress(s.dst.Addr()),
	})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	return append(b, piece...)
}

func parseSegment(packet []byte) (segment, bool) {
	h := tcpOf(packet)
	if h == nil || int(h.DataOffset()) > len(h) {
		return segment{}, false
	}
	var src, dst netip.Addr
	if packet[0]>>4 == 4 {
		src, _ = netip.AddrFromSlice(packet[12:16])
		dst, _ = netip.AddrFromSlice(packet[16:20])
	} else {
		src, _ = netip.AddrFromSlice(packet[8:24])
		dst, _ = netip.AddrFromSlice(packet[24:40])
	}
	return segment{
		src:   netip.AddrPortFrom(src, h.SourcePort()),
		dst:   netip.AddrPortFrom(dst, h.DestinationPort()),
		flags: h.Flags(), seq: h.SequenceNumber(), ack: h.AckNumber(), window: h.WindowSize(),
		options: append([]byte(nil), h.Options()...),
		payload: append([]byte(nil), h.Payload()...),
	}, true
}
