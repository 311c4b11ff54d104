package listenq

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func builtIn(t *testing.T, name string) *Profile {
	p, err := ProfileNamed(name)
	require.NoError(t, err)
	return p
}

func TestProfilesAreSoundAndCited(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			require.NoError(t, p.Validate())
			require.NotEmpty(t, p.Title)
			require.False(t, seen[p.Name])
			seen[p.Name] = true
			fields := 0
			for path := range p.Fields() {
				c, ok := p.Citations[path]
				require.True(t, ok, "%s has no citation", path)
				require.True(t, c.Source != "" || c.Verified == Guess, "%s has no source", path)
				fields++
			}
			require.Len(t, p.Citations, fields, "a citation for no field")
		})
	}
	require.Equal(t, "linux-6", Profiles()[0].Name)
	require.Equal(t, Profiles()[0], defaultProfile)
}

func TestProfileNamed(t *testing.T) {
	p := builtIn(t, "freebsd")
	p.SYNACK.Waits[0] = time.Hour
	p.Citations["backlog.zero"] = Citation{}
	require.NotEqual(t, p, builtIn(t, "freebsd"), "a fresh copy each time")

	for name, want := range map[string]string{
		"freebds":     `unknown profile "freebds": did you mean "freebsd"? use one of linux-6, linux-2.6, windows, `,
		"Linux-6":     `unknown profile "Linux-6": did you mean "linux-6"? use one of `,
		"win":         `unknown profile "win": use one of `,
		"":            `unknown profile "": use one of `,
		"plan 9":      `unknown profile "plan 9": use one of `,
		"linx":        `unknown profile "linx": did you mean "linux-6"? use one of `,
		"macosx":      `unknown profile "macosx": did you mean "macos"? use`,
		longName(200): `...": use one of `,
	} {
		_, err := ProfileNamed(name)
		require.ErrorContains(t, err, want)
		require.Less(t, len(err.Error()), 300)
	}
}

func longName(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}

// Backlogs become limits as the platforms' sources and documents say.
func TestLimits(t *testing.T) {
	const refused = -1
	backlogs := []int{math.MinInt32, -300, -1, 0, 1, 2, 5, 127, 128, 129, 1000, 100_000, math.MaxInt32}
	for name, want := range map[string][]int{
		"linux-6":   {4096, 4096, 4096, 0, 1, 2, 5, 127, 128, 129, 1000, 4096, 4096},
		"linux-2.6": {128, 128, 128, 0, 1, 2, 5, 127, 128, 128, 128, 128, 128},
		"windows":   {65535, 300, 200, 1, 1, 2, 5, 127, 128, 129, 200, 200, 200},

		"windows-nt4-workstation": {1, 1, 1, 1, 1, 2, 5, 5, 5, 5, 5, 5, 5},

		"freebsd":  {128, 128, 128, 0, 1, 2, 5, 127, 128, 128, 128, 128, 128},
		"macos":    {128, 128, 128, 128, 1, 2, 5, 127, 128, 128, 128, 128, 128},
		"openbsd":  {128, 128, 128, 80, 80, 80, 80, 127, 128, 128, 128, 128, 128},
		"netbsd":   {0, 0, 0, 0, 1, 2, 5, 127, 128, 128, 128, 128, 128},
		"illumos":  {refused, refused, refused, refused, 1, 2, 5, 127, 128, 128, 128, 128, 128},
		"lwip":     {1, 1, 1, 1, 1, 2, 5, 127, 128, 129, 255, 255, 255},
		"gvisor":   {1025, 1025, 1025, 1, 2, 3, 6, 128, 129, 130, 1001, 1025, 1025},
		"netstack": {0, 0, 0, 0, 1, 2, 5, 127, 128, 129, 1000, 100_000, math.MaxInt32},
	} {
		p := builtIn(t, name)
		for i, backlog := range backlogs {
			got, err := p.Limit(backlog, -1)
			steps := p.Steps(backlog, -1)
			if want[i] == refused {
				require.ErrorIs(t, err, ErrBacklog, "%s, %d", name, backlog)
				_, err = New(Config{Profile: p, Backlog: backlog})
				require.ErrorIs(t, err, ErrBacklog)
				require.Equal(t, Step{backlog, steps[1].What, steps[1].Field}, steps[1])
				require.Len(t, steps, 2)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, want[i], got, "%s, %d", name, backlog)

			l, err := New(Config{Profile: p, Backlog: backlog})
			require.NoError(t, err)
			require.Equal(t, got, l.Limit())
			require.Equal(t, backlog, l.Backlog())
			require.Equal(t, Step{Value: backlog, What: steps[0].What}, steps[0])
			shown := map[string]int{}
			for _, s := range steps {
				if s.Field != "" {
					require.Contains(t, p.Citations, s.Field)
					shown[s.Field] = s.Value
				}
			}
			require.Equal(t, l.SYNCapacity(), shown["syn-queue.capacity"])
			most := shown["accept-queue.at-ack"]
			if most == -1 || p.AcceptQueue.Counts == CountHalfOpen {
				most = int(min(uint(shown["accept-queue.at-syn"]), uint(most)))
			}
			require.Equal(t, most, l.AcceptCapacity())
		}
	}
	require.Len(t, Profiles(), 12)
}

