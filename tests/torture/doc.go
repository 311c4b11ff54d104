// Package torture lets two whole stacks talk over bad networks, in virtual time, and
// holds them to what a user may expect of TCP.
//
// A seed decides everything: the paths (delay, jitter, loss, duplication,
// reordering, corruption, rate), the router between both ends (its MTU changes; it
// fragments or answers "too big"), who forges what (RST, SYN, data, ICMP errors, old
// packets once more, windows), and what both programs do with their sockets (sizes,
// paces, pauses, half close, abort, options set in mid-flight). Equal seeds give
// equal packets.
//
// # What must hold
//
//   - Every byte that is read is the byte that was written at that place, and the end
//     of a stream comes after exactly what was written to it.
//   - A connection that neither its programs nor the network have ended delivers
//     everything, but for a known fault of netstack's that is counted and may not
//     become more frequent (docs/established.md, loss recovery). Any other fails, if it fails, with an error that Linux would give,
//     and for a reason that is on the wire: ECONNRESET or EPIPE after a RST has
//     arrived, ETIMEDOUT after silence or by an option.
//   - Every program has come to an end after patience of virtual time.
//   - Afterwards nothing is left, at most lifetime later: no endpoint, request, port
//     or timer; when all seeds are through, no goroutine.
//   - What waits to be read is never more than SO_RCVBUF, and the heap never grows
//     beyond heapLimit for each world that is played at the same time.
//
// # Running it
//
// `go test` plays 300 seeds. ULISTEN_TORTURE=10000 plays so many, and
// ULISTEN_TORTURE_SEED=7 one of them, with every packet printed. A seed that fails is
// played again, and says how to do the same.
package torture
