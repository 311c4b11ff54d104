package sim_test

import (
	"fmt"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/sim"
)

// Six clients, one every 100 ms, want into a queue with room for two; the
// application takes a second for each. Where Linux ignores a SYN the client tries
// again after a second, and again.
func Example() {
	server, _ := listenq.ProfileNamed("linux-6")
	kernel, _ := client.ProfileNamed("linux-6")
	result, err := sim.Run(sim.Scenario{
		Server:      server,
		Backlog:     1,
		Client:      kernel,
		Clients:     6,
		Arrival:     sim.Uniform(600 * time.Millisecond),
		RTT:         20 * time.Millisecond,
		AcceptEvery: time.Second,
		Duration:    time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, c := range result.Clients {
		fmt.Printf("%d  %v, SYNs at %v, connected after %v, reply at %v\n", i+1, c.Fate, c.SYNs, c.ConnectTime(), c.End)
	}
	fmt.Println("ListenOverflows", result.Counters.ListenOverflows)
	// Output:
	// 1  served, SYNs at [0s], connected after 20ms, reply at 40ms
	// 2  served, SYNs at [100ms], connected after 20ms, reply at 1.04s
	// 3  served, SYNs at [200ms], connected after 20ms, reply at 2.04s
	// 4  served, SYNs at [300ms 1.3s], connected after 1.02s, reply at 3.04s
	// 5  served, SYNs at [400ms 1.4s 2.4s], connected after 2.02s, reply at 4.04s
	// 6  served, SYNs at [500ms 1.5s 2.5s 3.5s], connected after 3.02s, reply at 5.04s
	// ListenOverflows 6
}
