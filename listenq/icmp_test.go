package listenq

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (p *peer) icmp(l *Listener, icmpType, code uint8, beside uint32) Outcome {
	return l.ICMP(&ICMPError{Flow: p.flow, Seq: p.out.Seq + beside, Type: icmpType, Code: code})
}

// Every kind of error there is, by the kernel's rules, on the SYN-ACK's number and
// beside it.
func TestICMPKindsOnLinux(t *testing.T) {
	for _, v := range []struct {
		client  *peer
		aborted func(icmpType, code int) bool
	}{
		{client4(1), func(icmpType, code int) bool {
			return icmpType == 3 && code < 2 || icmpType == 11 && code != 1 || icmpType == 12
		}},
		{client6(1), func(icmpType, code int) bool {
			return icmpType == 1 && code != 0 && code != 2 && code != 3 || icmpType == 4
		}},
	} {
		l := listenWith(8, nil)
		v.client.syn(0, l)
		removed, outside := 0, 0
		for kind := range 1 << 16 {
			icmpType, code := kind>>8, kind&255
			for _, beside := range []uint32{1, 1<<32 - 1, 1 << 30} {
				requireOutcome(t, v.client.icmp(l, uint8(icmpType), uint8(code), beside), Drop, ICMPOutOfWindow)
				outside++
			}
			out := v.client.icmp(l, uint8(icmpType), uint8(code), 0)
			require.Equal(t, v.aborted(icmpType, code), out.Removed, "%d/%d", icmpType, code)
			require.Equal(t, v.client.flow, out.Flow)
			if !out.Removed {
				requireOutcome(t, out, Drop, ICMPIgnored)
				require.Equal(t, 1, out.SYNQueue)
				continue
			}
			removed++
			requireOutcome(t, out, Drop, ICMPFatal)
			require.Zero(t, out.SYNQueue)
			requireOutcome(t, v.client.icmp(l, uint8(icmpType), uint8(code), 0), Drop, ICMPIgnored)
			v.client.syn(0, l)
		}
		require.Equal(t, Counters{ListenDrops: uint64(removed), OutOfWindowIcmps: uint64(outside)}, l.Counters())
	}
}

// Twenty half-open requests that nobody will complete make room for an honest
// client when the network says so.
func TestICMPMakesRoom(t *testing.T) {
	l := listenWith(19, func(_ *Config, s *Sysctls) { s.Syncookies = 0 })
	var dead []*peer
	for i := range 20 {
		p := client4(i)
		p.syn(0, l)
		dead = append(dead, p)
	}
	honest := client4(99)
	requireOutcome(t, honest.syn(0, l), Drop, SYNQueueFull)
	for _, p := range dead {
		require.True(t, p.icmp(l, 3, 1, 0).Removed)
	}
	requireOutcome(t, honest.syn(0, l), SendSYNACK, NewRequest)
	_, armed := l.NextTimeout()
	require.True(t, armed)
}

// A cookie leaves nothing that an error could end.
func TestICMPAboutACookie(t *testing.T) {
	l := listenWith(8, func(_ *Config, s *Sysctls) { s.Syncookies = 2 })
	p := client4(1)
	requireOutcome(t, p.syn(0, l), SendCookie, SYNQueueFullCookie)
	requireOutcome(t, p.icmp(l, 3, 1, 0), Drop, ICMPIgnored)
	requireOutcome(t, l.Segment(0, p.ack()), Promote, ValidCookie)
	requireOutcome(t, p.icmp(l, 3, 1, 0), Drop, ICMPIgnored)
	require.Equal(t, 1, l.AcceptQueueLen())
}

// The request of a listener that was closed can be ended too.
func TestICMPAfterClose(t *testing.T) {
	l := listenWith(8, nil)
	p := client4(1)
	p.syn(0, l)
	closeQuietly(t, l, time.Second)
	requireOutcome(t, p.icmp(l, 3, 3, 0), Drop, ICMPIgnored)
	require.Equal(t, 1, l.SYNQueueLen())
	requireOutcome(t, p.icmp(l, 3, 1, 0), Drop, ICMPFatal)
	require.Zero(t, l.SYNQueueLen())
	require.Equal(t, uint64(1), l.Counters().ListenDrops)
}

func TestICMPKindsText(t *testing.T) {
	for text, want := range map[string]ICMPKinds{
		"none":            nil,
		"3/1":             {{3, 1, 1}},
		"12":              {{12, 0, 255}},
		"3/0-1 11/0 12":   {{3, 0, 1}, {11, 0, 0}, {12, 0, 255}},
		"255/254-255 0/0": {{255, 254, 255}, {0, 0, 0}},
	} {
		var k ICMPKinds
		require.NoError(t, k.UnmarshalText([]byte(text)))
		require.Equal(t, want, k)
		require.Equal(t, text, k.String())
	}
	k := ICMPKinds{{3, 1, 1}}
	for _, text := range []string{
		"", " ", "none 3/1", "3/", "/1", "3/1-", "3/-1", "3/2-1", "256", "3/256", "-3", "+3", "3/1/1", "3.1", "three",
		"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33",
	} {
		require.ErrorIs(t, k.UnmarshalText([]byte(text)), errKinds, text)
	}
	require.Equal(t, ICMPKinds{{3, 1, 1}}, k)
	require.Panics(t, func() { kinds("3/") })
}
