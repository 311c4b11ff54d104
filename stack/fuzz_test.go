package stack_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
)

// FuzzPassiveOpen throws segments at a listener in virtual time. The input is a
// script of records:
//
//	kind  what comes
//	0     a raw IP packet: length, bytes
//	1     a segment that holds together: client, flags, seq, ack, options length,
//	      options, payload length; numbers are relative to what the client and
//	      the listener said last
//	2     time: 16 bits of milliseconds
//	3     accept
//
// Nothing may panic, both queues stay within their limits, and an honest client
// is served afterwards.
func FuzzPassiveOpen(f *testing.F) {
	syn := []byte{1, 0, byte(listenq.SYN), 0, 0, 0, 0}
	ack := []byte{1, 0, byte(listenq.ACK), 1, 1, 0, 0}
	seed := func(records ...[]byte) (script []byte) {
		for _, r := range records {
			script = append(script, r...)
		}
		return script
	}
	f.Add(seed(syn, ack, []byte{3}))
	f.Add(seed(syn, []byte{2, 255, 255}, ack))
	f.Add(seed(syn, []byte{1, 0, byte(listenq.ACK | listenq.FIN), 1, 1, 0, 9}, []byte{1, 0, byte(listenq.RST), 11, 0, 0, 0}, []byte{3}))
	f.Add(seed([]byte{1, 0, byte(listenq.SYN), 0, 0, 4, 2, 4, 0, 1, 0}, []byte{1, 0, byte(listenq.ACK), 1, 1, 0, 200}))
	f.Add(seed([]byte{1, 1, byte(listenq.SYN | listenq.FIN), 0, 0, 3, 3, 3, 255, 0}, []byte{0, 3, 0x45, 0, 0}))
	for _, flags := range []listenq.Flags{listenq.RST, listenq.SYN | listenq.ACK, 0, listenq.SYN | listenq.RST} {
		f.Add(seed(syn, []byte{1, 0, byte(flags), 1, 1, 0, 0}, ack))
	}

	f.Fuzz(fuzzOne)
}

func fuzzOne(t *testing.T, script []byte) {
	r, s := virtualStack(t)
	const backlog = 2
	l, err := s.Listen("tcp", ":80", backlog, nil)
	require.NoError(t, err)
	next := func(n int) []byte {
		b := make([]byte, n)
		script = script[copy(b, script):]
		return b
	}
	for steps := 0; len(script) > 0 && steps < 200; steps++ {
		switch next(1)[0] % 4 {
		case 0:
			r.deliver(next(int(next(1)[0])))
		case 1:
			b := next(5)
			options := next(int(b[4]) % 41)
			payload := int(next(1)[0])
			seq := 1000 + uint32(int32(int8(b[2])))
			ack := r.lastSeq + uint32(int32(int8(b[3])))
			r.deliver(segmentPacket(spoofed(int(b[0]%4)), listenq.Flags(b[1]), seq, ack, options, payload))
		case 2:
			r.clock.Advance(time.Duration(binary.BigEndian.Uint16(next(2))) * time.Millisecond)
		case 3:
			if c, err := l.TryAccept(); err == nil {
				c.Close()
			}
		}
		r.clock.Settle()
		stats := l.Stats()
		if stats.SYNQueue > backlog+1+4 || stats.AcceptQueue > backlog+1 { // 4 clients may revive TIME-WAIT
			t.Fatalf("queues beyond their limits: %+v", stats)
		}
	}
	r.clock.Advance(3 * time.Minute)
	for c, err := l.TryAccept(); err == nil; c, err = l.TryAccept() {
		c.Close()
	}
	honest := netip.MustParseAddrPort("192.0.2.77:7777")
	r.deliver(synPacket(honest, 5))
	r.deliver(segmentPacket(honest, listenq.ACK, 6, r.lastSeq+1, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0}, 0))
	r.clock.Settle()
	c, err := l.TryAccept()
	require.NoError(t, err)
	require.Equal(t, honest.String(), c.RemoteAddr().String())
}

// segmentPacket is a segment to 192.0.2.1:80 with right checksums. Options are
// padded to a multiple of four bytes.
func segmentPacket(client netip.AddrPort, flags listenq.Flags, seq, ack uint32, options []byte, payload int) []byte {
	for len(options)%4 != 0 {
		options = append(options, header.TCPOptionNOP)
	}
	size := header.TCPMinimumSize + len(options)
	b := make([]byte, header.IPv4MinimumSize+size+payload)
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)),
		TTL:         64,
		Protocol:    uint8(header.TCPProtocolNumber),
		SrcAddr:     tcpip.AddrFrom4(client.Addr().As4()),
		DstAddr:     tcpip.AddrFrom4([4]byte{192, 0, 2, 1}),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	h := header.TCP(b[header.IPv4MinimumSize:])
	h.Encode(&header.TCPFields{
		SrcPort:    client.Port(),
		DstPort:    80,
		SeqNum:     seq,
		AckNum:     ack,
		DataOffset: uint8(size),
		Flags:      header.TCPFlags(flags),
		WindowSize: 65535,
	})
	copy(h[header.TCPMinimumSize:], options)
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(h)))
	h.SetChecksum(^checksum.Checksum(h, sum))
	return b
}
