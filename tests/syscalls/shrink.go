//go:build linux

package syscalls

// A Pair is two machines that are compared. The first is the oracle.
type Pair struct {
	Kernel, Ours Machine
	Known        []Known
	// Hasty says that nothing in the scripts takes time.
	Hasty bool
}

// Differences plays a script on both sides and returns how they differ. What
// differs when the kernel is given no time may be a matter of time only, so it is
// then played again with patience.
func (p *Pair) Differences(script Script) ([]Difference, error) {
	found, err := p.compare(script, false)
	if _, differ := Unexplained(found, p.Known); err != nil || !differ || p.Hasty {
		return found, err
	}
	return p.compare(script, true)
}

func (p *Pair) compare(script Script, patient bool) ([]Difference, error) {
	kernel, err := p.Kernel.Play(script, patient)
	if err != nil {
		return nil, err
	}
	ours, err := p.Ours.Play(script, patient)
	if err != nil {
		return nil, err
	}
	return Compare(script, kernel, ours), nil
}

// Shrink makes a script that differs as short as it can.
func (p *Pair) Shrink(script Script) (Script, error) {
	for _, patient := range []bool{false, true} {
		short, err := p.shrink(script, patient)
		if err != nil {
			return nil, err
		}
		found, err := p.Differences(short)
		if err != nil {
			return nil, err
		}
		if _, differs := Unexplained(found, p.Known); differs {
			return short, nil
		}
	}
	return script, nil
}

// shrink leaves out ever smaller runs of calls (A. Zeller, Simplifying and
// Isolating Failure-Inducing Input, 2002), and everything after the difference.
func (p *Pair) shrink(script Script, patient bool) (Script, error) {
	for size := len(script); size > 0; {
		smaller := false
		for at := len(script) - size; at >= 0; at -= size {
			candidate := script.without(at, at+size)
			found, err := p.compare(candidate, patient)
			if err != nil {
				return nil, err
			}
			if d, differs := Unexplained(found, p.Known); differs {
				script, smaller = candidate[:d.Index+1], true
				at = min(at, len(script))
			}
		}
		if !smaller || size > 1 {
			size /= 2
		}
	}
	return script, nil
}
