package sim

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

func serverNamed(t require.TestingT, name string) *listenq.Profile {
	p, err := listenq.ProfileNamed(name)
	require.NoError(t, err)
	return p
}

func clientNamed(t require.TestingT, name string) *client.Profile {
	p, err := client.ProfileNamed(name)
	require.NoError(t, err)
	return p
}

// linux is a scenario with one place in the accept queue, and clients half a
// second apart: the first takes the place, the others find it taken.
func linux(t require.TestingT, clients int) Scenario {
	return Scenario{
		Server:      serverNamed(t, "linux-6"),
		Client:      clientNamed(t, "linux-6"),
		Clients:     clients,
		Arrival:     Uniform(time.Duration(clients) * 500 * time.Millisecond),
		RTT:         20 * time.Millisecond,
		AcceptStart: time.Hour,
		Duration:    5 * time.Minute,
	}
}

func mustRun(t require.TestingT, s Scenario) *Result {
	r, err := Run(s)
	require.NoError(t, err)
	return r
}

func seconds(at ...float64) []time.Duration {
	times := make([]time.Duration, len(at))
	for i, s := range at {
		times[i] = time.Duration(math.Round(s * float64(time.Second)))
	}
	return times
}

func TestSYNThatIsIgnoredComesAgain(t *testing.T) {
	s := linux(t, 2)
	s.AcceptStart = 2200 * time.Millisecond
	r := mustRun(t, s)
	require.Equal(t, Client{
		Fate: Served, SYNs: seconds(0),
		Connected: 20 * time.Millisecond, Queued: 30 * time.Millisecond,
		Accepted: 2200 * time.Millisecond, End: 2210 * time.Millisecond,
	}, r.Clients[0])
	require.Equal(t, Client{
		Fate: Served, SYNs: seconds(0.5, 1.5, 2.5),
		Connected: 2520 * time.Millisecond, Queued: 2530 * time.Millisecond,
		Accepted: 2530 * time.Millisecond, End: 2540 * time.Millisecond,
	}, r.Clients[1])
	require.Equal(t, 2020*time.Millisecond, r.Clients[1].ConnectTime())
	require.Equal(t, 2, r.Clients[1].Retransmissions())
	require.Equal(t, []Depth{
		{0, 0, 0},
		{10 * time.Millisecond, 1, 0}, {30 * time.Millisecond, 0, 1}, {2200 * time.Millisecond, 0, 0},
		{2510 * time.Millisecond, 1, 0}, {2530 * time.Millisecond, 0, 0},
	}, r.Depths)
	require.EqualValues(t, 2, r.Counters.ListenOverflows)
	require.EqualValues(t, 2, r.Counters.PassiveOpens)
	require.Equal(t, []DecisionCount{
		{Decision{listenq.SYN, listenq.SendSYNACK, listenq.NewRequest}, 2},
		{Decision{listenq.ACK, listenq.Promote, listenq.FinalACK}, 2},
		{Decision{listenq.SYN, listenq.Drop, listenq.AcceptQueueFull}, 2},
	}, r.Decisions)
}

func TestNobodyAccepts(t *testing.T) {
	for _, tc := range []struct {
		client, err string
		after       time.Duration
		syns        int
	}{
		{"linux-6", "ETIMEDOUT", 131 * time.Second, 11},
		{"windows", "WSAETIMEDOUT", 21 * time.Second, 5},
		{"macos", "ETIMEDOUT", 75 * time.Second, 11},
	} {
		s := linux(t, 2)
		s.Client = clientNamed(t, tc.client)
		r := mustRun(t, s)
		require.Equal(t, Waiting, r.Clients[0].Fate)
		require.Equal(t, Never, r.Clients[0].Accepted)
		last := r.Clients[1]
		require.Equal(t, TimedOut, last.Fate)
		require.Equal(t, tc.err, last.Error)
		require.Len(t, last.SYNs, tc.syns)
		require.Equal(t, 500*time.Millisecond+tc.after, last.End)
		require.Equal(t, Never, last.ConnectTime())
	}
}