// A platform's maximum can be raised by whoever asks.
func TestLimitWithMaximum(t *testing.T) {
	got, err := builtIn(t, "freebsd").Limit(5000, 1024)
	require.NoError(t, err)
	require.Equal(t, 1024, got)

	sysctls := DefaultSysctls()
	sysctls.Somaxconn = 1000
	for name, want := range map[string]int{"freebsd": 1000, "linux-2.6": 1000, "lwip": 255, "netbsd": 128, "windows": 200} {
		l := MustNew(Config{Profile: builtIn(t, name), Backlog: 10_000, Sysctls: &sysctls})
		require.Equal(t, want, l.Limit(), name)
		require.Equal(t, name, l.Profile().Name)
	}
}

func TestFormula(t *testing.T) {
	for text, want := range map[string][]int{ // for limits 0, 1, 2, 5, 8, 128
		"n":                  {0, 1, 2, 5, 8, 128},
		"n+1":                {1, 2, 3, 6, 9, 129},
		"n-1":                {0, 0, 1, 4, 7, 127},
		"3n/2+1":             {1, 2, 4, 8, 13, 193},
		"3n+1":               {1, 4, 7, 16, 25, 385},
		"7":                  {7, 7, 7, 7, 7, 7},
		"max(16,pow2(n+1))":  {16, 16, 16, 16, 16, 256},
		"pow2(n)":            {0, 1, 2, 8, 8, 128},
		"max(4,n/2)":         {4, 4, 4, 4, 4, 64},
		"unlimited":          {unlimited, unlimited, unlimited, unlimited, unlimited, unlimited},
		" 3 n / 2 + 1 ":      {1, 2, 4, 8, 13, 193},
		"max( 16, pow2(n) )": {16, 16, 16, 16, 16, 128},
	} {
		var f Formula
		require.NoError(t, f.UnmarshalText([]byte(text)), text)
		for i, n := range []int{0, 1, 2, 5, 8, 128} {
			require.Equal(t, want[i], f.Of(n), "%s of %d", text, n)
		}
		var again Formula
		require.NoError(t, again.UnmarshalText([]byte(f.String())))
		require.Equal(t, f, again)
	}
	for _, text := range []string{
		"", "x", "n+", "n/0", "n/-2", "2*n", "nn", "n+1+1", "pow2(n", "max(3)", "max(,n)", "max(3,n", "n/", "-", "99999999999", "0x10",
	} {
		f := Formula{Plus: 42}
		require.ErrorContains(t, f.UnmarshalText([]byte(text)), "is not understood: use a formula like", text)
		require.Equal(t, Formula{Plus: 42}, f, "an error changes nothing")
	}
}

func FuzzFormula(f *testing.F) {
	for _, seed := range []string{"n", "3n/2+1", "max(16,pow2(n+1))", "unlimited", "-7", "pow2(2147483647n+2147483647)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a, b Formula
		if a.UnmarshalText([]byte(text)) != nil {
			return
		}
		for _, n := range []int{0, 1, math.MaxInt32} {
			require.GreaterOrEqual(t, a.Of(n), 0)
		}
		require.NoError(t, b.UnmarshalText([]byte(a.String())))
		require.Equal(t, a.String(), b.String())
	})
}

func TestRuleWords(t *testing.T) {
	for _, p := range Profiles() {
		for path, value := range p.Fields() {
			if m, ok := value.(interface{ MarshalText() ([]byte, error) }); ok {
				_, err := m.MarshalText()
				require.NoError(t, err, path)
			}
		}
	}
	r := SYNReset
	require.EqualError(t, r.UnmarshalText([]byte("resett")),
		`unknown value "resett": did you mean "reset"? use one of drop, drop-if-young, reset, cookie, evict-oldest, evict-timed-out`)
	require.Equal(t, SYNReset, r)
	require.NoError(t, r.UnmarshalText([]byte("evict-oldest")))
	require.Equal(t, SYNEvictsOldest, r)
	require.Equal(t, "evict-oldest", r.String())
	_, err := SYNRule(99).MarshalText()
	require.ErrorContains(t, err, "99 stands for none of drop,")
}

