//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/ulisten/ulisten/tun"
)

// measurement is a question put to every contestant.
type measurement struct {
	name, about string
	service     service
	backlog     int
	workload    workload
	workers     int
	path        *tun.Impairment // between client and server; nil is a cable
	metrics     []metric
	measure     func(actors, trialSetup) (values, error)
}

func (m measurement) label() string { return m.name }

// metric is one number of the answer.
type metric struct {
	Name       string
	Unit       string
	LessIsMore bool // smaller is better
}

// Names of metrics. A unit of work is a byte, connection, request or round
// trip, as the measurement has it.
const (
	rate        = "rate" // units per second
	cpuPerUnit  = "cpu"  // CPU time of the server process
	heapPerUnit = "heap" // live memory of the server process
	took        = "time" // from the first byte to the last
)

var (
	bulkMetrics = []metric{{rate, "Gbit/s", false}, {cpuPerUnit, "CPU s/GB", true}}
	connMetrics = []metric{{rate, "conn/s", false}, {cpuPerUnit, "CPU us/conn", true}}
	echoMetrics = []metric{{rate, "trips/s", false}, {cpuPerUnit, "CPU us/trip", true}}
)

var measurements = []measurement{
	{
		name:     "bulk-in",
		about:    "one stream towards the stack, MTU 1500",
		service:  serveSink,
		backlog:  16,
		workload: workPush,
		metrics:  bulkMetrics,
		measure:  measureBulkIn,
	},
	{
		name:     "bulk-out",
		about:    "one stream from the stack, MTU 1500",
		service:  serveSource,
		backlog:  16,
		workload: workPull,
		metrics:  bulkMetrics,
		measure:  measureBulkOut,
	},
	connMeasurement(1, workConnRST),
	connMeasurement(8, workConnRST),
	connMeasurement(64, workConnRST),
	connMeasurement(8, workConnFIN),
	{
		name:     "half-open",
		about:    "SYNs from distinct sources, SYN-ACKs included; memory for all, CPU time for the first fifth",
		service:  serveNone,
		backlog:  hugeBacklog,
		workload: workSYN,
		metrics:  []metric{{rate, "SYN/s", false}, {cpuPerUnit, "CPU us/request", true}, {heapPerUnit, "bytes/request", true}},
		measure:  measureHalfOpen,
	},
	{
		name:     "overflow",
		about:    "SYNs that are dropped because the accept queue is full",
		service:  serveNone,
		backlog:  4,
		workload: workOverflow,
		metrics:  []metric{{rate, "SYN/s", false}, {cpuPerUnit, "CPU us/SYN", true}},
		measure:  measureOverflow,
	},
	{
		name:     "echo",
		about:    fmt.Sprintf("round trips of %d bytes on one connection", echoSize),
		service:  serveEcho,
		backlog:  16,
		workload: workEcho,
		metrics:  echoMetrics,
		measure:  measureRate,
	},
	fetchMeasurement("late-10", "10 % of the packets 10 ms late", tun.Impairment{Late: 0.10}),
	fetchMeasurement("late-2", "2 % of the packets 10 ms late", tun.Impairment{Late: 0.02}),
	fetchMeasurement("loss-1", "1 % of the packets lost", tun.Impairment{Loss: 0.01}),
}

func connMeasurement(workers int, w workload) measurement {
	m := measurement{
		name:     fmt.Sprintf("conn-%d", workers),
		about:    fmt.Sprintf("connect, accept, one byte, client resets; %d at a time", workers),
		service:  serveGreet,
		backlog:  1024,
		workload: w,
		workers:  workers,
		metrics:  connMetrics,
		measure:  measureRate,
	}
	if w == workConnFIN {
		m.name += "-fin"
		m.about = fmt.Sprintf("connect, accept, one byte, client closes; %d at a time", workers)
	}
	return m
}

// warmUp lets windows open and caches fill.
const warmUp = 250 * time.Millisecond

// pace is what a trial of steady work comes to.
type pace struct {
	perSecond float64 // units of work, counted by the process named in watch
	cpuShare  float64 // cores that the server process kept busy
}

