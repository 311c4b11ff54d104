//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// bothWays runs a test for each IP version and each kind of device.
func bothWays(t *testing.T, f func(t *testing.T, lab *lab, at netip.AddrPort)) {
	for _, offload := range []tun.Offload{tun.OffloadOn, tun.OffloadOff} {
		for name, at := range map[string]netip.AddrPort{"IPv4": http4, "IPv6": http6} {
			t.Run(fmt.Sprintf("%s offload %v", name, offload), func(t *testing.T) {
				t.Parallel()
				f(t, newLab(t, labConfig{offload: offload}), at)
			})
		}
	}
}

// serves checks that a listener is as good as new: empty, and with room.
func (l *lab) serves(ln *stack.Listener, at netip.AddrPort) {
	l.t.Helper()
	talk(l.t, l.connected(netlabTo(at)), l.accept(ln))
}

// A segment with a wrong checksum is counted and has no other effect: neither a
// SYN, nor the ACK that would complete a handshake, nor a RST that would end it.
func TestWrongChecksum(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		l := lab.listen(at, 5, nil)
		f := lab.forger()
		counted := func() uint64 { return lab.s.Drops().Checksum + lab.link.Stats().RxDropChecksum }
		spoilt := func(s segment) []byte {
			tcp := s.tcp()
			tcp[16] ^= 0x55
			return s.wrap(tcp)
		}
		s := segment{src: f.from(at, 5001), dst: at, flags: syn, seq: 1000, window: 65535}
		require.Empty(t, f.answers(at, spoilt(s)))
		require.EqualValues(t, 1, counted())
		require.Zero(t, l.Stats().SYNQueue)

		f.send(s.packet())
		synack := f.answer(s.src)
		s.seq, s.ack = 1001, synack.seq+1
		for i, flags := range []header.TCPFlags{ack, ack | psh, rst, syn, fin | ack} {
			s.flags = flags
			require.Empty(t, f.answers(at, spoilt(s)))
			require.EqualValues(t, i+2, counted())
			require.Equal(t, 1, l.Stats().SYNQueue)
		}
		s.flags = ack
		f.send(s.packet())
		lab.depths(l, 0, 1)
		lab.accept(l)
		lab.serves(l, at)
	})
}

// A SYN in fragments is put together and answered like any other, and so are
// the segments that follow.
func TestFragments(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip(staleHeader)
	}
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		fragments(t, lab, at, 24) // the whole header is in the first piece
	})
}

// staleHeader is why the race detector has to stay away from fragments.
const staleHeader = "netstack's ipv4.deliverPacketLocally reads the header of a reassembled packet once more " +
	"after parseTransport may have moved it and given the memory back"

// The same with the TCP header itself in pieces, which IPv6 does not allow (RFC 7112).
func TestTinyFragments(t *testing.T) {
	if raceEnabled {
		t.Skip(staleHeader)
	}
	for _, offload := range []tun.Offload{tun.OffloadOn, tun.OffloadOff} {
		fragments(t, newLab(t, labConfig{offload: offload}), http4, 8)

		lab := newLab(t, labConfig{offload: offload})
		l := lab.listen(http6, 5, nil)
		f := lab.forger()
		s := segment{src: f.from(http6, 5000), dst: http6, flags: syn, seq: 1000, window: 65535}
		require.Empty(t, f.answers(http6, s.fragment(s.tcp()[:16], 1, 0, true), s.fragment(s.tcp()[16:], 1, 16, false)))
		require.EqualValues(t, 1, lab.s.Drops().ExtensionHeaders)
		require.Zero(t, l.Stats().SYNQueue)
	}
}

