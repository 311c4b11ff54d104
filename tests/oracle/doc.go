// Package oracle replays recordings of how a real kernel treats a listen queue,
// and makes new ones.
//
// A scenario is a JSON file: socket calls and raw segments at given times, and
// what the kernel answered, counted and queued after each. Their format is
// described beside them, in listenq/testdata/linux/README.md.
//
//	sc, err := oracle.Load("synack-retries-1.json")
//	got, err := oracle.Replay(sc)            // on our stack, in virtual time
//	differences := oracle.Compare(sc, got.Observed, oracle.Virtual)
//
// The tests replay all recordings of the project, and every *.json file of the
// folders that the environment variable ULISTEN_ORACLE lists, separated by
// colons. Differences that come from netstack once a connection is established
// stand in divergence.txt, each with its reason; one that does not occur any more
// fails the test.
//
// On Linux, Play plays the same scenarios against the kernel that the program runs
// on, in a network namespace of its own. go run ./tests/oracle/record writes what
// it observes as new recordings.
package oracle
