//go:build linux

package packets

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// expect checks that the next segment of the stack, or several that stand for one,
// is as described, and comes in time.
func (p *player) expect(s *Segment, from, to time.Duration) error {
	earliest, latest := from-p.m.Early(), to+p.m.Late(to-p.last)
	if err := p.pass(max(earliest, p.m.Now())); err != nil {
		return err
	}
	part := *s
	for size := 0; ; {
		sent, r, err := p.next(latest)
		if err != nil {
			return err
		}
		p.happened(sent.At, from)
		p.learn(s, r)
		p.log = append(p.log, p.show(sent.At, r))
		if err := cmp.Or(p.compare(&part, r, &size), p.edge.moved(r)); err != nil {
			return fmt.Errorf("%w: there came %s", err, p.show(sent.At, r))
		}
		if sent.At < earliest || sent.At > latest {
			return fmt.Errorf("it should have come at %s, and came at %s", between(from, to), seconds(sent.At))
		}
		if part.Len == 0 || len(r.payload()) == 0 {
			return nil
		}
		from = sent.At
	}
}

func between(from, to time.Duration) string {
	if from == to {
		return seconds(from)
	}
	return seconds(from) + " to " + seconds(to)
}

// next returns the next segment that the stack sends until a time.
func (p *player) next(until time.Duration) (Sent, *received, error) {
	for {
		for len(p.came) > 0 {
			sent := p.came[0]
			p.came = p.came[1:]
			if r, ok := dissect(sent.Packet); ok {
				return sent, &r, nil
			}
		}
		now := p.m.Now()
		if now >= until {
			return Sent{}, nil, fmt.Errorf("nothing had come at %s", seconds(now))
		}
		if p.waiting != nil {
			if err := p.pass(min(now+glance, until)); err != nil {
				return Sent{}, nil, err
			}
			continue
		}
		p.m.Await(until)
		p.came = append(p.came, p.m.Sent()...)
	}
}

// learn takes from a segment what scripts name and stacks choose: the port of a
// dialed connection, the initial sequence number, the origin of the timestamps.
func (p *player) learn(s *Segment, r *received) {
	if p.renew && r.tcp.Flags().Contains(header.TCPFlagSyn) {
		p.renew = false
		p.flow.stack = r.flow.stack
		p.isn, p.stackSYN = r.tcp.SequenceNumber()-s.Seq, s.Seq
	}
	if want, got := stampOf(s.Options), stampOf(wireOptions(r)); want.Set && got.Set {
		if len(p.stamps) == 0 {
			p.stamp = got.Value - want.Value - p.behindStamps()
		}
		p.stamps[want.Value] = got.Value
	}
}

// behindStamps is how far the script is behind its own times, as timestamps count.
func (p *player) behindStamps() uint32 { return uint32(p.behind.Milliseconds()) }

func wireOptions(r *received) []option {
	return decodeOptions(r.tcp[header.TCPMinimumSize:r.tcp.DataOffset()])
}

// stampOf returns the timestamp among options.
func stampOf(options []option) optional[uint32] {
	for _, o := range options {
		if o.kind == header.TCPOptionTS {
			return some(o.values[0])
		}
	}
	return optional[uint32]{}
}

