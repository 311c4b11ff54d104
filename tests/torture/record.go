//go:build linux

package torture

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq/trace"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// A recorder adds up what has arrived anywhere, and keeps it if it is on.
type recorder struct {
	w     *world
	on    bool
	sum   hash64
	lines []string
	// decisions are those of the server's listener.
	decisions []trace.Event
	origin    time.Duration
}

type hash64 interface {
	io.Writer
	Sum64() uint64
}

func newRecorder(on bool) *recorder { return &recorder{on: on, sum: fnv.New64a()} }

// delivers notes what the router passes to an end.
func (r *recorder) delivers(to int, b []byte) {
	fmt.Fprintf(r.sum, "%v %d ", r.w.now(), to)
	_, _ = r.sum.Write(b)
	if r.on {
		r.packet(to, "gets", b)
	}
}

func (r *recorder) forges(n noisePlan, b []byte) {
	if r.on {
		r.packet(n.to, fmt.Sprintf("gets forged (%d)", n.kind), b)
	}
}

// packet keeps one line about a packet.
func (r *recorder) packet(end int, verb string, b []byte) {
	name := [2]string{"client", "server"}[end]
	from, to, s, ok := stacktest.ParsePacket(b)
	if !ok {
		r.note("%s %s %d bytes that are no whole TCP segment", name, verb, len(b))
		return
	}
	damaged := ""
	if !intact(b) {
		damaged = ", damaged"
	}
	r.note("%s %s %v > %v %v, %d bytes%s", name, verb, from, to, s, len(b), damaged)
}

// note keeps a line.
func (r *recorder) note(format string, args ...any) {
	if r.on {
		r.lines = append(r.lines, fmt.Sprintf("%v ", r.w.now())+fmt.Sprintf(format, args...))
	}
}

// decision keeps what the listener of a host decides.
func (r *recorder) decision(end int) func(stack.Event) {
	if !r.on || end != server {
		return nil
	}
	return func(e stack.Event) {
		if r.origin == 0 {
			r.origin = e.Time - r.w.now()
		}
		if e.Segment != nil {
			kept := *e.Segment
			e.Segment = &kept
		}
		r.decisions = append(r.decisions, trace.Event{At: e.Time, Segment: e.Segment, Outcome: e.Outcome})
	}
}

// report prints everything.
func (r *recorder) report() string {
	ladder := trace.Printer{Capacity: -1, Start: r.origin}.Ladder(r.decisions)
	return ladder + "\n" + strings.Join(r.lines, "\n")
}
