package main

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/sim"
)

// comparison is what compare prints. Times are in seconds since the start of a
// run.
type comparison struct {
	Scenario compareScenario `json:"scenario"`
	Runs     []*compareRun   `json:"runs"`
	Live     *liveComparison `json:"live,omitempty"`
}

// compareScenario is what all runs have in common.
type compareScenario struct {
	Clients     int         `json:"clients"`
	Backlog     int         `json:"backlog"`
	Arrival     sim.Arrival `json:"arrival"`
	Silent      float64     `json:"silent_share"`
	Patience    float64     `json:"patience_seconds"`
	RoundTrip   float64     `json:"round_trip_seconds"`
	Jitter      float64     `json:"jitter_seconds"`
	Loss        float64     `json:"loss_share"`
	AcceptStart float64     `json:"accept_start_seconds"`
	AcceptEvery float64     `json:"accept_every_seconds"`
	AcceptBatch int         `json:"accept_batch"`
	Seed        uint64      `json:"seed"`
	Duration    float64     `json:"duration_seconds"`

	words string // all of it in a sentence
}

// compareRun is the burst under one pair of profiles.
type compareRun struct {
	Server      string `json:"server"`
	ServerTitle string `json:"server_title"`
	Client      string `json:"client"`
	ClientTitle string `json:"client_title"`
	// ListenError says that the platform's listen(2) refuses the backlog; then
	// nothing else is set.
	ListenError string `json:"listen_error,omitempty"`
	// Guesses are the rules that this run depends on and nobody has verified.
	Guesses []compareGuess `json:"guesses"`
	Limit   int            `json:"limit"`
	// AcceptFull is the depth at which a SYN finds the accept queue full; final
	// ACKs can fill it to its capacity. Capacities are -1 where there is no bound.
	AcceptFull     int `json:"accept_queue_full_at"`
	AcceptCapacity int `json:"accept_queue_capacity"`
	SYNCapacity    int `json:"syn_queue_capacity"`
	MostSYN        int `json:"syn_queue_most"`
	MostAccept     int `json:"accept_queue_most"`
	// Connected counts clients that connected, and were not reset and did not give
	// up afterwards, by how often they had to send their SYN again.
	Connected  []int             `json:"connected_by_syn_retransmissions"`
	Fates      map[string]int    `json:"fates"`
	Connect    *compareTimes     `json:"connect_seconds,omitempty"`
	Reply      *compareTimes     `json:"reply_seconds,omitempty"`
	End        float64           `json:"end_seconds"`
	Counters   map[string]uint64 `json:"counters"`
	Decisions  []compareDecision `json:"decisions"`
	EachClient []compareClient   `json:"clients"`
	Depths     []compareDepth    `json:"depths"`

	result *sim.Result
}

// compareGuess is a rule that nobody has verified.
type compareGuess struct {
	Profile string `json:"profile"`
	Field   string `json:"field"`
	Note    string `json:"note,omitempty"`
}

// compareTimes are of those clients that got so far, since their first SYN.
type compareTimes struct {
	Median float64 `json:"median"`
	Worst  float64 `json:"worst"`
}

// compareDecision is a kind of decision and how often it was taken.
type compareDecision struct {
	Packet  string `json:"packet"`
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Times   int    `json:"times"`
}

// compareClient is one client.
type compareClient struct {
	Fate      sim.Fate  `json:"fate"`
	Error     string    `json:"error,omitempty"`
	SYNs      []float64 `json:"syns"`
	Connected *float64  `json:"connected,omitempty"`
	Queued    *float64  `json:"queued,omitempty"`
	Accepted  *float64  `json:"accepted,omitempty"`
	End       *float64  `json:"end,omitempty"`
}

// compareDepth is how deep the queues are from a moment on.
type compareDepth struct {
	At     float64 `json:"at"`
	SYN    int     `json:"syn_queue"`
	Accept int     `json:"accept_queue"`
}

func (k *compareCmd) scenario() compareScenario {
	return compareScenario{
		Clients:     k.Clients,
		Backlog:     int(k.Backlog),
		Arrival:     k.Arrival,
		Silent:      k.Silent,
		Patience:    k.Patience.Seconds(),
		RoundTrip:   k.RTT.Seconds(),
		Jitter:      k.Jitter.Seconds(),
		Loss:        k.Loss,
		AcceptStart: k.AcceptStart.Seconds(),
		AcceptEvery: k.AcceptEvery.Seconds(),
		AcceptBatch: k.AcceptBatch,
		Seed:        k.Seed,
		Duration:    k.Duration.Seconds(),
		words:       k.words(),
	}
}