func TestSYNIsAnsweredByRST(t *testing.T) {
	s := linux(t, 2)
	s.Overflow.ResetSYN = true
	refused := mustRun(t, s).Clients[1]
	require.Equal(t, Refused, refused.Fate)
	require.Equal(t, "ECONNREFUSED", refused.Error)
	require.Equal(t, 520*time.Millisecond, refused.End)

	s.Client = clientNamed(t, "windows")
	refused = mustRun(t, s).Clients[1]
	require.Equal(t, "WSAECONNREFUSED", refused.Error)
	require.Equal(t, 4, refused.Retransmissions(), "Windows tries again")
	require.Greater(t, refused.End, 2500*time.Millisecond)
}

// The burst that `ulisten demo` plays with real clients, under the same policies,
// has the same fates here.
func TestTheDemosFates(t *testing.T) {
	for _, tc := range []struct {
		overflow   listenq.Overflow
		syncookies int
		fates      map[string]int
	}{
		{listenq.Overflow{}, 0, map[string]int{"served 0": 3, "served 1": 3, "timed out 1": 2}},
		{listenq.Overflow{ResetSYN: true}, 0, map[string]int{"served 0": 3, "refused 0": 5}},
		{listenq.Overflow{ResetFinalACK: true}, 0, map[string]int{"served 0": 3, "served 1": 1, "reset 1": 2, "timed out 1": 2}},
		{listenq.Overflow{}, 1, map[string]int{"served 0": 8}},
	} {
		sysctls := listenq.DefaultSysctls()
		sysctls.Syncookies = tc.syncookies
		impatient := clientNamed(t, "linux-6")
		impatient.Repeats, impatient.GiveUp = seconds(1), 3*time.Second
		r := mustRun(t, Scenario{
			Server:      serverNamed(t, "linux-6"),
			Backlog:     2,
			Overflow:    tc.overflow,
			Sysctls:     &sysctls,
			Client:      impatient,
			Clients:     8,
			RTT:         200 * time.Millisecond,
			AcceptStart: 500 * time.Millisecond,
			AcceptEvery: 2800 * time.Millisecond,
			Duration:    5 * time.Minute,
		})
		fates := map[string]int{}
		for _, c := range r.Clients {
			fates[fmt.Sprint(c.Fate, " ", c.Retransmissions())]++
			if c.Fate == Reset {
				require.Equal(t, "ECONNRESET", c.Error)
				require.NotEqual(t, Never, c.Connected, "connect(2) had succeeded")
				require.Equal(t, Never, c.Queued)
			}
		}
		require.Equal(t, tc.fates, fates, "%v", tc.overflow)
		require.Equal(t, 3, r.MostSYN)
		require.Equal(t, 3, r.MostAccept)
	}
}

// A client that is connected and not queued gets in with its repeated request.
func TestCookieWhoseACKWasIgnored(t *testing.T) {
	s := linux(t, 3)
	s.Arrival = Arrival{} // the second and third SYN find the SYN queue full
	s.AcceptStart = 300 * time.Millisecond
	r := mustRun(t, s)
	require.EqualValues(t, 2, r.Counters.SyncookiesSent)
	second := r.Clients[1]
	require.Equal(t, 20*time.Millisecond, second.Connected)
	require.Equal(t, 470*time.Millisecond, second.Queued, "the request went out at 0.02, 0.24 and 0.46 s")
	require.Equal(t, Served, second.Fate)
}

func TestFlood(t *testing.T) {
	s := linux(t, 40)
	s.Arrival = Uniform(100 * time.Millisecond)
	s.Silent = 0.75
	s.Backlog = 9
	s.AcceptStart = 0
	sysctls := listenq.DefaultSysctls()
	s.Sysctls = &sysctls
	r := mustRun(t, s)
	require.Equal(t, map[Fate]int{Silent: 30, Served: 10}, r.Fates())
	require.Equal(t, 10, r.MostSYN)
	withCookies := r.Clients

	sysctls.Syncookies = 0
	r = mustRun(t, s)
	require.Equal(t, 30, r.Fates()[Silent])
	late := 0
	for i, c := range r.Clients {
		require.Equal(t, withCookies[i].Fate == Silent, c.Fate == Silent, "the same ones")
		if c.Retransmissions() > 0 {
			late++
		}
	}
	require.Positive(t, late, "without cookies a flood costs somebody time")
}

