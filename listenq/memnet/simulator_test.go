package memnet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/sim"
)

// The simulator is a second network around the same listen queue and the same
// connect(2), without goroutines: for the burst of the matrix both must tell each
// client the same.
func TestSimulatorAgrees(t *testing.T) {
	const latency, apart = 10 * ms, ms
	for _, server := range listenq.Profiles() {
		for _, dialing := range client.Profiles() {
			result, err := sim.Run(sim.Scenario{
				Server: server, Backlog: burstBacklog, Client: dialing, Clients: burstClients,
				Arrival: sim.Uniform(burstClients * apart), RTT: 2 * latency,
				AcceptStart: 1250 * ms, AcceptEvery: 1500 * ms, Duration: 10 * time.Minute,
			})
			require.NoError(t, err)
			for i, f := range burst(t, server, dialing, latency, apart) {
				c := result.Clients[i]
				var want clientFate
				switch c.Fate {
				case sim.Refused:
					want = clientFate{connect: c.End - c.SYNs[0], how: "ECONNREFUSED"}
				case sim.TimedOut:
					want = clientFate{connect: c.End - c.SYNs[0], how: "ETIMEDOUT"}
				case sim.Served:
					want = clientFate{connect: c.ConnectTime(), how: "connected", end: c.End - c.SYNs[0]}
				case sim.Reset:
					want = clientFate{connect: c.ConnectTime(), how: "connected", end: c.End - c.SYNs[0], then: "reset "}
				}
				require.Equal(t, want, f, "server %s, client %s, number %d: the simulator says %v", server.Name, dialing.Name, i+1, c.Fate)
			}
		}
	}
}
