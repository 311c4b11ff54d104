package client_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ulisten/ulisten/listenq/client"
)

// run plays an attempt from the origin on, late by the given time at each timer,
// and returns when SYNs went out, the first included, and when and how it ended.
// answered says when each SYN's RST arrives; nil is silence.
func run(p *client.Profile, late, roundTrip time.Duration, refusing bool) (syns []time.Duration, end time.Duration, how client.Action) {
	a := client.NewAttempt(p, 0)
	syns = append(syns, 0)
	var rsts []time.Duration
	if refusing {
		rsts = append(rsts, roundTrip)
	}
	for range 2 * client.MaxRepeats {
		at, ok := a.NextTimeout()
		if !ok {
			return syns, end, how
		}
		if len(rsts) > 0 && rsts[0] <= at {
			end, rsts = rsts[0], rsts[1:]
			how = a.Reset(end)
			continue
		}
		switch how = a.Advance(at + late); how {
		case client.SendSYN:
			syns = append(syns, at)
			if refusing {
				rsts = append(rsts, at+roundTrip)
			}
		default:
			end = at
		}
	}
	return syns, end, how
}

func seconds(at ...float64) []time.Duration {
	times := make([]time.Duration, len(at))
	for i, s := range at {
		times[i] = time.Duration(s * float64(time.Second))
	}
	return times
}

// The schedules, as platforms have them: when SYNs are on the wire if nothing
// answers, and if a RST answers each of them at once.
func TestSchedules(t *testing.T) {
	tests := map[string]struct {
		silence []time.Duration
		giveUp  time.Duration
		refused []time.Duration
	}{
		"linux-6":   {seconds(0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67), 131 * time.Second, seconds(0)},
		"linux-5":   {seconds(0, 1, 3, 7, 15, 31, 63), 127 * time.Second, seconds(0)},
		"windows":   {seconds(0, 1, 3, 7, 15), 21 * time.Second, seconds(0, 0.5, 1, 1.5, 2)},
		"windows-7": {seconds(0, 3, 9), 21 * time.Second, seconds(0, 0.5, 1)},
		"macos":     {seconds(0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67), 75 * time.Second, seconds(0)},
		"freebsd":   {seconds(0, 1, 3, 7, 15, 31, 63), 75 * time.Second, seconds(0)},
	}
	require.Len(t, tests, len(client.Profiles()), "every profile has its schedule here")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := client.ProfileNamed(name)
			require.NoError(t, err)

			syns, end, how := run(p, 0, 0, false)
			require.Equal(t, test.silence, syns)
			require.Equal(t, test.giveUp, end)
			require.Equal(t, client.TimedOut, how)

			syns, end, how = run(p, 0, 0, true)
			require.Equal(t, test.refused, syns)
			require.Equal(t, test.refused[len(test.refused)-1], end)
			require.Equal(t, client.Refused, how)
		})
	}
}

func TestTimersAreNominalHoweverLateAdvanceComes(t *testing.T) {
	for _, p := range client.Profiles() {
		syns, end, how := run(p, 0, 0, false)
		lateSYNs, lateEnd, lateHow := run(p, time.Hour, 0, false)
		require.Equal(t, syns, lateSYNs, p.Name)
		require.Equal(t, end, lateEnd, p.Name)
		require.Equal(t, how, lateHow, p.Name)
	}
}

func TestAdvanceBeforeItsTimeDoesNothing(t *testing.T) {
	p, err := client.ProfileNamed("linux-6")
	require.NoError(t, err)
	a := client.NewAttempt(p, time.Minute)
	require.Equal(t, client.Nothing, a.Advance(time.Minute+time.Second-1))
	require.Equal(t, 1, a.SYNs())
	require.Equal(t, client.SendSYN, a.Advance(time.Minute+time.Second))
	require.Equal(t, client.Nothing, a.Advance(time.Minute+time.Second))
	require.Equal(t, 2, a.SYNs())
}

