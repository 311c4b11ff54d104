package listenq

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCounters(t *testing.T) {
	a := Counters{ListenOverflows: 1, OutRsts: 5}
	b := Counters{ListenOverflows: 2, ListenDrops: 3, OutRsts: 6}
	a.Add(&b)
	require.Equal(t, Counters{ListenOverflows: 3, ListenDrops: 3, OutRsts: 11}, a)
	require.Equal(t, Counters{ListenOverflows: 2, ListenDrops: 3, OutRsts: 6}, b)

	a.Sub(&b)
	require.Equal(t, Counters{ListenOverflows: 1, OutRsts: 5}, a)
	a.Add(&b)

	var names []string
	sum := uint64(0)
	a.Each(func(name string, v uint64) {
		names = append(names, name)
		sum += v
	})
	require.Equal(t, uint64(17), sum)
	require.Len(t, names, 21)
	require.Equal(t, "ListenOverflows", names[0])
	require.Equal(t, "Evictions", names[20])
}
