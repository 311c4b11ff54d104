package listenq

import (
	"encoding"
	"fmt"
	"iter"
	"math"
	"reflect"
	"strings"
	"time"
)

// A ProfileError says what is wrong with a field of a profile.
type ProfileError struct {
	Profile string // its name
	Field   string // path, as in Citations
	Reason  string
}

// Error names the profile, the field and the reason.
func (e *ProfileError) Error() string {
	return fmt.Sprintf("profile %q: %s: %s", clip(e.Profile), e.Field, e.Reason)
}

// Fields yields every rule of a profile, with its path: name, title and citations
// are none.
func (p *Profile) Fields() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		v := reflect.ValueOf(p).Elem()
		for i := range v.NumField() {
			group := v.Field(i)
			if group.Kind() != reflect.Struct {
				continue
			}
			name := yamlName(v.Type().Field(i))
			for j := range group.NumField() {
				if !yield(name+"."+yamlName(group.Type().Field(j)), group.Field(j).Interface()) {
					return
				}
			}
		}
	}
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// What a profile may hold at most, so that nothing overflows or takes all memory.
const (
	maxWait    = time.Hour
	maxBuckets = 1 << 20
	maxPeriods = 100
)

// Validate reports the first contradiction in a profile, as a *ProfileError.
func (p *Profile) Validate() error {
	v := validator{p: p}
	v.check(p.Name != "" && strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "",
		"name", "use small letters, digits, dots and hyphens")
	for path, value := range p.Fields() {
		if m, ok := value.(encoding.TextMarshaler); ok {
			_, err := m.MarshalText()
			v.check(err == nil, path, "%v", err)
		}
	}
	v.backlog(&p.Backlog)
	v.acceptQueue(&p.AcceptQueue)
	v.synQueue(&p.SYNQueue)
	v.synACK(&p.SYNACK)
	v.halfOpen(&p.HalfOpen)
	v.icmp(&p.ICMP)
	v.cookies(&p.Cookies)
	if v.err == nil {
		return nil
	}
	return v.err
}

// A validator keeps the first complaint.
type validator struct {
	p   *Profile
	err *ProfileError
}

func (v *validator) check(ok bool, field, reason string, args ...any) {
	if !ok && v.err == nil {
		v.err = &ProfileError{v.p.Name, field, fmt.Sprintf(reason, args...)}
	}
}

func (v *validator) inRange(n, most int, field string) {
	v.check(n >= 0 && n <= most, field, "%d: use 0 to %d", n, most)
}

func (v *validator) backlog(b *BacklogRules) {
	v.inRange(b.Maximum, math.MaxInt32, "backlog.maximum")
	v.inRange(b.PlainMaximum, math.MaxInt32, "backlog.plain-maximum")
	v.inRange(b.Sentinel, math.MaxInt32, "backlog.sentinel")
	v.inRange(b.HintMinimum, math.MaxInt32, "backlog.hint-minimum")
	v.inRange(b.HintMaximum, math.MaxInt32, "backlog.hint-maximum")
	v.inRange(b.Minimum, math.MaxInt32, "backlog.minimum")
	v.inRange(b.Plus, math.MaxUint16, "backlog.plus")
	v.check(b.Zero != TakeHint, "backlog.zero", "zero is no hint: use zero, one, maximum or refuse")
	v.check(b.PlainMaximum <= b.Maximum || b.Negative == TakeHint, "backlog.plain-maximum",
		"%d is more than backlog.maximum, %d", b.PlainMaximum, b.Maximum)
	v.check(b.Minimum <= b.Maximum, "backlog.minimum", "%d is more than backlog.maximum, %d", b.Minimum, b.Maximum)
	v.check(b.HintMinimum <= b.HintMaximum, "backlog.hint-minimum",
		"%d is more than backlog.hint-maximum, %d", b.HintMinimum, b.HintMaximum)
}

// capacity refuses what can be below zero, or is zero whatever the backlog.
func (v *validator) capacity(f Formula, field string) {
	if f.Unlimited {
		return
	}
	ok := f.AtLeast >= 0
	for _, n := range []int{f.Times, f.Over, f.Plus, f.AtLeast} {
		ok = ok && n >= -maxFactor && n <= maxFactor
	}
	v.check(ok && f.Times >= 0 && f.Over >= 0, field, "%v: %v", f, errFormula)
	if v.err != nil {
		return
	}
	one := f
	one.AtLeast = math.MinInt
	v.check(one.Of(1) >= 0, field, "capacity below zero: %v is %d for a limit of 1", f, one.Of(1))
	most := max(v.p.Backlog.Maximum, v.p.Backlog.HintMaximum)
	v.check(f.Of(most) > 0, field, "nothing ever fits: %v is 0 for the largest limit, %d", f, most)
}

