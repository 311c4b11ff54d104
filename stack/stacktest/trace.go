package stacktest

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/trace"
)

// update is the flag -stacktest.update, which exists in tests only. The prefix
// keeps out of the way of a flag that the test itself may have.
var update = updateFlag()

func updateFlag() *bool {
	if !testing.Testing() {
		return new(bool)
	}
	return flag.Bool("stacktest.update", false, "write the golden files of stacktest.Lab.Golden anew")
}

// Ladder returns what the listeners have decided so far, as a packet ladder: what
// arrived, what was answered, both queue depths and the reason (see package
// trace). Segments of established connections are not in it; they are in Trace.
func (lab *Lab) Ladder() string {
	defer lab.drive("Ladder")()
	return lab.ladder()
}

func (lab *Lab) ladder() string {
	lab.mu.Lock()
	events := slices.Clone(lab.events)
	lab.mu.Unlock()
	var b strings.Builder
	for len(events) > 0 {
		n := slices.IndexFunc(events, func(e event) bool {
			return e.listener != events[0].listener || e.capacity != events[0].capacity
		})
		if n < 0 {
			n = len(events)
		}
		lab.part(&b, events[:n])
		events = events[n:]
	}
	return b.String()
}

// part prints consecutive decisions of one listener with one capacity.
func (lab *Lab) part(b *strings.Builder, events []event) {
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	var decided []trace.Event
	clients := make(map[string]bool)
	for _, e := range events {
		decided = append(decided, e.Event)
		clients[lab.name(e.Outcome.Flow)] = true
	}
	if len(lab.names) > 1 && len(clients) == 1 {
		fmt.Fprintf(b, "client %s\n", lab.name(events[0].Outcome.Flow))
	}
	p := trace.Printer{Capacity: events[0].capacity, Start: lab.origin, Name: lab.name}
	b.WriteString(p.Ladder(decided))
}

func (lab *Lab) name(f listenq.Flow) string {
	if name, ok := lab.names[f]; ok {
		return name
	}
	return f.Remote().String()
}

// Decisions returns what the listeners have decided so far; times are since the
// lab was made.
func (lab *Lab) Decisions() []trace.Event {
	defer lab.drive("Decisions")()
	lab.mu.Lock()
	defer lab.mu.Unlock()
	out := make([]trace.Event, len(lab.events))
	for i, e := range lab.events {
		out[i] = e.Event
		out[i].At -= lab.origin
	}
	return out
}

// Trace returns every packet so far, one per line, numbers relative:
//
//	0.025 s  alice > SYN seq=0 win=65535 mss=1460
//	0.025 s  alice < SYN-ACK seq=0 ack=1 win=64240 mss=1460
func (lab *Lab) Trace() string {
	defer lab.drive("Trace")()
	return lab.trace()
}

func (lab *Lab) trace() string {
	lab.wire.mu.Lock()
	defer lab.wire.mu.Unlock()
	var b strings.Builder
	for _, p := range lab.wire.packets {
		arrow := "<"
		if p.toStack {
			arrow = ">"
		}
		var what fmt.Stringer = p.seg
		if p.icmp != nil {
			what = p.icmp
		}
		fmt.Fprintf(&b, "%s  %s %s %v\n", at(p.at), p.name, arrow, what)
	}
	return b.String()
}

// A Packet is one packet on the wire.
type Packet struct {
	At time.Duration // since the lab was made
	// ToStack says that a client has sent it.
	ToStack bool
	Client  string
	Segment Segment
	// ICMP is an ICMP error in place of a segment.
	ICMP *ICMPError
}

// Packets returns every packet so far from number first on, counted from 0.
func (lab *Lab) Packets(first int) []Packet {
	defer lab.drive("Packets")()
	lab.wire.mu.Lock()
	defer lab.wire.mu.Unlock()
	var out []Packet
	for _, p := range lab.wire.packets[min(first, len(lab.wire.packets)):] {
		out = append(out, Packet{At: p.at, ToStack: p.toStack, Client: p.name, Segment: p.seg, ICMP: p.icmp})
	}
	return out
}

// WritePcap writes every packet so far as a capture file with nanoseconds, for
// tcpdump and Wireshark. Equal labs give equal files.
func (lab *Lab) WritePcap(w io.Writer) error {
	defer lab.drive("WritePcap")()
	lab.wire.mu.Lock()
	defer lab.wire.mu.Unlock()
	const (
		magic   = 0xa1b23c4d // nanoseconds
		snapLen = 1 << 16
		rawIP   = 101
	)
	le := binary.LittleEndian
	var b []byte
	b = le.AppendUint32(b, magic)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, snapLen)
	b = le.AppendUint32(b, rawIP)
	for _, p := range lab.wire.packets {
		b = le.AppendUint32(b, uint32(p.at/time.Second))
		b = le.AppendUint32(b, uint32(p.at%time.Second))
		b = le.AppendUint32(b, uint32(len(p.bytes)))
		b = le.AppendUint32(b, uint32(len(p.bytes)))
		b = append(b, p.bytes...)
	}
	_, err := w.Write(b)
	return err
}

// Golden compares text, such as a Ladder or a Trace, with the file testdata/name
// beside the test. Run the test with -stacktest.update to write the file.
func (lab *Lab) Golden(name, text string) {
	lab.t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			lab.t.Fatalf("stacktest: %v", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			lab.t.Fatalf("stacktest: %v", err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		lab.t.Fatalf("stacktest: %v: run the test with -stacktest.update to make it", err)
	}
	if line, ours, theirs := firstDifference(string(want), text); line > 0 {
		lab.t.Fatalf("stacktest: %s:%d differs\n  file: %s\n  test: %s\nIf the test is right, run it with -stacktest.update. All of it:\n\n%s", path, line, ours, theirs, text)
	}
}

// firstDifference returns the number of the first line that differs, from 1, and
// both versions of it; 0 if there is none.
func firstDifference(a, b string) (line int, inA, inB string) {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(as), len(bs)) {
		inA, inB = "(nothing)", "(nothing)"
		if i < len(as) {
			inA = as[i]
		}
		if i < len(bs) {
			inB = bs[i]
		}
		if inA != inB {
			return i + 1, inA, inB
		}
	}
	return 0, "", ""
}
