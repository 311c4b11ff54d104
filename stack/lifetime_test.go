package stack_test

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack/stacktest"
)

// A standstill is a way for a peer to make a connection wait.
type standstill struct {
	name string
	// shut says that the peer opens no window, answers that it answers probes.
	shut, answers bool
}

var (
	silent       = standstill{name: "silent"}
	shutSilent   = standstill{name: "window shut, silent", shut: true}
	shutAnswered = standstill{name: "window shut, probes answered", shut: true, answers: true}
)

// play lets time pass, and returns when the stack sent something last.
func (s standstill) play(lab *stacktest.Lab, p *stacktest.Peer, d time.Duration) (last time.Duration) {
	start, end, seen := lab.Now(), lab.Now()+d, len(p.Received())
	step := d
	if s.answers {
		step = 50 * time.Millisecond
	}
	for lab.Now() < end {
		lab.Advance(min(step, end-lab.Now()))
		if r := p.Received(); len(r) > seen {
			seen = len(r)
			last = r[seen-1].At - start
			if s.answers {
				p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, ZeroWindow: true})
			}
		}
	}
	return last
}

// instant is how exactly times are compared: nothing happens in no time.
const instant = time.Millisecond

// requireEnd lets time pass until a connection has ended, which must be after d, and
// returns when the stack sent something last.
func (s standstill) requireEnd(t *testing.T, lab *stacktest.Lab, p *stacktest.Peer, d time.Duration) (last time.Duration) {
	t.Helper()
	last = s.play(lab, p, d-instant)
	require.Equal(t, 1, lab.Stack().Connections(), "it should not have ended before %v", d)
	lab.Advance(2 * instant)
	require.Zero(t, lab.Stack().Connections(), "it should have ended after %v", d)
	return last
}

// waiting returns both ends of a connection on which ten bytes are not acknowledged.
func (s standstill) waiting(lab *stacktest.Lab) (*stacktest.Peer, *stacktest.Conn) {
	p, c := established(lab)
	if s.shut {
		p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, ZeroWindow: true})
	}
	c.Write("0123456789")
	return p, c
}

// A closed connection whose peer is silent, or keeps its window shut, lives as long as
// on Linux: the times are those of a kernel whose RTO is 200 ms (kernel_linux 6.18, RTO
// 208 ms: 106.9 s and 334.3 s, last segments after 53.7 s and 213.4 s).
func TestOrphansEnd(t *testing.T) {
	for _, c := range []struct {
		standstill
		retries   int
		last, end time.Duration
	}{
		{silent, 0, 51000 * time.Millisecond, 102200 * time.Millisecond},
		{shutSilent, 0, 51000 * time.Millisecond, 102200 * time.Millisecond},
		{shutAnswered, 0, 204600 * time.Millisecond, 324600 * time.Millisecond},
		{silent, 1, 600 * time.Millisecond, 1400 * time.Millisecond},
		{silent, 2, 1400 * time.Millisecond, 3000 * time.Millisecond},
		{silent, 3, 3000 * time.Millisecond, 6200 * time.Millisecond},
		{shutSilent, 1, 200 * time.Millisecond, 600 * time.Millisecond},
		{shutSilent, 2, 600 * time.Millisecond, 1400 * time.Millisecond},
		{shutSilent, 3, 1400 * time.Millisecond, 3000 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%s, tcp_orphan_retries %d", c.name, c.retries), func(t *testing.T) {
			eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
				lab.SetSysctl("net.ipv4.tcp_orphan_retries", strconv.Itoa(c.retries))
				p, conn := c.waiting(lab)
				conn.Close()
				require.Equal(t, 1, lab.Stack().Orphans())
				last := c.requireEnd(t, lab, p, c.end)
				require.InDelta(t, c.last.Seconds(), last.Seconds(), instant.Seconds(), "the last segment")
				require.Zero(t, lab.Stack().Orphans())
				lab.ExpectCounter("TCPAbortOnTimeout", 1)
				lab.ExpectCounter("OutRsts", 0)
				seen := len(p.Received())
				p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1})
				require.True(t, p.Received()[seen].Flags.Has(stacktest.RST), "a segment for what has ended is answered by RST")
			})
		})
	}
}

// The states that a closed connection can wait in, and the ends that can close it.
func TestOrphansEndInEveryState(t *testing.T) {
	for name, wait := range map[string]func(lab *stacktest.Lab) *stacktest.Peer{
		"FIN-WAIT-1": func(lab *stacktest.Lab) *stacktest.Peer {
			p, c := established(lab)
			c.Close()
			return p
		},
		"LAST-ACK": func(lab *stacktest.Lab) *stacktest.Peer {
			p, c := established(lab)
			p.FIN()
			c.Close()
			return p
		},
		"CLOSING": func(lab *stacktest.Lab) *stacktest.Peer {
			p, c := established(lab)
			c.Close()
			p.Send(stacktest.Segment{Flags: fin | ack, Seq: 1, Ack: 1})
			return p
		},
		"shut down first": func(lab *stacktest.Lab) *stacktest.Peer {
			p, c := established(lab)
			require.NoError(t, c.Stack().CloseWrite())
			c.Close()
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, lab *stacktest.Lab) {
				silent.requireEnd(t, lab, wait(lab), 102200*time.Millisecond)
			})
		})
	}
}