func (v *validator) acceptQueue(a *AcceptQueueRules) {
	v.capacity(a.AtSYN, "accept-queue.at-syn")
	v.capacity(a.AtACK, "accept-queue.at-ack")
	v.check(!a.AtACK.Unlimited || !a.AtSYN.Unlimited && a.FullSYN != SYNDroppedIfYoung,
		"accept-queue.at-ack", "the accept queue grows without bound: limit it here or at-syn")
	v.check(!a.AtACK.Unlimited || v.p.Socket.QueuedReset != ResetReleased,
		"accept-queue.at-ack", "connections that have released their place wait without bound: limit them here")
	v.check(a.FullSYN != SYNGetsCookie, "accept-queue.full-syn",
		"a cookie does not help a full accept queue: use drop, drop-if-young, reset or evict-oldest")
	v.check(!a.FullSYN.evicts() || a.Counts == CountHalfOpen, "accept-queue.full-syn",
		"%v makes no room where accept-queue.counts is %v", a.FullSYN, a.Counts)
}

func (v *validator) synQueue(s *SYNQueueRules) {
	v.capacity(s.Capacity, "syn-queue.capacity")
	v.inRange(s.Maximum, math.MaxInt32, "syn-queue.maximum")
	v.inRange(s.Buckets, maxBuckets, "syn-queue.buckets")
	v.inRange(s.PerBucket, math.MaxInt32, "syn-queue.per-bucket")
	v.check((s.Buckets == 0) == (s.PerBucket == 0), "syn-queue.per-bucket",
		"%d requests in each of %d buckets: set both or neither", s.PerBucket, s.Buckets)
	a := &v.p.AcceptQueue
	v.check(!s.Capacity.Unlimited || s.Buckets > 0 || a.Counts == CountHalfOpen && !a.AtSYN.Unlimited,
		"syn-queue.capacity", "the SYN queue grows without bound: nothing else limits it")
	v.check(s.Full != SYNDroppedIfYoung, "syn-queue.full", "use drop, reset, cookie, evict-oldest or evict-timed-out")
	v.check(s.Full != SYNGetsCookie || v.p.Cookies.Use != CookiesNever || v.p.Cookies.Setting != "",
		"syn-queue.full", "cookie, while cookies.use is never and nothing changes that")
	v.check(s.Setting == "" || s.Maximum > 0, "syn-queue.setting", "%s moves nothing: syn-queue.maximum is 0", s.Setting)
	v.check(s.Shed != ShedFromHalf || !s.Capacity.Unlimited, "syn-queue.shed", "there is no half of unlimited")
}

func (v *validator) synACK(s *SYNACKRules) {
	v.check(len(s.Waits) >= 1 && len(s.Waits) <= waitLevels, "syn-ack.waits", "%d waits: use 1 to %d", len(s.Waits), waitLevels)
	for _, w := range s.Waits {
		v.check(w > 0 && w <= maxWait, "syn-ack.waits", "%v: use more than 0s and at most %v", w, maxWait)
	}
	v.check(s.Retries >= 0, "syn-ack.retries", "%d: the schedule never ends: use 0 to %d", s.Retries, math.MaxUint8)
	v.inRange(s.Retries, math.MaxUint8, "syn-ack.retries")
}

func (v *validator) halfOpen(h *HalfOpenRules) {
	v.check(h.RSTInWindow == AnswerACK || h.RSTInWindow == AnswerNothing, "half-open.rst-in-window", "use ack or nothing")
	v.check(h.RateLimit >= 0 && h.RateLimit <= maxWait, "half-open.rate-limit", "%v: use 0s to %v", h.RateLimit, maxWait)
}

func (v *validator) icmp(i *ICMPRules) {
	for field, kinds := range map[string]ICMPKinds{"icmp.ipv4": i.IPv4, "icmp.ipv6": i.IPv6} {
		v.check(len(kinds) <= maxKinds, field, "%d kinds: use 0 to %d", len(kinds), maxKinds)
		for _, k := range kinds {
			v.check(k.From <= k.To, field, "%v: the range is empty", k)
		}
	}
	v.check(i.Errors == 1 || i.Errors == 2, "icmp.errors", "%d: use 1 or 2", i.Errors)
	v.inRange(i.Retries, math.MaxUint8, "icmp.retries")
}

func (v *validator) cookies(c *CookieRules) {
	v.check(c.FullACK != ACKForgotten, "cookies.full-ack", "a cookie leaves nothing to forget: use ignore or reset")
	v.check(c.Remember >= 0, "cookies.remember", "%v: use 0s for ever, or more", c.Remember)
	if c.Use == CookiesNever && c.Setting == "" {
		v.check(!c.InEverySYNACK, "cookies.in-every-syn-ack", "true, while cookies.use is never and nothing changes that")
		return
	}
	v.check(c.Period >= time.Millisecond, "cookies.period", "%v: use 1ms or more", c.Period)
	v.check(c.Periods >= 1 && c.Periods <= maxPeriods, "cookies.periods", "%d: use 1 to %d", c.Periods, maxPeriods)
}
