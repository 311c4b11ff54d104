package trace

import (
	"fmt"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// An Event is one decision of a listener and what led to it.
type Event struct {
	// At is when it was decided, on the listener's clock.
	At time.Duration
	// Segment or ICMP is what arrived; both are nil if a timer fired.
	Segment *listenq.Segment
	ICMP    *listenq.ICMPError
	// Outcome is the decision.
	Outcome listenq.Outcome
}

// A Printer says how to print. The zero value prints times as they are and
// clients by their address; set Capacity.
type Printer struct {
	// Capacity is that of the accept queue (listenq.Listener.AcceptCapacity), and
	// is left out below 0.
	Capacity int
	// Start is the time that counts as zero.
	Start time.Duration
	// Name names the client of a flow; nil stands for its address and port.
	Name func(listenq.Flow) string
}

// Line returns one decision in one line, without a line feed:
//
//	0.200 s  192.0.2.1:40001  ACK           drop     synq=1 acceptq=3/3  accept queue full
func (p Printer) Line(e Event) string {
	return fmt.Sprintf("%s  %s  %-12s  %-7v  synq=%d acceptq=%s  %v",
		p.at(e.At), p.client(e.Outcome.Flow), cause(&e), e.Outcome.Verdict,
		e.Outcome.SYNQueue, p.acceptQueue(&e.Outcome), e.Outcome.Reason)
}

func (p Printer) client(f listenq.Flow) string {
	if p.Name != nil {
		return p.Name(f)
	}
	return f.Remote().String()
}

func (p Printer) at(t time.Duration) string {
	return fmt.Sprintf("%.3f s", (t - p.Start).Seconds())
}

func (p Printer) acceptQueue(o *listenq.Outcome) string {
	if p.Capacity < 0 {
		return fmt.Sprint(o.AcceptQueue)
	}
	return fmt.Sprintf("%d/%d", o.AcceptQueue, p.Capacity)
}

// cause names what a decision was about: the segment, the ICMP error by type and
// code, or the timer. PSH is left out, because nothing depends on it.
func cause(e *Event) string {
	seg := e.Segment
	switch {
	case e.ICMP != nil:
		return fmt.Sprintf("ICMP %d/%d", e.ICMP.Type, e.ICMP.Code)
	case seg == nil:
		return "timer"
	}
	flags := seg.Flags &^ listenq.PSH
	switch seg.Len {
	case 0:
		return flags.String()
	case 1:
		return flags.String() + ", 1 byte"
	}
	return fmt.Sprintf("%v, %d bytes", flags, seg.Len)
}

// answer names the segment that a decision sends; "" if it sends none.
func answer(o *listenq.Outcome) string {
	switch o.Verdict {
	case listenq.SendSYNACK:
		return "SYN-ACK"
	case listenq.SendCookie:
		return "SYN-ACK, cookie"
	case listenq.SendACK:
		return "ACK"
	case listenq.SendRST:
		if o.RSTACK {
			return "RST-ACK"
		}
		return "RST"
	}
	return ""
}

// note says in words what became of the segment or the request.
func note(o *listenq.Outcome) string {
	switch {
	case o.Verdict == listenq.Promote:
		return "promoted: " + o.Reason.String()
	case o.Verdict == listenq.Expire:
		return "given up: " + o.Reason.String()
	case o.Removed:
		return "request removed: " + o.Reason.String()
	case o.Verdict == listenq.Drop:
		return "ignored: " + o.Reason.String()
	}
	return o.Reason.String()
}

// ignored says that a segment changed nothing and got no answer.
func ignored(o *listenq.Outcome) bool { return o.Verdict == listenq.Drop && !o.Removed }

// The ladder's geometry, in columns.
const (
	timeWidth = 10 // of the time and the gap behind it
	stepWidth = 24 // between the two uprights
)

// Ladder returns the decisions as a packet ladder, one line per packet, with a
// line feed after each. If they are about more than one client, each line names
// its client.
func (p Printer) Ladder(events []Event) string {
	several := false
	for i := range events {
		several = several || events[i].Outcome.Flow != events[0].Outcome.Flow
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%*sclient%*s  synq  acceptq\n", timeWidth, "", stepWidth-1, "listener")
	for i := range events {
		p.steps(&b, &events[i], several)
	}
	return b.String()
}

// steps prints what arrived and what was sent.
func (p Printer) steps(b *strings.Builder, e *Event, several bool) {
	var arrows []string
	sent := answer(&e.Outcome)
	if e.Segment != nil || e.ICMP != nil {
		arrows = append(arrows, towards(cause(e), ignored(&e.Outcome)))
	}
	if sent != "" {
		arrows = append(arrows, back(sent))
	}
	if len(arrows) == 0 {
		arrows = append(arrows, "|"+strings.Repeat(" ", stepWidth)+"|")
	}
	at, text := p.at(e.At), note(&e.Outcome)
	if several {
		text = p.client(e.Outcome.Flow) + ": " + text
	}
	for _, arrow := range arrows {
		line := fmt.Sprintf("%*s    %s    %4d  %7s   %s",
			timeWidth-2, at, arrow, e.Outcome.SYNQueue, p.acceptQueue(&e.Outcome), text)
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
		at, text = "", ""
	}
}

// towards is an arrow from the client.
func towards(label string, lost bool) string {
	end := ">|"
	if lost {
		end = ">x"
	}
	head := "|---- " + label + " "
	return head + strings.Repeat("-", max(1, stepWidth-len(head))) + end
}

// back is an arrow from the listener.
func back(label string) string {
	head := "|<--- " + label + " "
	return head + strings.Repeat("-", max(1, stepWidth+1-len(head))) + "|"
}
