package sim

import (
	"fmt"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
)

// A run is a scenario being played.
type run struct {
	scenario  Scenario
	now       time.Duration
	events    eventQueue
	wire      wire
	peers     []peer
	results   []Client
	syns      []sentSYN
	listener  *listenq.Listener
	armed     time.Duration // when a listenerTimer event is due, or Never
	carryOut  func(listenq.Outcome)
	idle      bool // the application waits in accept(2)
	gauge     gauge
	decisions decisions
}

// sentSYN is a SYN that a client sent.
type sentSYN struct {
	who int32
	at  time.Duration
}

// A peer is a client with its connection, both ends of it.
type peer struct {
	flow    listenq.Flow
	silent  bool
	sent    [2]uint32 // segments, by direction
	attempt *client.Attempt
	local   localEnd
	remote  remoteEnd
}

// Run plays a scenario to its end. The error is about a scenario out of its
// bounds, a profile that contradicts itself, a backlog that the platform refuses
// (listenq.ErrBacklog) or a run that takes more than MaxEvents steps.
func Run(s Scenario) (*Result, error) {
	return play(s, MaxEvents)
}

func play(s Scenario, maxEvents int) (*Result, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if err := s.Client.Validate(); err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	listener, err := listenq.New(listenq.Config{
		Profile:  s.Server,
		Backlog:  s.Backlog,
		Sysctls:  s.Sysctls,
		Overflow: s.Overflow,
		Window:   window,
	})
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	r := &run{
		scenario: s,
		listener: listener,
		armed:    Never,
		peers:    make([]peer, s.Clients),
		results:  make([]Client, s.Clients),
		gauge:    newGauge(s.Duration, maxDepths),
	}
	r.carryOut = func(out listenq.Outcome) { r.obey(clientOf(&out.Flow), 0, &out) }
	quiet := silent(s.Clients, s.Silent, s.Seed)
	for i, at := range s.Arrival.Times(s.Clients, s.Seed) {
		r.peers[i].flow = flowOf(int32(i))
		r.peers[i].silent = quiet[i]
		r.results[i] = Client{Connected: Never, Queued: Never, Accepted: Never, End: Never}
		r.events.push(event{at: at, kind: clientStarts, client: int32(i)})
	}
	r.events.push(event{at: s.AcceptStart, kind: applicationTurn})

	steps := 0
	for ; len(r.events.heap) > 0; steps++ {
		e := r.events.pop()
		if e.at > s.Duration {
			r.now = s.Duration
			break
		}
		if steps == maxEvents {
			return nil, fmt.Errorf("sim: more than %d steps by %v: use fewer clients or a shorter duration", maxEvents, e.at)
		}
		r.now = e.at
		r.happen(e)
	}
	return r.result(steps), nil
}

// happen is one event.
func (r *run) happen(e event) {
	switch e.kind {
	case clientStarts:
		r.start(e.client)
	case clientTimer:
		r.clientTimeout(e.client)
	case clientImpatient:
		r.impatient(e.client)
	case serverTimer:
		r.replyTimeout(e.client)
	case listenerTimer:
		if e.at == r.armed {
			r.armed = Never
		}
		r.advance()
		r.rearm()
	case applicationTurn:
		r.acceptTurn()
	case arrivesAtServer:
		seg := r.wire.take(e.segment)
		r.atServer(e.client, &seg)
	case arrivesAtClient:
		seg := r.wire.take(e.segment)
		r.atClient(e.client, &seg)
	}
}

func (r *run) result(steps int) *Result {
	syns := make([]time.Duration, 0, len(r.syns))
	perClient := make([]int, len(r.peers))
	for _, s := range r.syns {
		perClient[s.who]++
	}
	for i, n := range perClient {
		r.results[i].SYNs = syns[len(syns) : len(syns) : len(syns)+n]
		syns = syns[:len(syns)+n]
	}
	for _, s := range r.syns {
		c := &r.results[s.who]
		c.SYNs = append(c.SYNs, s.at)
	}
	return &Result{
		Scenario:       r.scenario,
		Limit:          r.listener.Limit(),
		SYNCapacity:    r.listener.SYNCapacity(),
		AcceptCapacity: r.listener.AcceptCapacity(),
		Clients:        r.results,
		Depths:         r.gauge.finish(r.now),
		MostSYN:        r.gauge.mostSYN,
		MostAccept:     r.gauge.mostAccept,
		Counters:       r.listener.Counters(),
		Decisions:      r.decisions.sorted(),
		End:            r.now,
		Events:         steps,
	}
}
