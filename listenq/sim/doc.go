// Package sim plays many clients against one listen queue, in virtual time.
//
// The queue is a listenq.Listener under a platform's profile, and each client's
// connect(2) is a client.Attempt under a platform's profile: the code that
// decides here is the code that decides everywhere else. What this package adds
// is a network with a round trip time, jitter and loss, clients that arrive in a
// pattern, say something and wait for an answer, and an application that calls
// accept at its own pace.
//
//	result, err := sim.Run(sim.Scenario{
//		Server: server, Backlog: 2,
//		Client: linux, Clients: 12,
//		RTT: 20 * time.Millisecond, AcceptEvery: 700 * time.Millisecond,
//		Duration: time.Minute,
//	})
//
// The result says for each client when it was connected, accepted and served, or
// why it was not, and how deep both queues were at every moment.
//
// # Determinism
//
// A run reads no clock and starts no goroutine. Events happen in the order of
// their time, and those of one moment in the order in which they were made. All
// chance comes from the seed, and what happens to the n-th segment of a client
// depends on nothing else: under another server profile the same client's same
// SYN is lost again. Equal scenarios give equal results, byte for byte.
//
// # What is simplified
//
// Beyond the handshake TCP is reduced to what decides a client's fate. A request
// and a reply are one segment each, repeated as a Linux host does (see
// requestTimeout) under every client profile. Nothing is congested, and segments
// of one moment keep their order. Connections are closed without TIME-WAIT, and
// each client makes one connection.
package sim
