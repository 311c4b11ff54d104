//go:build linux

package main

import (
	"slices"
)

// results collects the values of all trials.
type results struct {
	measured []measurement // in order of their first value
	values   map[resultKey][]reading
	missed   []miss
}

// miss is a measurement that a contestant could not take part in.
type miss struct {
	Measurement string `json:"measurement"`
	Contestant  string `json:"contestant"`
	Cause       string `json:"cause"`
}

type resultKey struct{ measurement, metric, contestant string }

// reading is one value with the round it is from.
type reading struct {
	round int
	value float64
}

func newResults() *results { return &results{values: map[resultKey][]reading{}} }

func (r *results) add(m measurement, c contestant, round int, v values) {
	if !slices.ContainsFunc(r.measured, func(o measurement) bool { return o.name == m.name }) {
		r.measured = append(r.measured, m)
	}
	for name, value := range v {
		key := resultKey{m.name, name, c.name}
		r.values[key] = append(r.values[key], reading{round, value})
	}
}

// miss notes, once, why a contestant has no result.
func (r *results) miss(m measurement, c contestant, cause error) {
	if !slices.ContainsFunc(r.missed, func(o miss) bool { return o.Measurement == m.name && o.Contestant == c.name }) {
		r.missed = append(r.missed, miss{m.name, c.name, cause.Error()})
	}
}

// spread sums up the rounds: machines are noisy, so nothing is averaged.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf wants at least one value.
func spreadOf(v []float64) spread {
	v = slices.Sorted(slices.Values(v))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return spread{Median: mid, Min: v[0], Max: v[len(v)-1]}
}

// absolute returns the values of all rounds, or nil.
func (r *results) absolute(k resultKey) []float64 {
	var out []float64
	for _, x := range r.values[k] {
		out = append(out, x.value)
	}
	return out
}

// relative divides, round by round, the values of a contestant by those of
// another. Rounds that one of them lacks do not count.
func (r *results) relative(k resultKey, versus string) []float64 {
	base := k
	base.contestant = versus
	var out []float64
	for _, x := range r.values[k] {
		for _, y := range r.values[base] {
			if x.round == y.round && y.value != 0 {
				out = append(out, x.value/y.value)
			}
		}
	}
	return out
}