// watch lets both processes work for a while. count is the one whose count
// matters. If nothing gets done, as on a very busy machine, it watches longer.
func watch(a actors, count *process, d time.Duration) (pace, error) {
	const patience = 20 * time.Second
	time.Sleep(warmUp)
	serverBefore, err := a.server.snapshot()
	if err != nil {
		return pace{}, err
	}
	before, err := count.snapshot()
	if err != nil {
		return pace{}, err
	}
	for {
		time.Sleep(d)
		serverAfter, err := a.server.snapshot()
		if err != nil {
			return pace{}, err
		}
		after, err := count.snapshot()
		if err != nil {
			return pace{}, err
		}
		if after.Count > before.Count {
			return pace{
				perSecond: float64(after.Count-before.Count) / (after.At - before.At).Seconds(),
				cpuShare:  (serverAfter.CPU - serverBefore.CPU).Seconds() / (serverAfter.At - serverBefore.At).Seconds(),
			}, nil
		}
		if after.At-before.At > patience {
			return pace{}, fmt.Errorf("nothing got done in %v", patience)
		}
	}
}

// measureBulkIn counts bytes where they arrive, at the server.
func measureBulkIn(a actors, setup trialSetup) (values, error) {
	return bulkValues(watch(a, a.server, setup.seconds))
}

// measureBulkOut counts bytes where they arrive, at the client.
func measureBulkOut(a actors, setup trialSetup) (values, error) {
	return bulkValues(watch(a, a.client, setup.seconds))
}

func bulkValues(p pace, err error) (values, error) {
	const giga = 1e9
	return values{rate: p.perSecond * 8 / giga, cpuPerUnit: p.cpuShare / p.perSecond * giga}, err
}

// measureRate counts what the client got done.
func measureRate(a actors, setup trialSetup) (values, error) {
	p, err := watch(a, a.client, setup.seconds)
	const micro = 1e6
	return values{rate: p.perSecond, cpuPerUnit: p.cpuShare / p.perSecond * micro}, err
}

func measureHalfOpen(a actors, setup trialSetup) (values, error) {
	// CPU time is taken before the first SYN-ACK is repeated after a second.
	timed := setup.floodSize / 5
	empty, err := a.server.snapshotLive()
	if err != nil {
		return nil, err
	}
	before, err := a.server.snapshot()
	if err != nil {
		return nil, err
	}
	first, err := a.client.inject(timed, true)
	if err != nil {
		return nil, err
	}
	after, err := a.server.snapshot()
	if err != nil {
		return nil, err
	}
	second, err := a.client.inject(setup.floodSize-timed, true)
	if err != nil {
		return nil, err
	}
	full, err := a.server.snapshotLive()
	if err != nil {
		return nil, err
	}
	if first.Answered < timed*9/10 {
		return nil, fmt.Errorf("only %d of %d SYNs were answered", first.Answered, first.Sent)
	}
	reached := first.reached() + second.reached()
	if full.HalfOpen >= 0 && full.HalfOpen < reached*99/100 {
		return nil, fmt.Errorf("the server holds only %d of %d requests", full.HalfOpen, reached)
	}
	return values{
		rate:        float64(first.Answered) / first.Took.Seconds(),
		cpuPerUnit:  perUnit(after.CPU-before.CPU, first.Answered),
		heapPerUnit: (float64(full.Heap) - float64(empty.Heap)) / float64(reached),
	}, nil
}

func measureOverflow(a actors, setup trialSetup) (values, error) {
	before, err := a.server.snapshot()
	if err != nil {
		return nil, err
	}
	flood, err := a.client.inject(setup.floodSize, false)
	if err != nil {
		return nil, err
	}
	after, err := a.server.snapshot()
	if err != nil {
		return nil, err
	}
	// A few SYN-ACKs may belong to connections that filled the queue.
	if flood.Answered > 10+flood.Sent/1000 {
		return nil, fmt.Errorf("%d of %d SYNs were answered although the accept queue is full", flood.Answered, flood.Sent)
	}
	return values{
		rate:       float64(flood.reached()) / flood.Took.Seconds(),
		cpuPerUnit: perUnit(after.CPU-before.CPU, flood.reached()),
	}, nil
}

// perUnit returns CPU time in microseconds per unit of work.
func perUnit(cpu time.Duration, units int) float64 {
	return cpu.Seconds() * 1e6 / float64(units)
}
