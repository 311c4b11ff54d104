package deadline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// lateClock has timers that cannot be stopped: they are about to run.
type lateClock struct {
	tcpip.Clock
	due []func()
}

func (c *lateClock) Now() time.Time { return time.Unix(0, 0) }

func (c *lateClock) AfterFunc(_ time.Duration, f func()) tcpip.Timer {
	c.due = append(c.due, f)
	return lateTimer{}
}

type lateTimer struct{ tcpip.Timer }

func (lateTimer) Stop() bool { return false }

func TestATimerThatIsLateEndsNoOtherDeadline(t *testing.T) {
	second := time.Unix(1, 0)
	for name, next := range map[string]time.Time{"removed": {}, "moved": time.Unix(2, 0)} {
		clock := new(lateClock)
		d := New()
		d.Set(clock, second)
		waiting := d.Passed()
		d.Set(clock, next)
		clock.due[0]()
		require.False(t, passed(waiting), name)
		require.False(t, passed(d.Passed()), name)

		d.Set(clock, time.Unix(-1, 0))
		require.True(t, passed(waiting), "%s: those who waited before are told", name)
		d.Set(clock, time.Time{})
		require.False(t, passed(d.Passed()), name)
	}
}

func TestPasses(t *testing.T) {
	clock := new(lateClock)
	d := New()
	d.Set(clock, time.Unix(1, 0))
	waiting := d.Passed()
	clock.due[0]()
	require.True(t, passed(waiting))
}

func passed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
