//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
)

// roleEnv holds the assignment of a process that bench starts of itself.
const roleEnv = "ULISTEN_BENCH_ROLE"

// assignment tells a process what to do in a trial.
type assignment struct {
	// Contestant is the stack that a server process opens. Empty means that
	// the process is the client.
	Contestant string
	Service    service // of a server
	Backlog    int     // of a server
	Workload   workload
	Workers    int    // of a client: concurrent connections
	Profile    string // file for a CPU profile, or empty
}

// request is one line on the standard input of a process, answered by one
// reply on its standard output. End of input tells it to end.
type request struct {
	Op      string // opSnapshot or opInject
	GC      bool   // with opSnapshot: collect garbage first
	N       int    // with opInject: how many SYNs
	Answers bool   // with opInject: whether the server should answer them
}

const (
	opSnapshot = "snapshot"
	opInject   = "inject"
)

// reply carries the answer to any request. The first reply comes unasked when
// the process is ready.
type reply struct {
	Error    string    `json:",omitempty"`
	Snapshot snapshot  `json:",omitzero"`
	Injected injection `json:",omitzero"`
}

// snapshot is the state of a process at one moment. Only differences mean
// anything.
type snapshot struct {
	At    time.Duration // of the process's monotonic clock
	CPU   time.Duration // user and system time of the process
	Count uint64        // bytes, connections or round trips so far
	Heap  uint64        // bytes

	// HalfOpen is how many requests a server holds, or -1 if it cannot tell.
	HalfOpen int
}

// player is a process in its role.
type player interface {
	// start gets to work; what it starts runs until the process ends.
	start() error
	// count returns the work done so far.
	count() uint64
	// halfOpen returns the number of half-open requests, or -1.
	halfOpen() int
	// inject sends n forged SYNs, and expects answers or not.
	inject(n int, answers bool) (injection, error)
}

// playRole does the assignment of this process, if it has one.
func playRole() (handled bool, exitCode int) {
	text := os.Getenv(roleEnv)
	if text == "" {
		return false, 0
	}
	var a assignment
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return true, 2
	}
	if err := play(a, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return true, 1
	}
	return true, 0
}

func play(a assignment, in io.Reader, out io.Writer) error {
	began := time.Now()
	stopProfile, err := startProfile(a.Profile)
	if err != nil {
		return err
	}
	var p player
	if a.Contestant != "" {
		p = &serverPlayer{assignment: a}
	} else {
		p = &clientPlayer{assignment: a}
	}
	enc := json.NewEncoder(out)
	if err := p.start(); err != nil {
		return enc.Encode(reply{Error: err.Error()})
	}
	if err := enc.Encode(reply{}); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return err
		}
		if err := enc.Encode(answer(p, r, began)); err != nil {
			return err
		}
	}
	return stopProfile()
}

func answer(p player, r request, began time.Time) reply {
	switch r.Op {
	case opSnapshot:
		var s snapshot
		if r.GC {
			s.Heap = liveHeap()
		}
		s.Count = p.count()
		s.HalfOpen = p.halfOpen()
		s.CPU = cpuTime(syscall.RUSAGE_SELF)
		s.At = time.Since(began)
		return reply{Snapshot: s}
	case opInject:
		injected, err := p.inject(r.N, r.Answers)
		if err != nil {
			return reply{Error: err.Error()}
		}
		return reply{Injected: injected}
	default:
		return reply{Error: fmt.Sprintf("unknown request %q", r.Op)}
	}
}

// liveHeap returns the size of all reachable objects in bytes. The second
// collection frees what finalizers and pools let go of in the first.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpuTime returns the user and system time that the process used, or those of
// its children that it has waited for.
func cpuTime(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err) // impossible: who is a constant that exists
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// errNotMine answers a request that was meant for the other process.
var errNotMine = errors.New("not the task of this process")
