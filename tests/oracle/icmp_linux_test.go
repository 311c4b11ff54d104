package oracle

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

// Every kind of ICMP error that means anything, and some that mean nothing, about a
// request of its own: what the running kernel makes of it, our stack does.
func TestICMPKindsOnKernelAndStack(t *testing.T) {
	t.Parallel()
	netlab.RequireTUN(t)
	running, err := Running()
	require.NoError(t, err)
	for _, v := range []struct {
		server, client string
		kinds          []icmpCodes
	}{
		{"10.77.0.1", "10.77.0.50", []icmpCodes{{3, upTo(17)}, {4, upTo(1)}, {5, upTo(3)}, {11, upTo(2)}, {12, upTo(2)}}},
		{"2001:db8:77::1", "2001:db8:77::50", []icmpCodes{{0, upTo(0)}, {1, upTo(8)}, {2, upTo(1)}, {3, upTo(2)}, {4, upTo(3)}, {5, upTo(0)}, {100, upTo(0)}, {127, upTo(0)}}},
	} {
		for _, seq := range []int64{0, 1, -1} {
			t.Run(fmt.Sprintf("%s at %d", v.server, seq), func(t *testing.T) {
				t.Parallel()
				sc := &Scenario{
					Format: Format, ID: "icmp-kinds",
					Server: Address{netip.MustParseAddr(v.server), 7000},
				}
				g := &generator{sc: sc}
				g.add(Step{Op: "listen", Sock: "L", Port: 7000, Backlog: ptr(int64(100))}, 0)
				for _, k := range v.kinds {
					for code := range k.codes {
						c := &client{name: fmt.Sprintf("c%d-%d", k.icmpType, code), opts: &Options{MSS: 1400}}
						sc.Conns.set(c.name, Address{netip.MustParseAddr(v.client), uint16(20000 + len(sc.Conns.Names))})
						g.inject(c, "S", 0, 0, 0, 0)
						g.add(icmpStep(c.name, k.icmpType, int64(code), seq), 0)
						g.inject(c, "A", 1, 1, 0, 0)
					}
				}
				sc.Duration = Seconds(g.now)
				requireSame(t, sc, running)
			})
		}
	}
}

// icmpCodes are the codes 0 to codes-1 of a type.
type icmpCodes struct {
	icmpType int64
	codes    int
}

func upTo(code int) int { return code + 1 }

// requireSame plays a scenario on the kernel and on our stack. A busy machine gets
// further chances.
func requireSame(t *testing.T, sc *Scenario, running Platform) {
	const attempts = 5
	for attempt := range attempts {
		got, err := Play(sc)
		require.NoError(t, err)
		recording := sc.Record(got.Observed, running)
		require.NoError(t, recording.check())
		replayed, err := Replay(recording)
		require.NoError(t, err)
		differences := Compare(recording, replayed.Observed, Virtual)
		if len(differences) == 0 {
			return
		}
		if attempt == attempts-1 {
			t.Fatalf("kernel late by %v; %s\n%s", got.Late, report(recording, differences, replayed.Observed, "ulisten"), replayed.Ladder)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