func fragments(t *testing.T, lab *lab, at netip.AddrPort, first int) {
	l := lab.listen(at, 5, nil)
	f := lab.forger()
	id := uint16(0)
	pieces := func(s segment) [][]byte {
		id++
		tcp := s.tcp()
		var all [][]byte
		for from, to := 0, first; from < len(tcp); from, to = to, to+8 {
			all = append(all, s.fragment(tcp[from:min(to, len(tcp))], id, from, to < len(tcp)))
		}
		return all
	}
	for i, order := range []func([][]byte){
		func([][]byte) {},
		func(p [][]byte) { p[0], p[len(p)-1] = p[len(p)-1], p[0] }, // backwards
		func(p [][]byte) { f.send(p[0]) },                          // a duplicate
	} {
		send := func(s segment) {
			p := pieces(s)
			order(p)
			for _, piece := range p {
				f.send(piece)
			}
		}
		words := []byte("words in many pieces")
		s := segment{
			src: f.from(at, uint16(5000+i)), dst: at, flags: syn, seq: 1000, window: 65535,
			options: []byte{2, 4, 5, 0xb4}, payload: words, // for a second piece
		}
		send(s)
		synack := f.answer(s.src)
		require.Equal(t, syn|ack, synack.flags)
		require.EqualValues(t, 1001, synack.ack)
		s.flags, s.seq, s.ack = ack|psh, 1001, synack.seq+1
		send(s)
		expect(t, lab.accept(l), string(words))
	}

	// A fragment that never gets company is no segment.
	s := segment{src: f.from(at, 5999), dst: at, flags: syn, seq: 1000, window: 65535}
	for _, a := range f.answers(at, s.fragment(s.tcp()[:16], 999, 0, true)) {
		require.NotEqual(t, s.src, a.dst)
	}
	require.Zero(t, l.Stats().SYNQueue)
	lab.serves(l, at)
}

// Headers that are cut short or lie about their length get no answer and do no
// harm.
func TestTruncatedHeaders(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		l := lab.listen(at, 5, nil)
		f := lab.forger()
		s := segment{src: f.from(at, 5001), dst: at, flags: syn, seq: 1000, window: 65535, options: []byte{2, 4, 5, 0xb4}}
		var bad [][]byte
		for n := range header.TCPMinimumSize {
			bad = append(bad, s.wrap(s.tcp()[:n]))
		}
		for offset := range 16 {
			if offset*4 == len(s.tcp()) || offset*4 == header.TCPMinimumSize {
				continue
			}
			tcp := s.tcp()
			tcp[12] = byte(offset << 4)
			s.sum(tcp)
			bad = append(bad, s.wrap(tcp))
		}
		whole := s.packet()
		for n := range len(whole) { // the packet ends before its IP header says so
			bad = append(bad, whole[:n])
		}
		for _, p := range bad {
			if len(p) > 0 {
				require.Empty(t, f.answers(at, p), "%x", p)
			}
		}
		require.Zero(t, l.Stats().SYNQueue)
		require.Equal(t, listenq.Counters{}, l.Stats().Counters)
		lab.serves(l, at)
	})
}

// Flags that open nothing get nothing; a SYN with URG or PSH is a SYN.
func TestOddFlags(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		l := lab.listen(at, 200, nil)
		f := lab.forger()
		for flags := header.TCPFlags(0); flags < 64; flags++ {
			s := segment{src: f.from(at, 5000+uint16(flags)), dst: at, flags: flags, seq: 1000, ack: 77, window: 100, payload: []byte("x")}
			switch {
			case flags&rst != 0, flags&ack == 0 && flags&syn == 0, flags&(syn|fin) == syn|fin && flags&ack == 0:
				require.Empty(t, f.answers(at, s.packet()), "%v", flags)
			case flags&ack != 0:
				f.send(s.packet())
				require.Equal(t, segment{src: at, dst: s.src, flags: rst, seq: 77}, plain(f.answer(s.src)), "%v", flags)
			default:
				f.send(s.packet())
				synack := f.answer(s.src)
				require.Equal(t, syn|ack, synack.flags, "%v", flags)
				require.EqualValues(t, 1001, synack.ack, "data on a SYN is not acknowledged")
			}
		}
		require.Equal(t, 4, l.Stats().SYNQueue, "SYN with all combinations of PSH and URG")
		lab.serves(l, at)
	})
}

