package listenq

import "fmt"

// A Step is one step from the backlog to the queues.
type Step struct {
	// Value is what there is after it, in connections or requests; -1 stands for
	// unlimited.
	Value int
	What  string
	// Field is the path of the rule in the profile and its Citations; "" for what
	// is no rule.
	Field string
}

// Limit returns the limit that listen makes of a backlog, a C int. maximum is
// that of the platform's setting, 0 to 2147483647; below 0 it is the profile's
// own. The error wraps ErrBacklog.
func (p *Profile) Limit(backlog, maximum int) (int, error) {
	return p.normalise(backlog, maximum, func(int, string, string) {})
}

// Steps returns how the backlog becomes the limit, and the limit what fits. The
// arguments are those of Limit. A backlog that is refused ends with the step that
// says so.
func (p *Profile) Steps(backlog, maximum int) []Step {
	var steps []Step
	step := func(value int, what, field string) { steps = append(steps, Step{value, what, field}) }
	step(backlog, "the number handed to listen(2), a C int", "")
	n, err := p.normalise(backlog, maximum, step)
	if err != nil {
		return steps
	}
	step(n, "the limit", "")
	fits := func(f Formula, n int, what, field string) {
		value := max(f.Of(n), 0)
		if f.Unlimited {
			value = -1
		}
		step(value, fmt.Sprintf("%s (%v)", what, f), field)
	}
	counted := "connections in the accept queue"
	if p.AcceptQueue.Counts == CountHalfOpen {
		counted += ", requests counted in,"
	}
	fits(p.AcceptQueue.AtSYN, n, counted+" at which a SYN finds it full", "accept-queue.at-syn")
	fits(p.AcceptQueue.AtACK, n, counted+" at which a final ACK finds it full", "accept-queue.at-ack")
	fits(p.SYNQueue.Capacity, p.synQueueLimit(n, p.SYNQueue.Maximum), "requests in the SYN queue", "syn-queue.capacity")
	return steps
}

// normalise tells step about everything that changes the number.
func (p *Profile) normalise(backlog, maximum int, step func(value int, what, field string)) (int, error) {
	b := &p.Backlog
	if maximum < 0 {
		maximum = b.Maximum
	}
	n := backlog
	change := func(value int, what, field string) {
		n = value
		step(n, what, field)
	}
	switch {
	case b.Sentinel != 0 && n == b.Sentinel:
		change(maximum, "SOMAXCONN stands for the maximum", "backlog.sentinel")
	case n < 0 && b.Negative == TakeHint:
		change(min(max(-n, b.HintMinimum), b.HintMaximum), "negative: a hint, SOMAXCONN_HINT", "backlog.negative")
	case n < 0 || n == 0 && b.Zero != TakeZero:
		rule, what, field := b.Zero, "zero", "backlog.zero"
		if n < 0 {
			rule, what, field = b.Negative, "negative", "backlog.negative"
		}
		switch rule {
		case TakeMaximum:
			change(maximum, what+" becomes the maximum", field)
		case TakeOne:
			change(1, what+" becomes 1", field)
		case TakeZero:
			change(0, what+" becomes 0", field)
		default:
			step(n, what+": listen fails", field)
			return 0, fmt.Errorf("listen with backlog %d under profile %s: %w: use 1 or more", backlog, p.Name, ErrBacklog)
		}
	case b.PlainMaximum != 0 && n > b.PlainMaximum:
		change(b.PlainMaximum, "cut to what a plain number can ask for", "backlog.plain-maximum")
	case n > maximum:
		change(maximum, "cut to the maximum", "backlog.maximum")
	}
	if n < b.Minimum {
		change(b.Minimum, "raised to the minimum", "backlog.minimum")
	}
	if b.Plus != 0 {
		change(n+b.Plus, fmt.Sprintf("%+d", b.Plus), "backlog.plus")
	}
	return n, nil
}

// synQueueLimit is the limit as the SYN queue takes it.
func (p *Profile) synQueueLimit(n, maximum int) int {
	if p.SYNQueue.Maximum > 0 {
		return min(n, maximum)
	}
	return n
}
