package stack_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// The scripts icmp-request: an ICMP error that quotes the SYN-ACK's number ends a
// request, and the client's ACK meets nothing.
func TestICMPEndsARequest(t *testing.T) {
	for _, v := range []struct {
		client, server string
		fatal, soft    stacktest.ICMPError
	}{
		{"192.0.2.100:4000", "192.0.2.1:80", stacktest.ICMPError{Type: 3, Code: 1}, stacktest.ICMPError{Type: 3, Code: 3}},
		{"[2001:db8::100]:4000", "[2001:db8::1]:80", stacktest.ICMPError{Type: 1, Code: 4}, stacktest.ICMPError{Type: 1, Code: 3}},
	} {
		t.Run(v.server, func(t *testing.T) {
			lab := stacktest.New(t, stacktest.Config{})
			l := lab.Listen(":80", 5, nil)
			p := lab.PeerAt("peer", netip.MustParseAddrPort(v.client), netip.MustParseAddrPort(v.server))
			p.SYN()
			p.Expect("SYN-ACK")
			p.SendICMP(v.soft)
			wrong := v.fatal
			wrong.Seq = 1
			p.SendICMP(wrong)
			l.ExpectQueues(1, 0)
			l.ExpectCounter("OutOfWindowIcmps", 1)
			l.ExpectCounter("ListenDrops", 0)

			p.SendICMP(v.fatal)
			l.ExpectQueues(0, 0)
			l.ExpectCounter("ListenDrops", 1)
			decided := lab.Decisions()
			last := decided[len(decided)-1]
			require.Equal(t, listenq.ICMPFatal, last.Outcome.Reason)
			require.Equal(t, v.fatal.Code, last.ICMP.Code)
			require.Nil(t, last.Segment)
			require.Contains(t, lab.Ladder(), fmt.Sprintf("ICMP %d/%d", v.fatal.Type, v.fatal.Code))

			lab.Advance(time.Minute)
			p.ExpectNothing()
			p.ACK()
			p.Expect("RST seq=1")

			p.Handshake() // a connection by now, which no error ends
			p.SendICMP(v.fatal)
			l.ExpectQueues(0, 1)
		})
	}
}

// Twenty requests of clients that the network says are not there are gone, and an
// honest client finds room.
func TestICMPMakesRoomInTheSYNQueue(t *testing.T) {
	sysctls := listenq.DefaultSysctls()
	sysctls.Syncookies = 0
	lab := stacktest.New(t, stacktest.Config{Sysctls: &sysctls})
	l := lab.Listen(":80", 19, nil)
	var dead []*stacktest.Peer
	for i := range 20 {
		p := lab.Peer(fmt.Sprint("dead ", i), l)
		p.SYN()
		dead = append(dead, p)
	}
	honest := lab.Peer("honest", l)
	honest.SYN()
	honest.ExpectNothing()
	for _, p := range dead {
		p.SendICMP(stacktest.ICMPError{Type: 3, Code: 1, From: netip.MustParseAddr("203.0.113.1")})
	}
	l.ExpectQueues(0, 0)
	honest.Handshake()
	l.ExpectQueues(0, 1)
}

// The request of a closed listener goes the same way, and what it counts is not
// lost.
func TestICMPAfterClose(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	l := lab.Listen(":80", 5, nil)
	p := lab.Peer("peer", l)
	p.SYN()
	p.Expect("SYN-ACK")
	l.Close()
	require.Len(t, lab.Stack().Requests(), 1)
	p.SendICMP(stacktest.ICMPError{Type: 3, Code: 1, Seq: 7})
	p.SendICMP(stacktest.ICMPError{Type: 3, Code: 1})
	require.Empty(t, lab.Stack().Requests())
	lab.ExpectCounter("OutOfWindowIcmps", 1)
	lab.ExpectCounter("ListenDrops", 1)
	p.SendICMP(stacktest.ICMPError{Type: 3, Code: 1})
	lab.ExpectCounter("ListenDrops", 1)
}

// Of listeners that share a port the one that has the request hears of it.
func TestICMPOnASharedPort(t *testing.T) {
	lab := stacktest.New(t, stacktest.Config{})
	opts := &stack.ListenOptions{ReusePort: true}
	listeners := []*stacktest.Listener{lab.Listen(":80", 50, opts), lab.Listen(":80", 50, opts)}
	var peers []*stacktest.Peer
	for i := range 10 {
		p := lab.Peer(fmt.Sprint("peer ", i), listeners[0])
		p.SYN()
		peers = append(peers, p)
	}
	require.NotZero(t, listeners[0].Stats().SYNQueue)
	require.NotZero(t, listeners[1].Stats().SYNQueue)
	for i, p := range peers {
		p.SendICMP(stacktest.ICMPError{Type: 3, Code: 0})
		require.Equal(t, 9-i, listeners[0].Stats().SYNQueue+listeners[1].Stats().SYNQueue)
	}
}

// Where the platform resets what it gives up, the client hears of it.
func TestICMPOnOtherPlatforms(t *testing.T) {
	for name, ends := range map[string]struct {
		after int // errors and SYN-ACKs
		reset bool
	}{"macos": {5, true}, "freebsd": {4, false}, "netstack": {1, false}} {
		t.Run(name, func(t *testing.T) {
			profile, err := listenq.ProfileNamed(name)
			require.NoError(t, err)
			lab := stacktest.New(t, stacktest.Config{Profile: profile})
			l := lab.Listen(":80", 5, nil)
			p := lab.Peer("peer", l)
			p.SYN()
			for i, wait := range profile.SYNACK.Waits[:ends.after] {
				p.Expect("SYN-ACK")
				l.ExpectQueues(1, 0)
				p.SendICMP(stacktest.ICMPError{Type: 3, Code: 1})
				if i < ends.after-1 {
					lab.Advance(wait)
				}
			}
			l.ExpectQueues(0, 0)
			if ends.reset {
				p.Expect("RST-ACK")
			}
			p.ExpectNothing()
		})
	}
}