// A connection that its program still has waits for tcp_retries2, and for ever if the
// peer answers the probes of its window.
func TestSilentPeersTimeOut(t *testing.T) {
	for _, c := range []struct {
		standstill
		retries int
		end     time.Duration
	}{
		{silent, 15, 924600 * time.Millisecond},
		{shutSilent, 15, 924600 * time.Millisecond},
		{silent, 3, 6200 * time.Millisecond},
		{shutSilent, 3, 3000 * time.Millisecond},
		{shutAnswered, 3, 0},
	} {
		t.Run(fmt.Sprintf("%s, tcp_retries2 %d", c.name, c.retries), func(t *testing.T) {
			lab := stacktest.New(t, stacktest.Config{})
			lab.SetSysctl("net.ipv4.tcp_retries2", strconv.Itoa(c.retries))
			p, conn := c.waiting(lab)
			if c.end == 0 {
				c.play(lab, p, time.Hour)
				require.Equal(t, 1, lab.Stack().Connections())
			} else {
				c.requireEnd(t, lab, p, c.end)
				conn.ExpectReadError(syscall.ETIMEDOUT)
				lab.ExpectCounter("TCPAbortOnTimeout", 1)
				lab.ExpectCounter("EstabResets", 1)
			}
			lab.ExpectCounter("OutRsts", 0)
		})
	}
}

// What is closed while it waits already has waited that long.
func TestOrphansInheritTheWait(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := shutAnswered.waiting(lab)
	shutAnswered.play(lab, p, 500*time.Second)
	require.Equal(t, 1, lab.Stack().Connections())
	c.Close()
	shutAnswered.requireEnd(t, lab, p, 64600*time.Millisecond) // the next probe would have been at 564.6 s
}

// A closed connection whose peer takes what it gets, however slowly, lives.
func TestSlowOrphansLive(t *testing.T) {
	t.Run("bytes", func(t *testing.T) {
		lab := stacktest.New(t, stacktest.Config{})
		p, c := silent.waiting(lab)
		c.Close()
		for n := range int64(10) {
			lab.Advance(100 * time.Second)
			p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 2 + n})
		}
		require.Equal(t, 1, lab.Stack().Orphans())
		silent.play(lab, p, time.Hour)
		require.Zero(t, lab.Stack().Orphans())
	})
	t.Run("windows", func(t *testing.T) {
		lab := stacktest.New(t, stacktest.Config{})
		p, c := shutAnswered.waiting(lab)
		c.Close()
		for n := range int64(10) {
			shutAnswered.play(lab, p, 300*time.Second)
			p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1 + n, Window: 1})
			p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 2 + n, ZeroWindow: true})
		}
		require.Equal(t, 1, lab.Stack().Orphans())
	})
	// An answer to a probe begins the count of probes anew.
	t.Run("an answer now and then", func(t *testing.T) {
		lab := stacktest.New(t, stacktest.Config{})
		p, c := shutAnswered.waiting(lab)
		c.Close()
		shutSilent.play(lab, p, 60*time.Second) // 8 probes, none answered
		p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 1, ZeroWindow: true})
		shutSilent.requireEnd(t, lab, p, 264600*time.Millisecond)
	})
}

// One closed connection more than tcp_max_orphans is reset.
func TestOrphansAreLimited(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	lab.SetSysctl("net.ipv4.tcp_max_orphans", "2")
	l := lab.Listen(":80", 5, nil)
	for i := range 3 {
		p := lab.Peer(fmt.Sprint("peer", i), l)
		p.Handshake()
		l.Accept().Close()
		p.Expect("FIN-ACK seq=1")
		if i == 2 {
			p.Expect("RST-ACK seq=2 ack=1")
		}
		p.ExpectNothing()
	}
	require.Equal(t, 2, lab.Stack().Orphans())
	lab.ExpectCounter("TCPAbortOnMemory", 1)
}

// An orphan counts until its FIN is acknowledged: then Linux keeps no socket for it.
func TestOrphansAreCounted(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	p, c := established(lab)
	c.Close()
	require.Equal(t, 1, lab.Stack().Orphans())
	p.Send(stacktest.Segment{Flags: ack, Seq: 1, Ack: 2})
	require.Zero(t, lab.Stack().Orphans())
	require.Equal(t, 1, lab.Stack().TimeWaits(), "FIN-WAIT-2")
	lab.Advance(61 * time.Second)
	require.Zero(t, lab.Stack().TimeWaits())
	require.Zero(t, lab.Stack().Orphans())
}
