package sim

import (
	"slices"

	"github.com/ulisten/ulisten/listenq"
)

// A Decision is a kind of decision of the listener: what it was about, what
// followed and by which rule.
type Decision struct {
	// Packet is the flags of the segment without PSH; 0 stands for a timer.
	Packet  listenq.Flags
	Verdict listenq.Verdict
	Reason  listenq.Reason
}

// A DecisionCount says how often a decision was taken.
type DecisionCount struct {
	Decision
	Times int
}

// decisions count the kinds of decisions. There are few, so that a list beats a
// map.
type decisions []DecisionCount

func (d *decisions) add(packet listenq.Flags, out *listenq.Outcome) {
	taken := Decision{packet &^ listenq.PSH, out.Verdict, out.Reason}
	for i := range *d {
		if (*d)[i].Decision == taken {
			(*d)[i].Times++
			return
		}
	}
	*d = append(*d, DecisionCount{taken, 1})
}

// sorted lists the commonest first, and of those that are equally common the one
// that came first.
func (d decisions) sorted() []DecisionCount {
	slices.SortStableFunc(d, func(a, b DecisionCount) int { return b.Times - a.Times })
	return d
}