func TestPatience(t *testing.T) {
	s := linux(t, 2)
	s.Patience = 3200 * time.Millisecond
	s.AcceptStart = 10 * time.Second
	r := mustRun(t, s)
	require.Equal(t, map[Fate]int{GaveUp: 2}, r.Fates())
	require.Equal(t, 3200*time.Millisecond, r.Clients[0].End)
	require.Equal(t, 3700*time.Millisecond, r.Clients[1].End)
	require.Equal(t, seconds(0.5, 1.5, 2.5, 3.5), r.Clients[1].SYNs)
	require.Equal(t, 10*time.Second, r.Clients[0].Accepted, "on Linux a connection that was reset is still accepted")
	require.Equal(t, Never, r.Clients[1].Accepted)
}

// On FreeBSD accept(2) fails with ECONNABORTED for a connection that its client
// has reset.
func TestPatienceWhereAcceptFails(t *testing.T) {
	s := linux(t, 1)
	s.Server = serverNamed(t, "freebsd")
	s.Patience = time.Second
	s.AcceptStart = 2 * time.Second
	c := mustRun(t, s).Clients[0]
	require.Equal(t, GaveUp, c.Fate)
	require.NotEqual(t, Never, c.Queued)
	require.Equal(t, Never, c.Accepted)
}

func TestFatesAreWords(t *testing.T) {
	for f := Absent; f <= Silent; f++ {
		text, err := f.MarshalText()
		require.NoError(t, err)
		var back Fate
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, f, back)
	}
	require.EqualError(t, new(Fate).UnmarshalText([]byte("lost")),
		`unknown fate "lost": use one of absent, connecting, waiting, served, refused, timed out, reset, gave up, silent`)
	require.Equal(t, "unknown(99)", Fate(99).String())
}

func TestAcceptInBatches(t *testing.T) {
	s := linux(t, 5)
	s.Backlog = 8
	s.AcceptStart = 3 * time.Second
	s.AcceptEvery = time.Second
	s.AcceptBatch = 2
	r := mustRun(t, s)
	var at []time.Duration
	for _, c := range r.Clients {
		at = append(at, c.Accepted)
	}
	require.Equal(t, seconds(3, 3, 4, 4, 5), at)

	s.AcceptEvery, s.AcceptBatch = 0, 0
	for _, c := range mustRun(t, s).Clients {
		require.Equal(t, 3*time.Second, c.Accepted)
	}
}

// The application that waits in accept(2) gets a connection the moment it is
// there, and is then busy.
func TestAcceptWaits(t *testing.T) {
	s := linux(t, 3)
	s.Backlog = 8
	s.AcceptStart = 0
	s.AcceptEvery = 600 * time.Millisecond
	r := mustRun(t, s)
	require.Equal(t, seconds(0.03, 0.63, 1.23), []time.Duration{
		r.Clients[0].Accepted, r.Clients[1].Accepted, r.Clients[2].Accepted,
	})
}

func TestGivenArrivals(t *testing.T) {
	s := linux(t, 2)
	s.Arrival = At(seconds(0.25, 7))
	r := mustRun(t, s)
	require.Equal(t, seconds(0.25), r.Clients[0].SYNs)
	require.Equal(t, 7*time.Second, r.Clients[1].SYNs[0])
}

func TestLoss(t *testing.T) {
	s := linux(t, 200)
	s.Backlog = 500
	s.AcceptStart = 0
	s.Loss = 0.2
	s.Seed = 5
	r := mustRun(t, s)
	require.Equal(t, map[Fate]int{Served: 200}, r.Fates(), "TCP copes with it")
	again := 0
	for _, c := range r.Clients {
		again += c.Retransmissions()
	}
	require.InDelta(t, 200*0.5625, again, 40, "a SYN or its SYN-ACK is lost in 36 %% of the tries")

	s.Loss = 1
	s.Clients = 3
	require.Equal(t, map[Fate]int{TimedOut: 3}, mustRun(t, s).Fates())
}

// What is lost depends on the client and the segment, not on the server.
func TestLossIsTheSameUnderEveryProfile(t *testing.T) {
	s := linux(t, 50)
	s.Backlog = 64
	s.AcceptStart = 0
	s.Loss = 0.5
	var first []bool
	for _, p := range listenq.Profiles() {
		if limit, err := p.Limit(s.Backlog, -1); err != nil || limit < 50 {
			continue // it refuses some whose segments arrive
		}
		s.Server = p
		s.Duration = 900 * time.Millisecond // before anything is sent again
		s.Arrival = Arrival{}
		var heard []bool
		for _, c := range mustRun(t, s).Clients {
			heard = append(heard, c.Connected != Never)
		}
		if first == nil {
			first = heard
		}
		require.Equal(t, first, heard, p.Name)
	}
}