// A profile that contradicts itself is refused, and so is a listener with it.
func TestContradictions(t *testing.T) {
	for want, change := range map[string]func(*Profile){
		`name: use small letters, digits, dots and hyphens`:                                     func(p *Profile) { p.Name = "Linux 6" },
		`backlog.maximum: -1: use 0 to 2147483647`:                                              func(p *Profile) { p.Backlog.Maximum = -1 },
		`backlog.zero: zero is no hint: use zero, one, maximum or refuse`:                       func(p *Profile) { p.Backlog.Zero = TakeHint },
		`backlog.minimum: 5000 is more than backlog.maximum, 4096`:                              func(p *Profile) { p.Backlog.Minimum = 5000 },
		`backlog.plain-maximum: 5000 is more than backlog.maximum, 4096`:                        func(p *Profile) { p.Backlog.PlainMaximum = 5000 },
		`backlog.hint-minimum: 7 is more than backlog.hint-maximum, 6`:                          func(p *Profile) { p.Backlog.HintMinimum, p.Backlog.HintMaximum = 7, 6 },
		`backlog.negative: 77 stands for none of maximum, zero, one, hint, refuse`:              func(p *Profile) { p.Backlog.Negative = 77 },
		`accept-queue.at-syn: capacity below zero: n-2 is -1 for a limit of 1`:                  func(p *Profile) { p.AcceptQueue.AtSYN = Formula{Times: 1, Plus: -2} },
		`accept-queue.at-ack: nothing ever fits: 0 is 0 for the largest limit, 4096`:            func(p *Profile) { p.AcceptQueue.AtACK = Formula{} },
		`accept-queue.at-ack: the accept queue grows without bound: limit it here or at-syn`:    func(p *Profile) { p.AcceptQueue.AtSYN.Unlimited, p.AcceptQueue.AtACK.Unlimited = true, true },
		`accept-queue.full-syn: evict-oldest makes no room where accept-queue.counts is queued`: func(p *Profile) { p.AcceptQueue.FullSYN = SYNEvictsOldest },
		`accept-queue.at-ack: connections that have released their place wait without bound: `: func(p *Profile) {
			p.AcceptQueue.AtACK, p.Socket.QueuedReset = Formula{Unlimited: true}, ResetReleased
		},
		`syn-queue.capacity: the SYN queue grows without bound: nothing else limits it`:            func(p *Profile) { p.SYNQueue.Capacity = Formula{Unlimited: true} },
		`syn-queue.per-bucket: 0 requests in each of 5 buckets: set both or neither`:               func(p *Profile) { p.SYNQueue.Buckets = 5 },
		`syn-queue.full: use drop, reset, cookie, evict-oldest or evict-timed-out`:                 func(p *Profile) { p.SYNQueue.Full = SYNDroppedIfYoung },
		`syn-queue.full: cookie, while cookies.use is never and nothing changes that`:              func(p *Profile) { p.Cookies = CookieRules{} },
		`syn-ack.waits: 0 waits: use 1 to 8`:                                                       func(p *Profile) { p.SYNACK.Waits = nil },
		`syn-ack.waits: 0s: use more than 0s and at most 1h0m0s`:                                   func(p *Profile) { p.SYNACK.Waits = []time.Duration{time.Second, 0} },
		`syn-ack.retries: -1: the schedule never ends: use 0 to 255`:                               func(p *Profile) { p.SYNACK.Retries = -1 },
		`syn-ack.retries: 256: use 0 to 255`:                                                       func(p *Profile) { p.SYNACK.Retries = 256 },
		`half-open.rst-in-window: use ack or nothing`:                                              func(p *Profile) { p.HalfOpen.RSTInWindow = AnswerRST },
		`icmp.ipv4: 3/2-1: the range is empty`:                                                     func(p *Profile) { p.ICMP.IPv4 = ICMPKinds{{3, 2, 1}} },
		`icmp.ipv6: 33 kinds: use 0 to 32`:                                                         func(p *Profile) { p.ICMP.IPv6 = make(ICMPKinds, 33) },
		`icmp.errors: 0: use 1 or 2`:                                                               func(p *Profile) { p.ICMP.Errors = 0 },
		`icmp.errors: 3: use 1 or 2`:                                                               func(p *Profile) { p.ICMP.Errors = 3 },
		`icmp.retries: 256: use 0 to 255`:                                                          func(p *Profile) { p.ICMP.Retries = 256 },
		`half-open.rate-limit: -1s: use 0s to 1h0m0s`:                                              func(p *Profile) { p.HalfOpen.RateLimit = -time.Second },
		`cookies.period: 0s: use 1ms or more`:                                                      func(p *Profile) { p.Cookies.Period = 0 },
		`cookies.periods: 200: use 1 to 100`:                                                       func(p *Profile) { p.Cookies.Periods = 200 },
		`cookies.full-ack: a cookie leaves nothing to forget: use ignore or reset`:                 func(p *Profile) { p.Cookies.FullACK = ACKForgotten },
		`accept-queue.full-syn: a cookie does not help a full accept queue: use drop, drop-if-you`: func(p *Profile) { p.AcceptQueue.FullSYN = SYNGetsCookie },
	} {
		p := linux6()
		change(p)
		_, err := New(Config{Profile: p, Backlog: 5})
		require.ErrorContains(t, err, want)
		var wrong *ProfileError
		require.True(t, errors.As(err, &wrong))
		require.Contains(t, want, wrong.Field+": ")
		require.Equal(t, p.Name, wrong.Profile)
	}
}