// Options that make no sense are passed over: the SYN is answered.
func TestGarbledOptions(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		l := lab.listen(at, 200, nil)
		f := lab.forger()
		random := rand.New(rand.NewPCG(1, 2))
		cases := [][]byte{
			{2, 0, 0, 0}, {2, 1, 0, 0}, {2, 3, 0, 0}, {2, 40, 0, 0}, {2, 4, 5}, {2}, {3, 3}, {3, 3, 255, 0},
			{8, 10, 1, 2}, {8, 2, 0, 0}, {4, 0, 0, 0}, {4, 255, 0, 0}, {253, 0}, {0, 0, 0, 2}, {1, 1, 1, 2},
			{34, 2}, {34, 10, 1, 2, 3, 4, 5, 6, 7, 8}, {19, 18}, {5, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		}
		for range 100 {
			garbage := make([]byte, random.IntN(41))
			for i := range garbage {
				garbage[i] = byte(random.Uint32())
			}
			cases = append(cases, garbage)
		}
		for i, options := range cases {
			s := segment{src: f.from(at, 5000+uint16(i)), dst: at, flags: syn, seq: 1000, window: 100, options: options}
			f.send(s.packet())
			require.Equal(t, syn|ack, f.answer(s.src).flags, "%x", options)
			s.flags, s.seq = rst, 1001
			f.send(s.packet())
		}
		lab.depths(l, 0, 0)
		lab.serves(l, at)
	})
}

// A client that asks for segments of no size gets small ones, and all its data.
func TestTinyMSS(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		l := lab.listen(at, 5, nil)
		f := lab.forger()
		for mss := range uint16(3) {
			s := f.handshake(segment{
				src: f.from(at, 5000+mss), dst: at, seq: 1000, window: 65535,
				options: []byte{2, 4, 0, byte(mss)},
			})
			words := make([]byte, 2000)
			for i := range words {
				words[i] = byte(i)
			}
			_, err := lab.accept(l).Write(words)
			require.NoError(t, err)
			var got []byte
			for len(got) < len(words) {
				a := f.answer(s.src)
				if a.seq != s.ack {
					continue // sent again
				}
				require.GreaterOrEqual(t, len(a.payload), 40, "a client cannot make us send single bytes")
				got = append(got, a.payload...)
				s.ack += uint32(len(a.payload))
				f.send(s.packet())
			}
			require.Equal(t, words, got)
		}
		lab.serves(l, at)
	})
}

// A client whose window is closed is accepted; it gets its data when it opens.
func TestZeroWindow(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		l := lab.listen(at, 5, nil)
		f := lab.forger()
		s := f.handshake(segment{src: f.from(at, 5001), dst: at, seq: 1000, window: 0})
		c := lab.accept(l)
		_, err := c.Write([]byte("at last"))
		require.NoError(t, err)
		probe := f.answer(s.src)
		require.LessOrEqual(t, len(probe.payload), 1, "a probe of the window, no more")
		f.send(s.packet())
		s.window = 1000
		f.send(s.packet())
		var got []byte
		for len(got) < len("at last") {
			if a := f.answer(s.src); a.seq == s.ack {
				got = append(got, a.payload...)
				s.ack += uint32(len(a.payload))
				f.send(s.packet())
			}
		}
		require.Equal(t, "at last", string(got))
		lab.serves(l, at)
	})
}

// A SYN that claims to come from the listener itself sets off no storm.
func TestSYNFromOwnAddress(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		l := lab.listen(at, 5, nil)
		f := lab.forger()
		own := segment{src: at, dst: at, flags: syn, seq: 1000, window: 100}
		cross := segment{src: netip.AddrPortFrom(at.Addr(), 81), dst: at, flags: syn, seq: 1000, window: 100}
		require.Empty(t, f.answers(at, own.packet(), cross.packet()))
		lab.serves(l, at)
		require.LessOrEqual(t, lab.link.Stats().TxPackets, uint64(100))
		lab.depths(l, l.Stats().SYNQueue, 0)
	})
}