func TestScenarioErrors(t *testing.T) {
	for want, change := range map[string]func(*Scenario){
		"no server profile":                        func(s *Scenario) { s.Server = nil },
		"no client profile":                        func(s *Scenario) { s.Client = nil },
		"0 clients: use 1 to 100000":               func(s *Scenario) { s.Clients = 0 },
		"100001 clients: use 1 to 100000":          func(s *Scenario) { s.Clients = MaxClients + 1 },
		"a duration of 0s: use more than 0":        func(s *Scenario) { s.Duration = 0 },
		"a duration of 24h0m0.000000001s":          func(s *Scenario) { s.Duration = MaxDuration + 1 },
		"a round trip time of -1ns: use 0 to 1m0s": func(s *Scenario) { s.RTT = -1 },
		"a jitter of 1h0m0s: use 0 to 1m0s":        func(s *Scenario) { s.Jitter = time.Hour },
		"a loss of 1.5: use a share from 0 to 1":   func(s *Scenario) { s.Loss = 1.5 },
		"a loss of NaN: use a share":               func(s *Scenario) { s.Loss = math.NaN() },
		"-1 of the clients silent":                 func(s *Scenario) { s.Silent = -1 },
		"a patience of -1s":                        func(s *Scenario) { s.Patience = -time.Second },
		"accept starts at -1s":                     func(s *Scenario) { s.AcceptStart = -time.Second },
		"accept every -1s":                         func(s *Scenario) { s.AcceptEvery = -time.Second },
		"-1 connections accepted in a turn":        func(s *Scenario) { s.AcceptBatch = -1 },
		"arrival burst=0/0s: use bursts of 1":      func(s *Scenario) { s.Arrival = Bursts(0, 0) },
		"1 times of arrival for 2 clients":         func(s *Scenario) { s.Arrival = At(seconds(1)) },
		"use times from 0 that do not decrease":    func(s *Scenario) { s.Arrival = At(seconds(2, 1)) },
		`client profile "linux-6": refused: empty`: func(s *Scenario) { s.Client.Refused = "" },
	} {
		s := linux(t, 2)
		change(&s)
		_, err := Run(s)
		require.ErrorContains(t, err, want)
	}
}

func TestStepsAreBounded(t *testing.T) {
	s := linux(t, 20)
	_, err := play(s, 100)
	require.ErrorContains(t, err, "more than 100 steps by ")
	require.ErrorContains(t, err, "use fewer clients or a shorter duration")
}

// anyScenario draws a scenario of moderate size.
func anyScenario(t *rapid.T) Scenario {
	upTo := func(label string, most time.Duration) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, label)).Round(time.Millisecond)
	}
	sysctls := listenq.DefaultSysctls()
	sysctls.Syncookies = rapid.IntRange(0, 2).Draw(t, "syncookies")
	s := Scenario{
		Server:      rapid.SampledFrom(listenq.Profiles()).Draw(t, "server"),
		Client:      rapid.SampledFrom(client.Profiles()).Draw(t, "client"),
		Backlog:     rapid.IntRange(1, 6).Draw(t, "backlog"),
		Clients:     rapid.IntRange(1, 40).Draw(t, "clients"),
		RTT:         upTo("rtt", time.Second),
		Jitter:      upTo("jitter", 300*time.Millisecond),
		Loss:        rapid.SampledFrom([]float64{0, 0, 0.1, 0.5}).Draw(t, "loss"),
		Silent:      rapid.SampledFrom([]float64{0, 0, 0.3, 1}).Draw(t, "silent"),
		Patience:    rapid.SampledFrom([]time.Duration{0, 0, time.Second, 10 * time.Second}).Draw(t, "patience"),
		AcceptStart: upTo("accept start", 20*time.Second),
		AcceptEvery: upTo("accept every", 5*time.Second),
		AcceptBatch: rapid.IntRange(0, 4).Draw(t, "batch"),
		Seed:        rapid.Uint64().Draw(t, "seed"),
		Duration:    5 * time.Minute,
		Arrival: rapid.SampledFrom([]Arrival{
			{}, Bursts(3, 700*time.Millisecond), Uniform(4 * time.Second), Poisson(5),
		}).Draw(t, "arrival"),
	}
	if rapid.Bool().Draw(t, "own sysctls") {
		s.Sysctls = &sysctls
	}
	if rapid.Bool().Draw(t, "policy") {
		s.Overflow = listenq.Overflow{ResetSYN: rapid.Bool().Draw(t, "reset SYN"), ResetFinalACK: rapid.Bool().Draw(t, "reset ACK")}
	}
	return s
}

