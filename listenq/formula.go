package listenq

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// A Formula is a capacity, in connections or requests, as a function of the
// limit n: Times·n/Over + Plus, rounded down. It prints and reads as "n+1",
// "3n/2+1", "30", "max(16,pow2(n+1))" or "unlimited".
type Formula struct {
	// Times and Over make the fraction of n; an Over of 0 counts as 1.
	Times, Over int
	Plus        int
	// PowerOfTwo rounds up to the next power of two.
	PowerOfTwo bool
	// AtLeast is the smallest value there is.
	AtLeast   int
	Unlimited bool
}

// maxFactor bounds the numbers of a Formula, so that none can overflow.
const maxFactor = math.MaxInt32

// unlimited is the capacity of what has no bound.
const unlimited = math.MaxInt

// Of returns the capacity for a limit of 0 to 2147483647; math.MaxInt stands for
// unlimited.
func (f Formula) Of(n int) int {
	if f.Unlimited {
		return unlimited
	}
	v := f.Times*n/max(f.Over, 1) + f.Plus
	if f.PowerOfTwo && v > 1 {
		v = 1 << bits.Len(uint(v-1))
	}
	return max(v, f.AtLeast)
}

// String returns the formula as it is written in profile files.
func (f Formula) String() string {
	if f.Unlimited {
		return "unlimited"
	}
	s := f.linear()
	if f.PowerOfTwo {
		s = "pow2(" + s + ")"
	}
	if f.AtLeast != 0 {
		s = fmt.Sprintf("max(%d,%s)", f.AtLeast, s)
	}
	return s
}

func (f Formula) linear() string {
	if f.Times == 0 {
		return strconv.Itoa(f.Plus)
	}
	s := "n"
	if f.Times != 1 {
		s = strconv.Itoa(f.Times) + s
	}
	if f.Over > 1 {
		s += "/" + strconv.Itoa(f.Over)
	}
	if f.Plus != 0 {
		s += fmt.Sprintf("%+d", f.Plus)
	}
	return s
}

// MarshalText returns what String returns.
func (f Formula) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

var errFormula = errors.New(`use a formula like "n", "n+1", "3n/2+1", "30", "max(16,pow2(n+1))" or "unlimited"`)

// UnmarshalText reads a formula. Spaces do not count.
func (f *Formula) UnmarshalText(text []byte) error {
	s := strings.ReplaceAll(string(text), " ", "")
	if s == "unlimited" {
		*f = Formula{Unlimited: true}
		return nil
	}
	var read Formula
	ok := true
	if rest, isMax := strings.CutPrefix(s, "max("); isMax {
		var least string
		least, s, ok = strings.Cut(rest, ",")
		ok = ok && strings.HasSuffix(s, ")") && number(least, &read.AtLeast)
		s = strings.TrimSuffix(s, ")")
	}
	if rest, isPower := strings.CutPrefix(s, "pow2("); isPower {
		ok = ok && strings.HasSuffix(rest, ")")
		read.PowerOfTwo, s = true, strings.TrimSuffix(rest, ")")
	}
	if !ok || !read.parseLinear(s) {
		return fmt.Errorf("formula %q is not understood: %w", clip(string(text)), errFormula)
	}
	*f = read
	return nil
}

// parseLinear reads what linear writes.
func (f *Formula) parseLinear(s string) bool {
	times, rest, hasN := strings.Cut(s, "n")
	if !hasN {
		return number(s, &f.Plus)
	}
	f.Times = 1
	if times != "" && !number(times, &f.Times) {
		return false
	}
	if sign := strings.IndexAny(rest, "+-"); sign >= 0 {
		if !number(rest[sign:], &f.Plus) {
			return false
		}
		rest = rest[:sign]
	}
	if rest == "" {
		return true
	}
	over, ok := strings.CutPrefix(rest, "/")
	return ok && number(over, &f.Over) && f.Over > 0
}

// number reads a whole number that Of can reckon with.
func number(s string, n *int) bool {
	v, err := strconv.Atoi(s)
	*n = v
	return err == nil && v >= -maxFactor && v <= maxFactor
}
