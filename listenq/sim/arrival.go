package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Arrival is a pattern of connection attempts. The zero value is all of them
// at time 0. Make one with Bursts, Uniform, Poisson, At or ParseArrival.
type Arrival struct {
	kind   arrivalKind
	size   int             // of a burst
	period time.Duration   // between bursts, or over all clients
	rate   float64         // per second
	given  []time.Duration // in order
}

type arrivalKind uint8

const (
	atOnce arrivalKind = iota
	bursts
	uniform
	poisson
	given
)

// Bursts has size clients connect at time 0 and again after every period.
func Bursts(size int, period time.Duration) Arrival {
	return Arrival{kind: bursts, size: size, period: period}
}

// Uniform spreads the clients evenly over a period, the first at time 0.
func Uniform(over time.Duration) Arrival { return Arrival{kind: uniform, period: over} }

// Poisson has clients come independently of each other, on average so many in a
// second.
func Poisson(perSecond float64) Arrival { return Arrival{kind: poisson, rate: perSecond} }

// At has the clients come at given times, which must not decrease, one for each.
func At(times []time.Duration) Arrival { return Arrival{kind: given, given: times} }

// ParseArrival reads what String writes: "burst", "burst=SIZE/PERIOD",
// "uniform=PERIOD" or "poisson=PER-SECOND", with periods like 500ms.
func ParseArrival(text string) (Arrival, error) {
	name, value, has := strings.Cut(text, "=")
	var a Arrival
	var err error
	switch {
	case name == "burst" && !has:
		return a, nil
	case name == "burst":
		size, period, ok := strings.Cut(value, "/")
		a.kind = bursts
		if a.size, err = strconv.Atoi(size); err == nil && ok {
			a.period, err = time.ParseDuration(period)
		}
		if err != nil || !ok {
			return Arrival{}, fmt.Errorf("arrival %q: use burst=SIZE/PERIOD, like burst=4/500ms", text)
		}
	case name == "uniform":
		a.kind = uniform
		if a.period, err = time.ParseDuration(value); err != nil {
			return Arrival{}, fmt.Errorf("arrival %q: use uniform=PERIOD, like uniform=5s", text)
		}
	case name == "poisson":
		a.kind = poisson
		if a.rate, err = strconv.ParseFloat(value, 64); err != nil {
			return Arrival{}, fmt.Errorf("arrival %q: use poisson=PER-SECOND, like poisson=20", text)
		}
	default:
		return Arrival{}, fmt.Errorf("unknown arrival %q: use burst, burst=SIZE/PERIOD, uniform=PERIOD or poisson=PER-SECOND", text)
	}
	return a, a.validate()
}

// String writes the pattern as ParseArrival reads it; given times are only
// counted.
func (a Arrival) String() string {
	switch a.kind {
	case bursts:
		return fmt.Sprintf("burst=%d/%v", a.size, a.period)
	case uniform:
		return fmt.Sprintf("uniform=%v", a.period)
	case poisson:
		return "poisson=" + strconv.FormatFloat(a.rate, 'g', -1, 64)
	case given:
		return fmt.Sprintf("%d given times", len(a.given))
	}
	return "burst"
}

// MarshalText makes the pattern print as text in JSON.
func (a Arrival) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseArrival.
func (a *Arrival) UnmarshalText(text []byte) (err error) {
	*a, err = ParseArrival(string(text))
	return err
}

func (a Arrival) validate() error {
	switch {
	case a.kind == bursts && (a.size < 1 || a.size > MaxClients):
		return fmt.Errorf("arrival %v: use bursts of 1 to %d", a, MaxClients)
	case a.kind == bursts && (a.period <= 0 || a.period > MaxDuration):
		return fmt.Errorf("arrival %v: use a period of more than 0 and at most %v", a, MaxDuration)
	case a.kind == uniform && (a.period < 0 || a.period > MaxDuration):
		return fmt.Errorf("arrival %v: use a period from 0 to %v", a, MaxDuration)
	case a.kind == poisson && !(a.rate >= minRate && a.rate <= maxRate):
		return fmt.Errorf("arrival %v: use a rate from %v to %v per second", a, minRate, maxRate)
	case a.kind == given && (!slices.IsSorted(a.given) || len(a.given) > 0 && a.given[0] < 0):
		return fmt.Errorf("arrival at %v: use times from 0 that do not decrease", a)
	}
	return nil
}

// The rates of Poisson, per second.
const (
	minRate = 0.001
	maxRate = 1e6
)

// Times returns when n clients connect, in order. Of given times there must be n.
func (a Arrival) Times(n int, seed uint64) []time.Duration {
	at := make([]time.Duration, n)
	switch a.kind {
	case bursts:
		for i := range at {
			at[i] = time.Duration(i/a.size) * a.period
		}
	case uniform:
		for i := range at {
			at[i] = time.Duration(float64(a.period) * float64(i) / float64(n))
		}
	case poisson:
		chance := rand.New(rand.NewPCG(seed, arrivalStream))
		now := 0.0
		for i := range at {
			now += -math.Log1p(-chance.Float64()) / a.rate * float64(time.Second)
			// Beyond every run, lest it overflow.
			at[i] = time.Duration(min(now, float64(2*MaxDuration)))
		}
	case given:
		copy(at, a.given)
	}
	return at
}