func TestNothingFollowsTheEnd(t *testing.T) {
	ends := map[string]func(a *client.Attempt){
		"connected": func(a *client.Attempt) { a.Connected() },
		"refused":   func(a *client.Attempt) { require.Equal(t, client.Refused, a.Reset(0)) },
		"timed out": func(a *client.Attempt) {
			for a.Advance(time.Hour) != client.TimedOut {
				require.Less(t, a.SYNs(), client.MaxRepeats)
			}
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			p, err := client.ProfileNamed("freebsd")
			require.NoError(t, err)
			a := client.NewAttempt(p, 0)
			end(a)
			_, ok := a.NextTimeout()
			require.False(t, ok)
			require.Equal(t, client.Nothing, a.Advance(2*time.Hour))
			require.Equal(t, client.Nothing, a.Reset(2*time.Hour))
		})
	}
}

// Windows: what the retransmission timer has sent counts too, so a listener that
// starts to refuse late is believed sooner.
func TestAResetCountsEverySYN(t *testing.T) {
	p, err := client.ProfileNamed("windows")
	require.NoError(t, err)
	a := client.NewAttempt(p, 0)
	for range 3 {
		at, ok := a.NextTimeout()
		require.True(t, ok)
		require.Equal(t, client.SendSYN, a.Advance(at))
	}
	require.Equal(t, client.Nothing, a.Reset(7*time.Second))
	require.Equal(t, client.Nothing, a.Reset(7*time.Second+100*time.Millisecond), "a second RST for the same SYN changes nothing")
	at, _ := a.NextTimeout()
	require.Equal(t, 7*time.Second+500*time.Millisecond, at)
	require.Equal(t, client.SendSYN, a.Advance(at))
	require.Equal(t, client.Refused, a.Reset(at))
}

// A RST so late that its SYN would come after the end does not put the end off.
func TestAResetDoesNotPutOffTheEnd(t *testing.T) {
	p, err := client.ProfileNamed("windows-7")
	require.NoError(t, err)
	a := client.NewAttempt(p, 0)
	require.Equal(t, client.Nothing, a.Reset(20*time.Second+700*time.Millisecond))
	at, ok := a.NextTimeout()
	require.True(t, ok)
	require.Equal(t, 21*time.Second, at)
	require.Equal(t, client.TimedOut, a.Advance(at))
}

// Any valid profile ends by its give-up time, with no more SYNs than it says.
func TestEveryAttemptEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &client.Profile{Name: "any", Refused: "ECONNREFUSED", TimedOut: "ETIMEDOUT"}
		var at time.Duration
		for range rapid.IntRange(0, 12).Draw(t, "repeats") {
			at += time.Duration(rapid.Int64Range(1, int64(10*time.Second)).Draw(t, "wait"))
			p.Repeats = append(p.Repeats, at)
		}
		p.GiveUp = at + time.Duration(rapid.Int64Range(10, int64(time.Minute)).Draw(t, "rest"))
		if n := rapid.IntRange(0, 5).Draw(t, "reset retries"); n > 0 {
			p.ResetRetries, p.ResetDelay = n, p.GiveUp/time.Duration(n+1)
		}
		require.NoError(t, p.Validate())
		late := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "late"))
		roundTrip := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "round trip"))
		refusing := rapid.Bool().Draw(t, "refusing")
		syns, end, how := run(p, late, roundTrip, refusing)
		require.LessOrEqual(t, len(syns), 1+max(len(p.Repeats), p.ResetRetries))
		require.LessOrEqual(t, end, p.GiveUp)
		if !refusing {
			require.Equal(t, client.TimedOut, how)
			require.Equal(t, append([]time.Duration{0}, p.Repeats...), syns)
		}
	})
}

func TestActionNames(t *testing.T) {
	require.Equal(t, "nothing", client.Nothing.String())
	require.Equal(t, "send SYN", client.SendSYN.String())
	require.Equal(t, "refused", client.Refused.String())
	require.Equal(t, "timed out", client.TimedOut.String())
	require.Equal(t, "unknown(9)", client.Action(9).String())
}

func TestAttemptDoesNotAllocate(t *testing.T) {
	p, err := client.ProfileNamed("windows")
	require.NoError(t, err)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { run(p, 0, 0, false) }), 4.0, "the attempt and the list of SYNs")
	a := client.NewAttempt(p, 0)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		a.Reset(0)
		a.Advance(time.Second)
	}))
}