// compare says what about a segment is not as it should be. If it carries the
// first part of what it should, s becomes the rest; size is the length of such
// parts, once there was one.
func (p *player) compare(s *Segment, r *received, size *int) error {
	if r.flow != p.flow {
		return fmt.Errorf("it should be from %v to %v, and is from %v to %v", p.flow.stack, p.flow.peer, r.flow.stack, r.flow.peer)
	}
	flags, payload := r.tcp.Flags(), r.payload()
	seq := p.relative(r)
	isPart := len(payload) > 0 && len(payload) < s.Len && (*size == 0 || len(payload) == *size)
	want := s.Flags
	if isPart || *size != 0 { // each stack pushes where it likes
		want, flags = want&^header.TCPFlagPsh, flags&^header.TCPFlagPsh
	}
	if isPart {
		want &^= header.TCPFlagFin
	}
	switch {
	case flags != want:
		return fmt.Errorf("its flags are wrong")
	case seq != s.Seq:
		return fmt.Errorf("its number is wrong")
	case len(payload) != s.Len && !isPart:
		return fmt.Errorf("its length is wrong")
	case *size != 0 && len(payload) > *size:
		return fmt.Errorf("it is longer than the segments before it")
	case flags.Contains(header.TCPFlagAck) && r.tcp.AckNumber()-peerISN != s.Ack:
		return fmt.Errorf("its ack is wrong")
	case s.Window.Set && r.tcp.WindowSize() != s.Window.Value:
		return fmt.Errorf("its window is wrong")
	case s.TTL.Set && r.ttl != s.TTL.Value:
		return fmt.Errorf("its ttl is %d", r.ttl)
	case s.TOS.Set && r.tos != s.TOS.Value:
		return fmt.Errorf("its tos is %#x", r.tos)
	case wrongByte(payload, seq) >= 0:
		return fmt.Errorf("byte %d of its payload is wrong", wrongByte(payload, seq))
	}
	if !s.AnyOptions {
		if want, got := show(s.Options), show(p.rounded(wireOptions(r), s.Options)); want != got {
			return fmt.Errorf("its options should be %s and are %s", want, got)
		}
	}
	s.Seq, s.Len = s.Seq+uint32(len(payload)), s.Len-len(payload)
	*size = len(payload)
	return nil
}

// relative is the sequence number of a segment of the stack as scripts have it. The
// reset that answers a segment without ACK has the number 0 (RFC 9293, 3.10.7.1).
func (p *player) relative(r *received) uint32 {
	seq := r.tcp.SequenceNumber()
	if seq == 0 && r.tcp.Flags() == header.TCPFlagRst|header.TCPFlagAck {
		return 0
	}
	return seq - p.isn
}

// toWire turns the numbers in options to the stack into those on the wire.
func (p *player) toWire(options []option) []option {
	var on []option
	for _, o := range options {
		v := append([]uint32(nil), o.values...)
		switch {
		case o.kind == header.TCPOptionTS && v[1] != 0:
			wire, seen := p.stamps[v[1]]
			if !seen {
				wire = v[1] + p.stamp + p.behindStamps()
			}
			v[1] = wire
		case o.kind == header.TCPOptionSACK:
			for i := range v {
				v[i] += p.isn
			}
		}
		on = append(on, option{o.kind, v})
	}
	return on
}

// rounded turns the numbers in options of the stack into the script's. A timestamp
// that is near the one that it should be becomes that.
func (p *player) rounded(options, like []option) []option {
	var in []option
	for _, o := range options {
		v := append([]uint32(nil), o.values...)
		switch o.kind {
		case header.TCPOptionTS:
			v[0] -= p.stamp
			most := int32(p.m.Early().Milliseconds())
			if want := stampOf(like); want.Set {
				if off := int32(v[0] - p.behindStamps() - want.Value); -most <= off && off <= most {
					v[0] = want.Value
				}
			}
		case header.TCPOptionSACK:
			for i := range v {
				v[i] -= peerISN
			}
		}
		in = append(in, option{o.kind, v})
	}
	return in
}

// show shows a segment of the stack as scripts have it.
func (p *player) show(at time.Duration, r *received) string {
	return fmt.Sprintf("%8s > %s", seconds(at), describe(r.tcp, p.relative(r), r.tcp.AckNumber()-peerISN, p.rounded(wireOptions(r), nil)))
}

// describe shows a segment with relative numbers.
func describe(t header.TCP, seq, ack uint32, options []option) string {
	var b strings.Builder
	for _, l := range []byte("FSRPUEW.") {
		if t.Flags().Contains(flagLetters[l]) {
			b.WriteByte(l)
		}
	}
	if b.Len() == 0 {
		b.WriteByte('-')
	}
	n := len(t) - int(t.DataOffset())
	fmt.Fprintf(&b, " %d:%d(%d)", seq, seq+uint32(n), n)
	if t.Flags().Contains(header.TCPFlagAck) {
		fmt.Fprintf(&b, " ack %d", ack)
	}
	fmt.Fprintf(&b, " win %d", t.WindowSize())
	if len(options) > 0 {
		b.WriteString(" " + show(options))
	}
	return b.String()
}