// What holds in every run, whatever the scenario; and the same scenario gives
// the same result.
func TestEveryRunAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyScenario(t)
		r := mustRun(t, s)
		require.Equal(t, fmt.Sprint(r.Clients, r.Depths, r.Counters, r.Decisions, r.Events, r.End), func() string {
			again := mustRun(t, s)
			return fmt.Sprint(again.Clients, again.Depths, again.Counters, again.Decisions, again.Events, again.End)
		}())

		most := Depth{}
		for i, d := range r.Depths {
			most.SYN, most.Accept = max(most.SYN, d.SYN), max(most.Accept, d.Accept)
			require.True(t, i == 0 || r.Depths[i-1].At < d.At, "times increase")
			require.True(t, d.SYN >= 0 && d.Accept >= 0)
		}
		require.LessOrEqual(t, most.SYN, r.MostSYN)
		require.LessOrEqual(t, most.Accept, r.MostAccept)
		if r.AcceptCapacity >= 0 {
			require.LessOrEqual(t, r.MostAccept, r.AcceptCapacity)
		}
		if r.SYNCapacity >= 0 {
			require.LessOrEqual(t, r.MostSYN, r.SYNCapacity)
		}

		accepted := time.Duration(-1)
		for i, c := range r.Clients {
			require.NotEqual(t, Absent, c.Fate, "everybody came")
			require.NotEmpty(t, c.SYNs)
			require.True(t, slices.IsSorted(c.SYNs))
			require.LessOrEqual(t, len(c.SYNs), 1+len(s.Client.Repeats)+s.Client.ResetRetries)
			require.Equal(t, slices.Contains([]Fate{Connecting, Waiting}, c.Fate), c.End == Never, "client %d: %+v", i, c)
			if slices.Contains([]Fate{Served, Reset, Waiting}, c.Fate) {
				require.GreaterOrEqual(t, c.Connected, c.SYNs[0]+s.RTT/2*2)
			}
			if slices.Contains([]Fate{Refused, TimedOut, Silent, Connecting}, c.Fate) {
				require.Equal(t, Never, c.Connected)
			}
			if c.Fate == Served {
				require.GreaterOrEqual(t, c.Accepted, c.Queued)
				require.GreaterOrEqual(t, c.End, c.Accepted+s.RTT/2)
			}
			require.Equal(t, slices.Contains([]Fate{Refused, TimedOut, Reset}, c.Fate), c.Error != "")
			accepted = max(accepted, c.Accepted)
		}
		require.Less(t, accepted, s.Duration+1)
	})
}

// How many steps a client takes does not depend on how many there are, and a
// step allocates next to nothing.
func TestTenThousandClients(t *testing.T) {
	for _, p := range listenq.Profiles() {
		s := crowd(t, p)
		r := mustRun(t, s)
		require.Less(t, r.Events, 50*s.Clients, p.Name)
		require.Greater(t, r.Events, 3*s.Clients, p.Name)
		allocs := testing.AllocsPerRun(1, func() { mustRun(t, s) })
		require.Less(t, allocs, 1.5*float64(s.Clients), "%s: %d events", p.Name, r.Events)
	}
}

// crowd is a minute with 10,000 clients and an application that is not quite up
// to them.
func crowd(t require.TestingT, p *listenq.Profile) Scenario {
	return Scenario{
		Server:      p,
		Client:      clientNamed(t, "linux-6"),
		Backlog:     128,
		Clients:     10_000,
		Arrival:     Poisson(250),
		RTT:         20 * time.Millisecond,
		Jitter:      5 * time.Millisecond,
		AcceptEvery: 5 * time.Millisecond,
		Duration:    time.Minute,
	}
}

func BenchmarkRun(b *testing.B) {
	for _, p := range listenq.Profiles() {
		b.Run(p.Name, func(b *testing.B) {
			s := crowd(b, p)
			events := 0
			b.ReportAllocs()
			for b.Loop() {
				events = mustRun(b, s).Events
			}
			b.ReportMetric(float64(s.Clients*b.N)/b.Elapsed().Seconds(), "clients/s")
			b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