// compareRunOf plays a scenario. The error is about the scenario.
func compareRunOf(s sim.Scenario) (*compareRun, error) {
	run := &compareRun{
		Server: s.Server.Name, ServerTitle: s.Server.Title,
		Client: s.Client.Name, ClientTitle: s.Client.Title,
		Guesses: []compareGuess{}, Fates: map[string]int{}, Counters: map[string]uint64{},
	}
	result, err := sim.Run(s)
	if errors.Is(err, listenq.ErrBacklog) {
		run.ListenError = "EINVAL"
		run.Guesses = guesses(s, nil)
		return run, nil
	}
	if err != nil {
		return nil, err
	}
	run.result = result
	run.Guesses = guesses(s, result)
	run.Limit, run.SYNCapacity, run.AcceptCapacity = result.Limit, result.SYNCapacity, result.AcceptCapacity
	run.AcceptFull = acceptFull(s, result.AcceptCapacity)
	run.MostSYN, run.MostAccept = result.MostSYN, result.MostAccept
	run.End = result.End.Seconds()
	for fate, n := range result.Fates() {
		run.Fates[fate.String()] = n
	}
	result.Counters.Each(func(name string, value uint64) { run.Counters[name] = value })
	for _, d := range result.Decisions {
		packet := "timer"
		if d.Packet != 0 {
			packet = d.Packet.String()
		}
		run.Decisions = append(run.Decisions, compareDecision{packet, d.Verdict.String(), d.Reason.String(), d.Times})
	}
	for _, d := range result.Depths {
		run.Depths = append(run.Depths, compareDepth{d.At.Seconds(), d.SYN, d.Accept})
	}
	var connects, replies []time.Duration
	for i := range result.Clients {
		c := &result.Clients[i]
		run.EachClient = append(run.EachClient, compareClientOf(c))
		if c.Connected == sim.Never {
			continue
		}
		connects = append(connects, c.ConnectTime())
		if c.Fate == sim.Served {
			replies = append(replies, c.End-c.SYNs[0])
		}
		if c.Fate != sim.Served && c.Fate != sim.Waiting {
			continue // it has a column of its own
		}
		for len(run.Connected) <= c.Retransmissions() {
			run.Connected = append(run.Connected, 0)
		}
		run.Connected[c.Retransmissions()]++
	}
	run.Connect, run.Reply = timesOf(connects), timesOf(replies)
	return run, nil
}

// acceptFull is the depth at which a SYN finds the accept queue full: its
// capacity, where SYNs are let in regardless.
func acceptFull(s sim.Scenario, capacity int) int {
	for _, step := range s.Server.Steps(s.Backlog, -1) {
		if step.Field == "accept-queue.at-syn" && step.Value >= 0 && (capacity < 0 || step.Value < capacity) {
			return step.Value
		}
	}
	return capacity
}

func compareClientOf(c *sim.Client) compareClient {
	at := func(t time.Duration) *float64 {
		if t == sim.Never {
			return nil
		}
		s := t.Seconds()
		return &s
	}
	each := compareClient{
		Fate: c.Fate, Error: c.Error, SYNs: []float64{},
		Connected: at(c.Connected), Queued: at(c.Queued), Accepted: at(c.Accepted), End: at(c.End),
	}
	for _, t := range c.SYNs {
		each.SYNs = append(each.SYNs, t.Seconds())
	}
	return each
}

// timesOf returns the lower median and the worst; nil if there are none.
func timesOf(times []time.Duration) *compareTimes {
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	return &compareTimes{times[(len(times)-1)/2].Seconds(), times[len(times)-1].Seconds()}
}

// guesses returns the rules that a run depends on and that nobody has verified:
// how the backlog became a limit, and what decided about clients. A nil result
// stands for a listen(2) that failed.
func guesses(s sim.Scenario, result *sim.Result) []compareGuess {
	fields := map[string]bool{}
	for _, step := range s.Server.Steps(s.Backlog, -1) {
		fields[step.Field] = true
	}
	found := []compareGuess{}
	if result != nil {
		fields["accept-queue.counts"] = true
		for _, d := range result.Decisions {
			for _, field := range decidedBy(d.Decision) {
				fields[field] = true
			}
		}
		if result.Counters.Evictions > 0 {
			fields["syn-queue.full"], fields["accept-queue.full-syn"] = true, true
		}
		found = clientGuesses(s.Client, result)
	}
	var unverified []compareGuess
	for field, c := range s.Server.Citations {
		if fields[field] && c.Verified == listenq.Guess {
			unverified = append(unverified, compareGuess{s.Server.Name, field, c.Note})
		}
	}
	slices.SortFunc(unverified, func(a, b compareGuess) int { return strings.Compare(a.Field, b.Field) })
	return append(unverified, found...)
}

// decidedBy names the rules of a profile behind a decision.
func decidedBy(d sim.Decision) []string {
	syn := d.Packet.Has(listenq.SYN)
	switch d.Reason {
	case listenq.AcceptQueueFull:
		if syn {
			return []string{"accept-queue.full-syn"}
		}
		return []string{"accept-queue.full-ack"}
	case listenq.SYNQueueFull:
		return []string{"syn-queue.full"}
	case listenq.SYNQueueFullCookie:
		return []string{"syn-queue.full", "cookies.use"}
	case listenq.DuplicateSYN:
		return []string{"half-open.duplicate-syn", "half-open.duplicate-timer"}
	case listenq.RetransmitTimeout:
		return []string{"syn-ack.waits", "syn-ack.retries"}
	case listenq.RetriesExhausted:
		return []string{"syn-ack.waits", "syn-ack.retries", "syn-ack.end"}
	case listenq.OldRequestShed:
		return []string{"syn-queue.shed"}
	case listenq.BadACK:
		return []string{"half-open.bad-ack"}
	case listenq.OutOfWindow:
		return []string{"half-open.out-of-window"}
	case listenq.RSTExact:
		return []string{"half-open.rst-removes"}
	case listenq.RSTInWindow:
		return []string{"half-open.rst-in-window"}
	}
	return nil
}

// clientGuesses is the same for the clients.
func clientGuesses(p *client.Profile, result *sim.Result) []compareGuess {
	fields := map[string]bool{}
	for i := range result.Clients {
		c := &result.Clients[i]
		if c.Retransmissions() > 0 {
			fields["repeats"] = true
		}
		switch c.Fate {
		case sim.Refused:
			fields["refused"], fields["reset-retries"], fields["reset-delay"] = true, true, true
		case sim.TimedOut:
			fields["timed-out"], fields["give-up"] = true, true
		}
	}
	found := []compareGuess{}
	for field, c := range p.Citations {
		if fields[field] && c.Verified == listenq.Guess {
			found = append(found, compareGuess{p.Name, field, c.Note})
		}
	}
	slices.SortFunc(found, func(a, b compareGuess) int { return strings.Compare(a.Field, b.Field) })
	return found
}