// Tens of thousands of segments from a seeded generator, valid enough to reach
// every state: nothing panics, nothing hangs, nothing grows beyond its bounds,
// and the listener goes on serving.
func TestFuzzedSegments(t *testing.T) {
	bothWays(t, func(t *testing.T, lab *lab, at netip.AddrPort) {
		segments := 20_000
		if raceEnabled {
			segments = 4_000
		}
		l := lab.listen(at, 8, nil)
		f := lab.forger()
		random := rand.New(rand.NewPCG(uint64(at.Addr().BitLen()), 42))
		var calm atomic.Bool
		go func() { // an application that reads, writes and loses patience
			for n := 0; ; n++ {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					if !calm.Load() {
						c.SetDeadline(time.Now().Add(time.Duration(n%20) * time.Millisecond))
					}
					io.Copy(c, c)
				}()
			}
		}()

		known := make(map[uint16]segment) // the stack's last segment to a port
		for i := range segments {
			if i%100 == 0 {
				l.SetOverflow(listenq.Overflow{ResetSYN: random.IntN(2) == 0, ResetFinalACK: random.IntN(2) == 0})
				// Learn what the stack said, and let it keep up.
				for _, a := range f.answers(at) {
					known[a.dst.Port()] = a
				}
				s := l.Stats()
				require.LessOrEqual(t, s.AcceptQueue, s.Limit+1)
				require.LessOrEqual(t, s.SYNQueue, 40) // at most one for each port
			}
			f.send(fuzzed(random, f, at, known))
		}
		f.answers(at)
		t.Logf("%+v, %+v", lab.s.Drops(), l.Stats().Counters)
		drops := lab.s.Drops()
		require.Positive(t, drops.Checksum+lab.link.Stats().RxDropChecksum)
		require.Positive(t, l.Stats().Counters.PassiveOpens)
		require.Positive(t, l.Stats().Counters.AttemptFails)

		calm.Store(true)
		l.SetOverflow(drop)
		require.NoError(t, ask(lab, at))
		require.NoError(t, l.Close())
		again := lab.listen(at, 8, nil)
		lab.serves(again, at)
	})
}

// fuzzed makes a segment that is mostly plausible: for one of 40 ports, with
// numbers near those that the stack used, now and then spoilt.
func fuzzed(random *rand.Rand, f *forger, at netip.AddrPort, known map[uint16]segment) []byte {
	port := 5000 + uint16(random.IntN(40))
	last := known[port]
	near := func(v uint32) uint32 {
		switch random.IntN(8) {
		case 0:
			return random.Uint32()
		case 1:
			return v + uint32(random.IntN(70000)) - 35000
		case 2:
			return v + uint32(random.IntN(3)) - 1
		default:
			return v
		}
	}
	flags := []header.TCPFlags{syn, syn, ack, ack, ack | psh, ack | fin, rst, rst | ack, syn | ack, syn | fin, 0, fin | psh | urg}
	s := segment{
		src: f.from(at, port), dst: at,
		flags:  flags[random.IntN(len(flags))],
		seq:    near(last.ack),
		ack:    near(last.seq + 1),
		window: uint16(random.Uint32()),
	}
	if last.flags&syn == 0 {
		s.ack = near(last.seq + uint32(len(last.payload)))
	}
	if random.IntN(16) == 0 {
		s.flags = header.TCPFlags(random.Uint32())
	}
	if random.IntN(3) == 0 {
		s.payload = make([]byte, random.IntN(1400))
	}
	switch random.IntN(4) {
	case 0:
		s.options = []byte{2, 4, byte(random.Uint32()), byte(random.Uint32()), 4, 2, 8, 10, 0, 0, 0, byte(random.Uint32()), 0, 0, 0, 0, 3, 3, byte(random.IntN(16)), 0}
	case 1:
		s.options = make([]byte, random.IntN(41))
		for i := range s.options {
			s.options[i] = byte(random.IntN(12))
		}
	}
	packet := s.packet()
	switch random.IntN(24) {
	case 0: // any bit wrong
		packet[random.IntN(len(packet))] ^= 1 << random.IntN(8)
	case 1: // cut short
		packet = packet[:1+random.IntN(len(packet)-1)]
	case 2: // a fragment; see TestTinyFragments
		if raceEnabled {
			break
		}
		tcp := s.tcp()
		cut := 8 * (1 + random.IntN(2))
		packet = s.fragment(tcp[:cut], uint16(random.IntN(4)), 8*random.IntN(3), random.IntN(2) == 0)
	case 3: // longer than it says
		packet = append(packet, make([]byte, random.IntN(20))...)
	case 4: // an IP header that lies
		binary.BigEndian.PutUint16(packet[2:], uint16(random.IntN(200)))
	}
	return packet
}
