package oracle

import (
	"math"
	"time"
)

// Record returns the scenario with what was observed in place of what it held:
// a new recording. Times of packets that timers sent get the window in which
// another run may have them; hz is the kernel's timer frequency.
func (sc *Scenario) Record(observed []Observed, platform Platform) *Scenario {
	out := *sc
	out.Platform = platform
	out.Steps = make([]Step, len(sc.Steps))
	out.Totals = Totals{Counters: make(map[string]int64)}
	r := recorder{hz: platform.HZ, last: make(map[sent]Emitted), slack: make(map[string]time.Duration)}
	for i, step := range sc.Steps {
		step.Observed = observed[i]
		step.Emitted = make([]Emitted, len(observed[i].Emitted))
		for j, e := range observed[i].Emitted {
			step.Emitted[j] = r.date(&step, e)
		}
		for name, v := range step.Counters {
			out.Totals.Counters[name] += v
		}
		out.Totals.Final = step.After
		out.Steps[i] = step
	}
	return &out
}

const (
	// replyWindow is how late a reply may be: the kernel delays acknowledgments
	// of a FIN by up to 40 ms.
	replyWindow = 100 * time.Millisecond
	// clockSlack allows for the scheduling of whoever observes.
	clockSlack = 50 * time.Millisecond
)

// A recorder tells replies from timers.
type recorder struct {
	hz    int
	last  map[sent]Emitted
	slack map[string]time.Duration // by connection
}

// sent identifies a packet and its repetitions.
type sent struct {
	conn, flags string
	isn, len    int
	seq         int64
}

func (r *recorder) date(step *Step, e Emitted) Emitted {
	// A SYN-ACK or data again, without the client having done anything.
	key := sent{e.Conn, e.Flags, e.ISN, e.Len, deref(e.Seq)}
	last, repeats := r.last[key]
	timer := repeats && (e.Flags == "SA" || e.Len > 0) && !(step.Op == "inject" && step.Conn == e.Conn)
	if timer {
		interval := time.Duration(math.Round((e.T - last.TNominal).Duration().Seconds())) * time.Second
		r.slack[e.Conn] += 2 * granularity(interval, r.hz)
		e.When = "timer"
		e.TNominal = last.TNominal + Seconds(interval)
		e.TWindow = [2]Seconds{e.TNominal - Seconds(clockSlack), e.TNominal + Seconds(clockSlack+r.slack[e.Conn])}
	} else {
		r.slack[e.Conn] = 0
		e.When = "reply"
		e.TNominal = step.T
		e.TWindow = [2]Seconds{step.T, step.T + Seconds(replyWindow)}
	}
	r.last[key] = e
	return e
}

func deref(seq *int64) int64 {
	if seq == nil {
		return -1
	}
	return *seq
}

// granularity is by how much the kernel's timer wheel may delay a timer: its
// levels hold 63, 63*8, 63*64 ... jiffies, each eight times as coarse as the one
// before (kernel/time/timer.c).
func granularity(d time.Duration, hz int) time.Duration {
	jiffy := time.Second / time.Duration(max(hz, 1))
	step, reach := jiffy, 63*jiffy
	for d >= reach {
		step, reach = 8*step, 8*reach
	}
	return step
}
