package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Events come out in the order of their time, and those of one time in the order
// in which they were put in, however puts and takes are mixed.
func TestEventsComeInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q eventQueue
		var waiting []event // what the queue holds, sorted
		put := int32(0)
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			if len(waiting) > 0 && rapid.Bool().Draw(t, "take") {
				require.Equal(t, waiting[0].client, q.pop().client)
				waiting = waiting[1:]
				continue
			}
			e := event{at: time.Duration(rapid.IntRange(0, 9).Draw(t, "at")), client: put}
			put++
			q.push(e)
			behind := slices.IndexFunc(waiting, func(w event) bool { return w.at > e.at })
			if behind < 0 {
				behind = len(waiting)
			}
			waiting = slices.Insert(waiting, behind, e)
		}
		for _, e := range waiting {
			require.Equal(t, e.client, q.pop().client)
		}
		require.Empty(t, q.heap)
	})
}
