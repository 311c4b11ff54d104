package stack_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// netstack hangs in a bubble without a word, so a stack says at once what to use.
func TestNoStackInABubble(t *testing.T) {
	for name, clock := range map[string]*stack.VirtualClock{"real time": nil, "virtual time": stack.NewVirtualClock()} {
		link, _ := tun.Pipe(tun.PipeConfig{})
		cfg := stack.Config{Link: link, Addresses: []netip.Prefix{serverPrefix4}}
		if clock != nil {
			cfg.Clock = clock
		}
		synctest.Test(t, func(t *testing.T) {
			_, err := stack.New(cfg)
			require.ErrorContains(t, err, "testing/synctest", name)
			require.ErrorContains(t, err, "listenq/memnet", name)
			require.ErrorContains(t, err, "stack/stacktest", name)
		})
	}
}
